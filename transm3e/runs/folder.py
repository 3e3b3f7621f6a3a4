"""The folder of a run: locking it, and what is already done in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transm3e.cli import USER_MISTAKE
from transm3e.errors import ExitRequest, UserError
from transm3e.files import local_path, make_folder
from transm3e.modalities import model_class
from transm3e.runs.lock import hold
from transm3e.runs.plan import Run
from transm3e.runs.record import CONFIG, OWNER, check_owner, write_record
from transm3e.runs.results import read_results

LOCK, LOG = ".lock.owner", "stdout.log"
GPUS = "CUDA_VISIBLE_DEVICES"
RESULTS = "results.json"
# What a run leaves that ended before it began.
BOOKKEEPING = {LOG, CONFIG, OWNER}


@dataclass
class Start:
    """Whether training has begun, so that the folder is kept whatever happens."""

    begun: bool = False


@contextmanager
def claim(run: Run, owner: Mapping[str, Any]) -> Iterator[Start]:
    """Make the run's folder with its record, and lock it against other processes meanwhile.

    A folder that was made here is removed if a user's mistake ends the run before it holds results.

    Raises:
        UserError: as check_owner, or another process holds the folder.
    """
    check_owner(run, owner)
    with _made(run.folder) as is_new, hold(run.folder / LOCK, os.environ.get(GPUS, "")):
        start = Start()
        try:
            write_record(run, owner)
            yield start
        except (UserError, ExitRequest) as end:
            is_mistake = getattr(end, "exit_status", USER_MISTAKE) == USER_MISTAKE
            if is_new and is_mistake and not start.begun and _is_unused(run.folder):
                shutil.rmtree(run.folder, ignore_errors=True)
            raise


@contextmanager
def _made(folder: Path) -> Iterator[bool]:
    """Make a folder; yields whether it is new. If it is, and empty in the end (it could not be locked), it is removed."""
    is_new = not folder.exists()
    make_folder(folder, "OUTPUT_DIR or RUNS_DIR")
    try:
        yield is_new
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _is_unused(folder: Path) -> bool:
    return all(file.name in BOOKKEEPING or file.name.startswith(LOCK) for file in folder.iterdir())


def is_trained(run: Run) -> bool:
    """Whether nothing is left to train."""
    return not run.cfg.TRAIN.ENABLE or (run.cfg.TRAIN.AUTO_RESUME and run.final_checkpoint.is_file())


def is_evaluated(run: Run) -> bool:
    """Whether results.json exists and was made with these settings."""
    file = run.folder / RESULTS
    return not run.cfg.TEST.ENABLE or (file.is_file() and read_results(file)["run"].get("eval_id") == run.eval_id)


def evaluation_checkpoint(run: Run) -> Path | None:
    """The checkpoint to score; None for models without weights.

    Raises:
        UserError: there is no such checkpoint.
    """
    test = run.cfg.TEST
    if not model_class(run.cfg).learns:
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
