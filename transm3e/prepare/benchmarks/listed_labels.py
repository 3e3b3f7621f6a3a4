"""Numbers and names in published lists -> the activities or muscles of each listed video."""

from __future__ import annotations

from collections.abc import Sequence

from transm3e.data.annotations import parse_muscles
from transm3e.errors import UserError, shown
from transm3e.prepare.benchmarks.list_files import LABELS, ListedVideo, ListFile, first_label, numbers_of
from transm3e.prepare.benchmarks.tables import name_key

MAX_CLASSES = 100_000


def read_activities(
    entries: Sequence[ListedVideo], files: Sequence[ListFile], names: list[str], given: int | None, notes: list[str]
) -> tuple[list[str], list[str]]:
    """The activity of each entry, and all classes in order; `notes` gets how labels were read."""
    several = next((file for file in files if file.layout == LABELS), None)
    if several:
        raise UserError(
            f"{several.file}: read as {several.detected}, but a clip has one activity; use --muscles if the numbers "
            "are muscles (datasets/muscle_regions.csv), or --multi-label if it has several"
        )
    numbered = [entry for entry in entries if entry.labels]
    for entry in numbered:
        if len(entry.labels) > 1:
            count = len(entry.labels)
            raise UserError(f"{entry.where}: {count} labels, but a clip has one activity; see --muscles")
    first = _first(numbered, names, given, notes) if numbered else 0
    for entry in numbered:
        if entry.labels[0] > MAX_CLASSES:
            label = entry.labels[0]
            raise UserError(f"{entry.where}: label {label} is above {MAX_CLASSES}, too large for a class; see --line")
    if not names and numbered:
        names = [str(number) for number in range(first, max(entry.labels[0] for entry in numbered) + 1)]
        if len(numbered) < len(entries):
            where = next(entry.where for entry in entries if not entry.labels)
            raise UserError(
                f"{where}: a class by name, others by number; give their names in order with --classes (classInd.txt)"
            )
    names = names or sorted({entry.name for entry in entries})
    spelling = {key: names[number] for key, number in numbers_of(names).items()} | {name: name for name in names}
    found = []
    for entry in entries:
        if entry.labels:
            name: str | None = names[_index(entry, entry.labels[0], len(names), first)]
        else:
            name = spelling.get(entry.name) or spelling.get(name_key(entry.name))
        if name is None:
            raise UserError(f"{entry.where}: {shown(entry.name)} is none of the {len(names)} classes; check --classes")
        found.append(name)
    return found, names


def read_several_activities(
    entries: Sequence[ListedVideo], names: list[str], given: int | None, notes: list[str]
) -> tuple[list[str], list[str]]:
    """The activities of each entry, joined by ";", and all classes in order."""
    bare = next((entry.where for entry in entries if not entry.labels), None)
    if bare:
        raise UserError(f"{bare}: no numbers, which --multi-label reads; leave --multi-label out")
    first, highest = _first(entries, names, given, notes, by_folder=False), max(max(entry.labels) for entry in entries)
    if highest > MAX_CLASSES:
        raise UserError(f"--multi-label: label {highest} is above {MAX_CLASSES}, too large for a class; see --line")
    names = names or [str(number) for number in range(first, highest + 1)]
    joined = next((name for name in names if ";" in name), None)
    if joined:
        raise UserError(f"--classes: {shown(joined)} holds a semicolon, which separates activities; rename it")
    return [";".join(names[_index(e, label, len(names), first)] for label in e.labels) for e in entries], names


def read_muscles(
    entries: Sequence[ListedVideo], names: Sequence[str], given: int | None, notes: list[str]
) -> list[tuple[int, ...]]:
    bare = next((entry.where for entry in entries if not entry.labels), None)
    if bare:
        raise UserError(f"{bare}: no numbers, which --muscles reads; leave --muscles out")
    order = [number for name in names for number in parse_muscles(name, "--classes")]
    if len(order) != len(names):
        raise UserError("--classes: with --muscles each line names one muscle; see datasets/muscle_regions.csv")
    first = _first(entries, names, given, notes, by_folder=False)
    return [tuple(sorted(order[_index(e, label, len(order), first)] for label in e.labels)) for e in entries]


def _first(
    entries: Sequence[ListedVideo], names: Sequence[str], given: int | None, notes: list[str], by_folder: bool = True
) -> int:
    first, why = (given, "as --first-label says") if given is not None else first_label(entries, names, by_folder)
    notes.append(f"Labels start at {first}, {why}.")
    return first


def _index(entry: ListedVideo, label: int, count: int, first: int) -> int:
    if not first <= label < count + first:
        raise UserError(
            f"{entry.where}: label {label} has no class; there are {count}, {first}..{count - 1 + first}: see --classes and "
            "--first-label"
        )
    return label - first
