"""Published lists -> the videos of a clip table: which of them are there, and what their labels mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from transm3e.data.annotations import MUSCLES, SPLIT_ALIASES, SPLITS, parse_muscles
from transm3e.errors import UserError, shown
from transm3e.prepare.benchmarks.classes import first_label, numbered_names, numbers_of, read_classes
from transm3e.prepare.benchmarks.list_files import (
    FOLDER,
    FRAMES,
    LABELS,
    VIDEO,
    ListedVideo,
    ListFile,
    read_lines,
    read_list,
)
from transm3e.prepare.benchmarks.publish import listing
from transm3e.prepare.benchmarks.tables import name_key
from transm3e.prepare.benchmarks.tree import ends_of, find_videos, match_paths

NOT_THERE = "no such file"
LIST_SUFFIXES = (".csv", ".txt")
MAX_CLASSES = 100_000
LOOKED_AT = 100  # paths, to see whether they are videos or folders
# What a row says beside its file: activity, muscles.
What = tuple[str, tuple[int, ...] | None]


@dataclass(frozen=True)
class ListOptions:
    """How lists are read; each is only for what they leave open.

    Attributes:
        classes: file of the classes' names, see read_classes.
        labels: CSV activity,muscles, for a table with muscles.
        muscles: whether the numbers are muscles, not activities.
        line: layout of lines, see read_list; "" as they say themselves.
        first: number of the first class, 0 or 1; None as the lists say themselves.
        fold: which of several divisions of the same videos; "" the only one.
        strip: beginning of the listed paths to leave away, see match_paths.
        allow_missing: leave listed videos out that are not there.
    """

    classes: Path | None = None
    labels: Path | None = None
    muscles: bool = False
    line: str = ""
    first: int | None = None
    fold: str = ""
    strip: str = ""
    allow_missing: bool = False


class ListRow(NamedTuple):
    """A row to be: its path below the folder of videos, split, activity, muscles (None: unknown), and what lists it."""

    path: str
    split: str
    activity: str
    muscles: tuple[int, ...] | None
    where: str


@dataclass
class ReadLists:
    """What there is to make a table of: videos, names of classes in order, (path, reason) left out, sentences."""

    videos: list[ListRow]
    classes: list[str]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_published(videos: Path, lists: Sequence[str], options: ListOptions) -> ReadLists:
    """The listed videos that are there, with their activities or muscles.

    Args:
        videos: the folder of the videos.
        lists: FILE, FOLDER of lists, or SPLIT=FILE.
        options: how they are read.

    Raises:
        UserError: see read_list, read_classes and first_label; several folds, a label without a class, several labels
            where activities are read, or videos that are missing.
    """
    classes_file, files = options.classes, []
    for split, file in _list_files(lists):
        if numbered_names([line for _, line in read_lines(file)]):
            classes_file = classes_file or file
        else:
            files.append(read_list(file, split, options.line, lambda paths: _look(videos, paths), options.muscles))
    files = _of_one_fold(files, options.fold.lstrip("0"))
    notes = _told(files) + ([f"{classes_file}: the names of the classes."] if classes_file else [])
    names = read_classes(classes_file) if classes_file else []
    entries = [entry for file in files for entry in file.entries]
    activities, order = _named(entries, files, names, options, notes)
    paths = _on_disk(videos, files, options.strip)
    missing = [entry.path for entry, path in zip(entries, paths, strict=True) if not path]
    _refuse_missing(missing, len(entries), videos, options.allow_missing)
    rows = [
        ListRow(path, entry.split, *what, entry.where)
        for entry, what, path in zip(entries, activities, paths, strict=True)
        if path
    ]
    return ReadLists(rows, order, [(path, NOT_THERE) for path in sorted(set(missing))], notes)


def _list_files(lists: Sequence[str]) -> list[tuple[str, Path]]:
    """(split or "", file) of FILE, FOLDER and SPLIT=FILE."""
    found: list[tuple[str, Path]] = []
    for word in lists:
        given, mark, name = word.partition("=")
        split = SPLIT_ALIASES.get(given, given)
        if not (mark and split in SPLITS):
            split, name = "", word
        if Path(name).is_dir():
            files = sorted(file for file in Path(name).iterdir() if file.suffix.lower() in LIST_SUFFIXES)
            if not files:
                raise UserError(
                    f"--lists {name}: holds no {' or '.join(LIST_SUFFIXES)} file; name lists or their folder"
                )
            found += [(split, file) for file in files]
        else:
            found.append((split, Path(name)))
    return found


def _look(videos: Path, paths: Sequence[str]) -> str:
    for path in paths[:LOOKED_AT]:
        for end in ends_of(path):
            if (videos / end).is_dir():
                return FOLDER
            if (videos / end).is_file():
                return VIDEO
    return ""


def _of_one_fold(files: list[ListFile], fold: str) -> list[ListFile]:
    folds = sorted({file.fold for file in files if file.fold})
    if (fold and fold not in folds) or (not fold and len(folds) > 1):
        raise UserError(
            f"--fold {fold or 'is not given'}: by their names the lists are of these divisions of the same videos: "
            f"{', '.join(folds) or 'none'}; choose one"
        )
    kept = [file for file in files if not fold or file.fold in ("", fold)]
    if not any(file.entries for file in kept):
        raise UserError("--lists: no list among the files names a video; give the lists of train, val or test")
    return kept


def _told(files: Sequence[ListFile]) -> list[str]:
    """A sentence on what each file, or several alike, was taken for."""
    alike: dict[tuple[str, str], list[ListFile]] = defaultdict(list)
    for file in files:
        splits = ", ".join(sorted({entry.split for entry in file.entries}))
        alike[file.told, splits].append(file)
    return [
        f"{some[0].file}{f' and {len(some) - 1} more' if len(some) > 1 else ''}: {told}; {splits or 'no video'}."
        for (told, splits), some in alike.items()
    ]


def _named(
    entries: Sequence[ListedVideo], files: Sequence[ListFile], names: list[str], options: ListOptions, notes: list[str]
) -> tuple[list[What], list[str]]:
    """The (activity, muscles) of each entry, and all classes in order, none of muscles; `notes` gets how labels were read."""
    if options.muscles:
        return _muscles(entries, names, options.first, notes)
    several = next((file for file in files if file.layout == LABELS), None)
    if several:
        raise UserError(
            f"{several.file}: taken for {several.told}, but a clip of the table has one activity; --muscles if the numbers "
            "are muscles (datasets/muscle_regions.csv)"
        )
    numbered = [entry for entry in entries if entry.labels]
    many = next((entry for entry in numbered if len(entry.labels) > 1), None)
    if many:
        raise UserError(
            f"{many.where}: {len(many.labels)} labels, but a clip of the table has one activity; see --muscles"
        )
    first = _first(numbered, names, options.first, notes) if numbered else 0
    far = next((entry for entry in numbered if entry.labels[0] > MAX_CLASSES), None)
    if far:
        raise UserError(f"{far.where}: label {far.labels[0]} is above {MAX_CLASSES}; is it no class? see --line")
    if not names and numbered:
        names = [str(number) for number in range(first, max(entry.labels[0] for entry in numbered) + 1)]
        if len(numbered) < len(entries):
            where = next(entry.where for entry in entries if not entry.labels)
            raise UserError(f"{where}: a class by name, others by number; --classes says which is which (classInd.txt)")
    names = names or sorted({entry.name for entry in entries})
    spelling = {key: names[number] for key, number in numbers_of(names).items()} | {name: name for name in names}
    activities = [_activity(entry, names, spelling, first) for entry in entries]
    return [(activity, None) for activity in activities], names


def _activity(entry: ListedVideo, names: Sequence[str], spelling: Mapping[str, str], first: int) -> str:
    if entry.labels:
        return names[_index(entry, entry.labels[0], len(names), first)]
    found = spelling.get(entry.name) or spelling.get(name_key(entry.name))
    if found is None:
        raise UserError(f"{entry.where}: {shown(entry.name)} is none of the {len(names)} classes; check --classes")
    return found


def _muscles(
    entries: Sequence[ListedVideo], names: Sequence[str], given: int | None, notes: list[str]
) -> tuple[list[What], list[str]]:
    bare = next((entry.where for entry in entries if not entry.labels), None)
    if bare:
        raise UserError(f"{bare}: no numbers, which --muscles reads; leave --muscles out")
    order = [number for name in names or MUSCLES for number in parse_muscles(name, "--classes")]
    if len(order) != len(names or MUSCLES):
        raise UserError("--classes: with --muscles each line names one muscle; see datasets/muscle_regions.csv")
    first = _first(entries, names or MUSCLES, given, notes, by_folder=False)
    found: list[What] = []
    for entry in entries:
        indices = sorted(order[_index(entry, label, len(order), first)] for label in entry.labels)
        found.append((PurePosixPath(entry.path).parent.name, tuple(indices)))
    return found, []


def _first(
    entries: Sequence[ListedVideo], names: Sequence[str], given: int | None, notes: list[str], by_folder: bool = True
) -> int:
    first, why = (given, "as --first-label says") if given is not None else first_label(entries, names, by_folder)
    notes.append(f"Labels count from {first}, {why}.")
    return first


def _index(entry: ListedVideo, label: int, count: int, first: int) -> int:
    if not first <= label < count + first:
        raise UserError(
            f"{entry.where}: label {label} has no class; there are {count}, {first}..{count - 1 + first}: see --classes and "
            "--first-label"
        )
    return label - first


def _on_disk(videos: Path, files: Sequence[ListFile], strip: str) -> list[str]:
    """The path below `videos` of every entry, "" where it is not there."""
    # Not among the pictures of folders, which may be millions.
    there = find_videos(videos).videos if any(file.layout != FRAMES for file in files) else []
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in there:
        by_stem[PurePosixPath(path).stem].append(path)
    found = []
    for file in files:
        listed = [entry.path for entry in file.entries]
        if file.layout == FRAMES:
            ends = {end for path in listed for end in ends_of(path.removeprefix(strip))}
            found += match_paths(listed, sorted(end for end in ends if (videos / end).is_dir()), strip)
        elif any(entry.stems for entry in file.entries):
            found += [_anywhere(entry, by_stem) for entry in file.entries]
        else:
            found += match_paths(listed, there, strip)
    return found


def _anywhere(entry: ListedVideo, by_stem: Mapping[str, list[str]]) -> str:
    for stem in entry.stems:
        some = by_stem.get(stem, [])
        inside = [path for path in some if name_key(entry.name) in map(name_key, PurePosixPath(path).parts[:-1])]
        some = inside if len(some) > 1 and inside else some
        if len(some) > 1:
            raise UserError(
                f"{entry.where}: {' and '.join(some[:2])} may both be meant; give the folder of one as --videos"
            )
        if some:
            return some[0]
    return ""


def _refuse_missing(missing: Sequence[str], count: int, videos: Path, allowed: bool) -> None:
    if len(missing) == count:
        raise UserError(
            f"--videos {videos}: none of {count} listed videos is there, as {missing[0][:200]}; give the folder that the "
            "paths are relative to, or --strip PREFIX"
        )
    if missing and not allowed:
        raise UserError(
            f"{len(missing)} of {count} listed videos are not in {videos}: {listing(missing)[:1000]}; "
            "--allow-missing leaves them out"
        )
