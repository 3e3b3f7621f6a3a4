"""The folder of a run: whose it is, and what is done in it already."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transm3e.config.check import WITHOUT_WEIGHTS
from transm3e.config.plan import Run
from transm3e.data.annotations import table_digest
from transm3e.errors import UserError
from transm3e.files import atomic_write_text, local_path, make_folder, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.report import folder_lock
from transm3e.report.folder_lock import hold
from transm3e.report.results import read_results

OWNER = "run.json"
LOCK = ".lock"
GPUS = "CUDA_VISIBLE_DEVICES"
RESULTS = "results.json"


def owner_of(run: Run) -> dict[str, str]:
    """What identifies a run in its files: name, id, and the digest of the clip table it is made with."""
    needs_table = run.cfg.TRAIN.ENABLE or run.cfg.TEST.ENABLE
    return {
        "name": run.name,
        "id": run.id,
        "table": table_digest(run.cfg.DATA.PATH_TO_DATA_DIR) if needs_table else "",
    }


def check_owner(run: Run, owner: dict[str, str]) -> None:
    """Whether the run's folder is free or its own.

    Raises:
        UserError: the folder holds a run with other settings or of another clip table.
    """
    there = _read_owner(run.folder / OWNER)
    if there and there["id"] != owner["id"]:
        raise UserError(
            f"{run.folder} holds another run ({there['name']}, {there['id']}) than {owner['name']}, {owner['id']}, "
            "with other settings (see its config.yaml) or another clip table: choose another OUTPUT_DIR, or delete the folder"
        )


@dataclass(frozen=True)
class Holder:
    """Who works in a run's folder.

    Attributes:
        process: "process N on HOST"; "" in the moment before it says so.
        devices: its CUDA_VISIBLE_DEVICES; "" = all.
    """

    process: str
    devices: str


@contextmanager
def claim(run: Run, owner: dict[str, str]) -> Iterator[None]:
    """Make the run's folder with config.yaml and the owner's mark, and hold it against other processes meanwhile.

    Raises:
        UserError: as check_owner, or another process is working in the folder.
    """
    check_owner(run, owner)
    make_folder(run.folder)
    with hold(run.folder / LOCK, os.environ.get(GPUS, "")):
        atomic_write_text(run.folder / "config.yaml", run.cfg.dump())
        atomic_write_text(run.folder / OWNER, json.dumps(owner, indent=2) + "\n")
        yield


def holder(run: Run) -> Holder | None:
    """Who works in the run's folder, as far as this machine sees; None where nobody does."""
    owner = folder_lock.holder(run.folder / LOCK)
    return Holder(owner.process, owner.note) if owner else None


def is_trained(run: Run) -> bool:
    """Whether nothing is left to train."""
    return not run.cfg.TRAIN.ENABLE or (run.cfg.TRAIN.AUTO_RESUME and run.final_checkpoint.is_file())


def is_evaluated(run: Run) -> bool:
    """Whether results.json is there and was made with these settings."""
    file = run.folder / RESULTS
    return not run.cfg.TEST.ENABLE or (file.is_file() and read_results(file)["run"].get("eval_id") == run.eval_id)


def evaluation_checkpoint(run: Run) -> Path | None:
    """The checkpoint to score; None for models without weights.

    Raises:
        UserError: none is there.
    """
    test = run.cfg.TEST
    if run.cfg.MODEL.MODEL_NAME in WITHOUT_WEIGHTS:
        return None
    if test.CHECKPOINT_FILE_PATH:
        return local_path(test.CHECKPOINT_FILE_PATH)
    best = run.final_checkpoint.with_name("checkpoint_best.pyth")
    checkpoint = best if test.WHICH_CHECKPOINT == "best" else run.final_checkpoint
    if not checkpoint.is_file():
        raise UserError(
            f"no trained weights at {checkpoint}; train first (TRAIN.ENABLE True), or name a checkpoint in "
            "TEST.CHECKPOINT_FILE_PATH"
        )
    return checkpoint


def _read_owner(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        owner = parse_json(read_text(file))
        return {key: str(owner[key]) for key in ("name", "id", "table")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{file} is damaged ({reason!s:.200}); delete the folder or choose another OUTPUT_DIR"
        ) from error
