"""The small CSV tables behind a benchmark: labels, classes, new activities. Lines that begin with # are comments."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transm3e.data.annotations import parse_muscles
from transm3e.data.csv_tables import Row, read_rows
from transm3e.errors import UserError

YES_NO = {"yes": True, "no": False}


@dataclass(frozen=True)
class Labels:
    """Which muscles an activity trains.

    Attributes:
        muscles: activity -> indices into MUSCLES, ascending.
        excluded: activity -> why it is left out.
        origin: whose labels these are, for reports.
    """

    muscles: Mapping[str, tuple[int, ...]]
    excluded: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True)
class ActivityClass:
    """A class of the source data set: its official name, its clips there, and whether the paper counts it as new."""

    name: str
    clips: int
    new: bool


def name_key(name: str) -> str:
    """ "shot put", "Shotput" and "shot_put" -> "shotput": names are compared without case, blanks and punctuation."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def resolve_names(given: Sequence[str], official: Iterable[str], where: str) -> list[str]:
    """The official spelling of each given name.

    Raises:
        UserError: a name is unknown or occurs twice; the message begins with `where`.
    """
    spelling = {name_key(name): name for name in official}
    found: list[str] = []
    for name in given:
        key = name_key(name)
        if key not in spelling:
            near = difflib.get_close_matches(key, spelling, n=1)
            hint = f"; did you mean {spelling[near[0]]}?" if near else ""
            raise UserError(f"{where}: unknown activity {name!r}{hint}; write the name of its class folder")
        if spelling[key] in found:
            raise UserError(f"{where}: activity {name!r} occurs twice; delete one")
        found.append(spelling[key])
    return found


def read_labels(path: str | Path, origin: str, official: Sequence[str] = ()) -> Labels:
    """Read a CSV with the columns activity and muscles; optional: included (yes, no) and reason.

    Args:
        path: the file; muscles are names or numbers joined by ";", or "none".
        origin: whose labels these are.
        official: where given, names are matched to these.

    Raises:
        UserError: the file cannot be read, or a row has an unknown activity or muscle, or no muscles.
    """
    rows = _read_rows(Path(path), ("activity", "muscles"))
    given = [row.cells["activity"] for row in rows]
    names = resolve_names(given, official or {name_key(name): name for name in given}.values(), str(path))
    muscles, excluded = {}, {}
    for row, name in zip(rows, names, strict=True):
        where, cells = row.where, row.cells
        if _yes_no(cells.get("included") or "yes", f"{where}: included"):
            muscles[name] = parse_muscles(cells["muscles"], where)
        else:
            excluded[name] = cells.get("reason", "")
    if not muscles:
        raise UserError(f"{path}: no activity has labels; add rows of activity,muscles")
    return Labels(muscles, excluded, origin)


def read_classes(path: str | Path) -> list[ActivityClass]:
    """Read a CSV with the columns activity, clips and new (yes, no).

    Raises:
        UserError: the file cannot be read, or a cell is not of this form.
    """
    classes = []
    for row in _read_rows(Path(path), ("activity", "clips", "new")):
        where, cells = row.where, row.cells
        if not cells["clips"].isdecimal():
            raise UserError(f"{where}: clips is {cells['clips']!r}; a number is needed")
        classes.append(ActivityClass(cells["activity"], int(cells["clips"]), _yes_no(cells["new"], f"{where}: new")))
    return classes


def read_activities(path: str | Path) -> list[str]:
    """Read the names in a CSV with the column activity.

    Raises:
        UserError: the file cannot be read.
    """
    return [row.cells["activity"] for row in _read_rows(Path(path), ("activity",))]


def _yes_no(text: str, where: str) -> bool:
    if text not in YES_NO:
        raise UserError(f"{where} is {text!r}; write yes or no")
    return YES_NO[text]


def _read_rows(file: Path, columns: Sequence[str]) -> list[Row]:
    rows = read_rows(file, columns)
    empty = [row.where for row in rows if not row.cells["activity"]]
    if empty:
        raise UserError(f"{empty[0]}: empty activity; every row names one")
    return rows
