"""Records in a run's folder: its id, its data, and the settings it was trained and scored with.

The record of the training, config.yaml and run.json, is written once, when it begins. Evaluation and the scoring of video
files have config files of their own, which belong to the results.json and scores in the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from transm3e.config.load import cfg_from_text
from transm3e.config.node import all_keys
from transm3e.data.annotations import table_digest
from transm3e.errors import UserError, shown
from transm3e.files import atomic_write_text, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.runs.plan import Run

OWNER = "run.json"
CONFIG, TEST_CONFIG, DEMO_CONFIG = "config.yaml", "config_test.yaml", "config_demo.yaml"


def owner_of(run: Run) -> dict[str, Any]:
    """What identifies a run in its files: name, id, the digest of the whole clip table, the settings' hash, the data."""
    needs_table = run.cfg.TRAIN.ENABLE or run.cfg.TEST.ENABLE
    return {
        "name": run.name,
        "id": run.id,
        "table": table_digest(run.cfg.DATA.PATH_TO_DATA_DIR) if needs_table else "",
        "settings": run.settings,
        "data": run.data.as_plain(),
    }


def check_owner(run: Run, owner: Mapping[str, Any]) -> None:
    """Whether the run's folder is free or its own.

    Raises:
        UserError: the folder holds a run with other settings or of other data.
    """
    there = read_owner(run.folder / OWNER)
    if there and there["id"] != owner["id"]:
        other = "of other data: " + data_text(there) if _differ_in_data(there, owner) else "with other settings"
        raise UserError(
            f"{run.folder} holds another run ({there['name']}, {there['id']}) than {owner['name']}, {owner['id']}, "
            f"{other} (see its {CONFIG}): choose another OUTPUT_DIR, or delete the folder"
        )


def read_owner(file: Path) -> dict[str, Any] | None:
    """The content of a run.json, with name, id and table as text; None if there is no file.

    Raises:
        UserError: it is damaged.
    """
    if not file.is_file():
        return None
    try:
        owner = parse_json(read_text(file))
        return {**owner, **{key: str(owner[key]) for key in ("name", "id", "table")}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{file} is damaged ({reason!s:.200}); delete the folder or choose another OUTPUT_DIR"
        ) from error


def data_text(facts: Mapping[str, Any]) -> str:
    """The data that a run.json, or "run" of a results.json, names; "unknown" if an older version wrote it."""
    data = facts.get("data")
    if not isinstance(data, dict) or not {"clips", "table", "prefix", "digest"} <= set(data):
        return "unknown"
    files = f" with the files in {data['prefix']}" if data["prefix"] else ""
    return shown(f"{data['clips']} clips of {data['table']}{files}, data {data['digest']}", 300)[1:-1]


def write_record(run: Run, owner: Mapping[str, Any]) -> None:
    """Write the record if a training begins or the folder has none; otherwise keep the existing one."""
    begins = run.cfg.TRAIN.ENABLE and not any((run.folder / "checkpoints").glob("*.pyth"))
    for name, text in ((CONFIG, run.cfg.dump()), (OWNER, json.dumps(owner, indent=2) + "\n")):
        if begins or not (run.folder / name).is_file():
            atomic_write_text(run.folder / name, text)


def changed_settings(run: Run) -> str:
    """ "KEY new (was old), ...": settings that differ from those the resumed training began with; "" if none do."""
    try:
        began = all_keys(cfg_from_text(read_text(run.folder / CONFIG), str(run.folder / CONFIG)))
    except (OSError, ValueError) as error:
        return f"unknown, as {CONFIG} cannot be read ({error!s:.200})"
    now = all_keys(run.cfg)
    return ", ".join(f"{key} {now[key]} (was {began[key]})" for key in now if now[key] != began[key])


def on_other_data(run: Run, owner: Mapping[str, Any]) -> str:
    """A line naming an existing run with these settings on other data, if this run is new; else ""."""
    if (run.folder / OWNER).exists():
        return ""
    for file in sorted(run.folder.parent.glob(f"{escape(run.name)}-*/{OWNER}")):
        try:
            there = read_owner(file)
        except UserError:
            continue
        if there and _differ_in_data(there, owner):
            return (
                f"a new run, as the one in {file.parent} is on other data: {data_text(there)}; here: {data_text(owner)}"
            )
    return ""


def _differ_in_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["id"] != other["id"] and one.get("settings") == other.get("settings") is not None
