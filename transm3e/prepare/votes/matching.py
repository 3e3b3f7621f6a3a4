"""Matching: which of a source's exercises are an activity, by a table or by equal names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from transm3e.data.csv_tables import Row, plain, read_rows
from transm3e.errors import UserError
from transm3e.prepare.votes.sources import Entry, source_name

SAME, NEAR, BY_NAME = "same", "near", "name"
NOT_FOUND_SHOWN = 5


@dataclass(frozen=True)
class Match:
    """An exercise of a source that stands for an activity.

    Attributes:
        activity: the activity.
        entry: the exercise.
        how: "same" exercise or a "near" variant, as the match table says; "name" for equal names.
    """

    activity: str
    entry: Entry
    how: str


def read_activities(path: str | Path) -> list[str]:
    """The column "activity" of a CSV file, each activity once, in order; a match table serves too.

    Raises:
        UserError: the file cannot be read, an activity is empty, or there is none.
    """
    rows = read_rows(path, ("activity",))
    empty = [row.where for row in rows if not row.cells["activity"]]
    if empty or not rows:
        raise UserError(f"{empty[0] if empty else path}: no activity; name one per row in the column activity")
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(plain(row.cells["activity"]), row.cells["activity"])
    return list(names.values())


def match_by_name(activities: Sequence[str], entries: Sequence[Entry]) -> list[Match]:
    """Exercises with the same name as the activity but for case, punctuation, blanks and plurals; nothing vaguer."""
    named = defaultdict(list)
    for entry in entries:
        named[name_key(entry.exercise)].append(entry)
    return [Match(activity, entry, BY_NAME) for activity in activities for entry in named[name_key(activity)]]


def name_key(name: str) -> str:
    """ "Push-Ups" and "pushup" -> "pushup": letters and digits only, each word in the singular."""
    words = re.findall(r"[^\W_]+", name.casefold())
    return "".join(re.sub(r"(?<=ch|sh|ss)es$|(?<=x)es$|(?<=[^s])s$", "", word) for word in words)


def match_by_table(
    path: str | Path, activities: Sequence[str], entries: Sequence[Entry]
) -> tuple[list[Match], list[str]]:
    """CSV with the columns activity, source, exercise and maybe match ("same", the default, or "near").

    An exercise that a source lists in several rows gives several matches. Rows of activities that are not asked for
    are passed over.

    Returns:
        matches in the order of activities and rows; the sources of the table that no entry comes from.

    Raises:
        UserError: the file cannot be read, a cell is empty or wrong, or a source lacks the exercise.
    """
    listed: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        listed[entry.source][plain(entry.exercise)].append(entry)
    asked = {plain(name): name for name in activities}
    matches: dict[tuple[str, Entry], Match] = {}
    absent: dict[str, None] = {}
    lost: list[str] = []
    for row in read_rows(path, ("activity", "source", "exercise")):
        activity, source, exercise, how = _match_cells(row)
        if source not in listed:
            absent[source] = None
        elif plain(exercise) not in listed[source]:
            lost.append(f"{row.where}: {source} has no {exercise!r}{_like(exercise, listed[source])}")
        elif name := asked.get(plain(activity)):
            for entry in listed[source][plain(exercise)]:
                matches.setdefault((name, entry), Match(name, entry, how))
    if lost:
        more = f" (and {len(lost) - NOT_FOUND_SHOWN} more)" if len(lost) > NOT_FOUND_SHOWN else ""
        raise UserError(
            f"{'; '.join(lost[:NOT_FOUND_SHOWN])}{more}; write exercises as the source does, or delete the row"
        )
    return sorted(matches.values(), key=lambda match: activities.index(match.activity)), list(absent)


def _match_cells(row: Row) -> tuple[str, str, str, str]:
    activity, source, exercise = row.cells["activity"], source_name(row.cells["source"]), row.cells["exercise"]
    how = row.cells.get("match", "") or SAME
    if not activity or not source or not exercise or how not in (SAME, NEAR):
        raise UserError(f"{row.where}: needs activity, source, exercise, and match {SAME!r} or {NEAR!r}")
    return activity, source, exercise, how


def _like(exercise: str, listed: Mapping[str, Sequence[Entry]]) -> str:
    nearest = get_close_matches(plain(exercise), listed, n=1)
    return f", it has {listed[nearest[0]][0].exercise!r}" if nearest else ""
