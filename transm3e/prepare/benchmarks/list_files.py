"""Lists of videos and labels, and of classes, as data sets and projects publish them, recognised by their content.

UCF101 (crcv.ucf.edu): `Class/video.avi 1` for training, `Class/video.avi` for testing. HMDB51 (serre-lab.clps.brown.edu):
<class>_test_split1.txt with `video.avi 1`, 0 = in neither, 1 = train, 2 = test. Kinetics: a CSV with the columns label,
youtube_id, time_start, time_end, split. PySlowFast and MMAction2's VideoDataset: `path label`; MMAction2's RawframeDataset:
`folder frames label`; both may have several labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from transm3e.data.annotations import MAX_CELL, SPLIT_ALIASES, SPLITS
from transm3e.data.csv_tables import read_rows
from transm3e.errors import UserError, shown
from transm3e.files import read_text
from transm3e.foreign.json_text import parse_json
from transm3e.prepare.benchmarks.authors import split_of
from transm3e.prepare.benchmarks.tables import name_key

# What follows the path in a line.
LABEL, FRAMES, LABELS = "label", "frames", "labels"
LAYOUTS = {
    LABEL: "`path label`, as PySlowFast and MMAction2 write it",
    FRAMES: "`folder frames label`, as MMAction2's lists of image folders",
    LABELS: "`path label label ...`, several labels per video",
}
FOLDER, VIDEO = "folder", "video"
UCF_TEST = "paths without labels, as UCF101's testlist: a video's class is its folder"
HMDB = "HMDB51's split files: 1 = train, 2 = known_test, 0 = left out; the class is the file's"
KINETICS = "Kinetics' official CSV: classes by name, files called by youtube_id and times"
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
HMDB_NAME = re.compile(r"(.+)_test_split(\d+)\.txt")
HMDB_SPLITS = {"1": "train", "2": "known_test"}
FOLD = re.compile(r"(?:list|split)_?0*([1-9]\d?)(?!\d)")
SEPARATORS = re.compile(r"([\s,;|]+)")
MAX_DIGITS, MAX_NUMBERS = 9, 1000
LIST_SUFFIXES = (".csv", ".txt")
EMPTY = "an empty list; fill or remove it"


class ListedVideo(NamedTuple):
    """A listed video.

    Attributes:
        path: as listed, with forward slashes.
        split: one of SPLITS.
        where: "file:line".
        labels: its numbers, as listed.
        name: its class, where the list gives the name.
        stems: file names without suffix, to be found in any folder; () = the path is the file's.
    """

    path: str
    split: str
    where: str
    labels: tuple[int, ...] = ()
    name: str = ""
    stems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListFile:
    """A list that was read.

    Attributes:
        file: its path.
        detected: description of the format that was recognised.
        entries: in the list's order.
        fold: number of the fold, such as "1", from the file name; "" where it has none.
        layout: LABEL, FRAMES (of folders) or LABELS; "" where labels are names.
    """

    file: Path
    detected: str
    entries: list[ListedVideo]
    fold: str = ""
    layout: str = ""


class _Line(NamedTuple):
    path: str
    numbers: tuple[int, ...]
    joined: bool  # the last word is like 1,2,3, so the numbers can only be labels
    where: str


def list_files(lists: Sequence[str]) -> list[tuple[str, Path]]:
    """FILE, FOLDER or SPLIT=FILE -> (split or "", file).

    Raises:
        UserError: a folder without lists.
    """
    found: list[tuple[str, Path]] = []
    for word in lists:
        given, mark, name = word.partition("=")
        split = SPLIT_ALIASES.get(given, given)
        if not (mark and split in SPLITS):
            split, name = "", word
        files = [Path(name)]
        if Path(name).is_dir():
            files = sorted(file for file in Path(name).iterdir() if file.suffix.lower() in LIST_SUFFIXES)
            if not files:
                raise UserError(
                    f"--lists {name}: holds no {' or '.join(LIST_SUFFIXES)} file; name lists or their folder"
                )
        found += [(split, file) for file in files]
    return found


def read_list(
    file: Path, split: str, layout: str, path_kind: Callable[[Sequence[str]], str], several: bool = False
) -> ListFile:
    """Read a list in whichever format its content shows.

    Args:
        file: the list.
        split: of its videos; "" = from its name or its lines.
        layout: a key of LAYOUTS where the list is ambiguous; "" = recognised from the lines and `path_kind`.
        path_kind: listed paths -> FOLDER or VIDEO, the kind of the first existing one; "" if none exists.
        several: whether a video may have several labels.

    Raises:
        UserError: an empty list, no split, lines of an unknown form or of several, or an ambiguous layout.
    """
    lines = read_lines(file)
    if "youtube_id" in lines[0][1]:
        return ListFile(file, KINETICS, _kinetics(file, split))
    hmdb = HMDB_NAME.fullmatch(file.name)
    if hmdb and hmdb[1].isprintable() and all(text.rsplit(None, 1)[-1] in ("0", *HMDB_SPLITS) for _, text in lines):
        return ListFile(file, HMDB, _hmdb(file, lines, hmdb[1]), hmdb[2])
    split, fold = split or split_of(Path(file.name)), FOLD.search(file.stem.lower())
    if not split:
        raise UserError(
            f"{file}: its name says none of train, val, test; write SPLIT={file.name}, SPLIT one of {', '.join(SPLITS)}"
        )
    # If the layout is given, a path may itself end in a number.
    most = 1 if layout == LABEL else 2 if layout == FRAMES and not several else MAX_NUMBERS
    parsed = [_parse(text, f"{file}:{number}", most) for number, text in lines]
    if any(line.numbers for line in parsed):
        why = "--line says so"
        if not layout:
            layout, why = _layout(parsed, path_kind)
        detected = f"{LAYOUTS[layout]} ({why})"
        entries = [ListedVideo(line.path, split, line.where, _labels(line, layout, detected)) for line in parsed]
    else:
        detected, layout = UCF_TEST, ""
        entries = [ListedVideo(line.path, split, line.where, (), _folder(line)) for line in parsed]
    return ListFile(file, detected, entries, fold[1] if fold else "", layout)


def read_lines(file: Path) -> list[tuple[int, str]]:
    """The non-empty lines of a UTF-8 text with their numbers, from 1.

    Raises:
        UserError: it cannot be read, has none, or has control characters.
    """
    text = _text(file, "a UTF-8 list is needed")
    lines = [(number, plain) for number, line in enumerate(text.split("\n"), 1) if (plain := line.strip())]
    if not lines:
        raise UserError(f"{file}: {EMPTY}")
    for number, line in lines:
        if not line.replace("\t", " ").isprintable():
            raise UserError(f"{file}:{number}: {shown(line)} has control characters; a list of paths is needed")
    return lines


def read_classes(path: Path) -> list[str]:
    """Names of classes in the order of their numbers: a JSON object {name: number}, or a text file with a name per line.

    Numbers at the beginning of all lines (UCF101's classInd.txt) and quotation marks around names (Kinetics' JSON file)
    are removed.

    Raises:
        UserError: the file cannot be read, holds something else, or two classes share a name or a number.
    """
    if path.suffix.lower() == ".json":
        names = _by_number(path)
    else:
        lines = [line for _, line in read_lines(path)]
        names = numbered_names(lines) or lines
    plain = [name.strip().strip('"').strip() for name in names]
    if not plain or not all(plain):
        raise UserError(f"{path}: {'a class has an empty name' if plain else 'no class'}; name one class per line")
    twice = next((name for name, count in Counter(plain).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: class {shown(twice)} occurs twice; keep one")
    for name in plain:
        _check_name(name, f"{path}: class")
    return plain


def numbered_names(lines: Sequence[str]) -> list[str]:
    """ "1 Archery", "2 Biking" -> the names in order of their numbers, which start at 0 or 1; [] for other lines."""
    by_number: dict[int, str] = {}
    for line in lines:
        # A name must not be a number: `1 2 3` may be a folder, its number of frames and its label.
        match = re.fullmatch(r"(\d{1,9})[\s,]+(.*\D.*)", line)
        if match is None or by_number.setdefault(int(match[1]), match[2]) != match[2]:
            return []
    first = min(by_number)
    consecutive = first in (0, 1) and set(by_number) == set(range(first, first + len(lines)))
    return [by_number[number] for number in sorted(by_number)] if consecutive else []


def numbers_of(names: Sequence[str]) -> dict[str, int]:
    """name_key of each name -> its number; keys that several names share are left out."""
    keys = [name_key(name) for name in names]
    counts = Counter(keys)
    return {key: number for number, key in enumerate(keys) if key and counts[key] == 1}


def first_label(entries: Sequence[ListedVideo], names: Sequence[str], by_folder: bool = True) -> tuple[int, str]:
    """Whether labels start at 0 or 1, and how that is known.

    Args:
        entries: listed videos, some with numbers as labels.
        names: of the classes, if known.
        by_folder: whether a folder named like a class holds videos of that class.

    Raises:
        UserError: folders and labels contradict each other, or nothing decides.
    """
    numbers = numbers_of(names)
    offsets: dict[int, ListedVideo] = {}
    for entry in entries if by_folder else ():
        number = numbers.get(name_key(PurePosixPath(entry.path).parent.name))
        if number is not None and len(entry.labels) == 1:
            offsets.setdefault(entry.labels[0] - number, entry)
    if len(offsets) == 1 and min(offsets) in (0, 1):
        return min(offsets), "as the folders are named"
    if offsets:
        wrong = max(offsets.items(), key=lambda item: abs(item[0] - 0.5))[1]
        folder = PurePosixPath(wrong.path).parent.name
        raise UserError(
            f"{wrong.where}: label {wrong.labels[0]} of a video in {folder}, which is number {numbers[name_key(folder)]} "
            "(from 0) of the classes; check the order of --classes, or use --first-label 0 or 1 to trust the labels"
        )
    labels = {label for entry in entries for label in entry.labels}
    if 0 in labels:
        return 0, "as label 0 occurs"
    if max(labels) == len(names):
        return 1, f"as label {len(names)} occurs and there are {len(names)}"
    raise UserError(
        f"labels are {min(labels)} to {max(labels)}, so they may start at 0 or at 1; use --first-label 0 or 1, or "
        "name the classes with --classes"
    )


def _text(file: Path, needed: str) -> str:
    try:
        return read_text(file, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be read ({reason}); {needed}") from error


def _by_number(path: Path) -> list[str]:
    needed = 'a JSON object {"name": number} whose numbers are 0, 1, 2, ..., each once'
    try:
        content: Any = parse_json(_text(path, f"{needed}, is needed"))
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({error}); {needed}, is needed") from error
    if not isinstance(content, dict) or sorted(map(str, content.values())) != sorted(map(str, range(len(content)))):
        raise UserError(f"{path}: must be {needed}")
    return sorted(content, key=lambda name: int(content[name]))


def _check_name(name: str, what: str) -> None:
    if len(name) > MAX_CELL or not name.isprintable():
        raise UserError(f"{what} {shown(name)} is too long or has control characters; fix it")


def _parse(text: str, where: str, most: int) -> _Line:
    """The path and at most `most` numbers after it."""
    words = SEPARATORS.split(text)  # word, separator, word, ...
    end, least = len(words), max(2, len(words) - 2 * most)
    while end > least and words[end - 1].isascii() and words[end - 1].isdecimal() and len(words[end - 1]) <= MAX_DIGITS:
        end -= 2
    path, signs = "".join(words[:end]).replace("\\", "/"), [sign.strip() for sign in words[end::2]]
    if len(path) > 1 and path[0] == path[-1] == '"':
        path = path[1:-1]
    if not PurePosixPath(path).name or PurePosixPath(path).name == "..":
        raise UserError(f"{where}: {shown(text)} names no file; a line needs a path and the number of a class")
    joined = len(signs) > 1 and signs[0] == "" and set(signs[1:]) == {","}
    return _Line(path, tuple(map(int, words[end + 1 :: 2])), joined, where)


def _folder(line: _Line) -> str:
    folder = PurePosixPath(line.path).parent.name
    if not folder:
        raise UserError(
            f"{line.where}: {shown(line.path)} is in no folder; the file was read as {UCF_TEST}; if it holds the names "
            "of classes, give it as --classes"
        )
    return folder


def _labels(line: _Line, layout: str, detected: str) -> tuple[int, ...]:
    labels, count = line.numbers[layout == FRAMES :], len(line.numbers)
    if not labels or (layout == LABEL and len(labels) > 1):
        raise UserError(
            f"{line.where}: {shown(line.path)} is followed by {count or 'no'} number{'s' * (count != 1)}; the file was "
            f"read as {detected}; fix the line (headers are not allowed), or use --line {'|'.join(LAYOUTS)}"
        )
    if len(set(labels)) < len(labels):
        raise UserError(
            f"{line.where}: a label occurs twice; the file was read as {detected}; instead of zeros and ones list the "
            "numbers of the classes"
        )
    return labels


def _layout(parsed: list[_Line], path_kind: Callable[[Sequence[str]], str]) -> tuple[str, str]:
    """A key of LAYOUTS and why, from all lines and from the files that exist."""
    counts = {len(line.numbers) for line in parsed if line.numbers}
    several = [line for line in parsed if len(line.numbers) > 1]
    if not several:
        return LABEL, "one number in each line"
    if all(line.joined for line in several):
        return LABELS, "numbers joined by commas"
    what = path_kind([line.path for line in parsed])
    number = f"{min(counts)} to {max(counts)} numbers" if len(counts) > 1 else f"{len(several[0].numbers)} numbers"
    if what == FOLDER and min(counts) > 1 and counts != {3}:
        return FRAMES, f"{number} in each line, and the paths are folders"
    if what == VIDEO and counts != {2}:
        return LABELS, f"{number} in a line, and the paths are videos"
    there = f"its paths are {what}s" if what else "none of its paths is in --videos"
    raise UserError(
        f"{several[0].where}: {number} after {shown(several[0].path)}, and {there}; tell their meaning with --line: "
        f"{'; '.join(f'{name} = {text}' for name, text in LAYOUTS.items())}"
    )


def _hmdb(file: Path, lines: list[tuple[int, str]], name: str) -> list[ListedVideo]:
    entries = []
    for number, text in lines:
        path, mark = text.rsplit(None, 1) if len(text.split()) > 1 else ("", text)
        stem = PurePosixPath(path).stem
        if not stem:
            raise UserError(
                f"{file}:{number}: {shown(text)} names no video; the file was read as HMDB51's `video.avi 0|1|2`"
            )
        if mark in HMDB_SPLITS:
            entries.append(ListedVideo(path, HMDB_SPLITS[mark], f"{file}:{number}", (), name, (stem,)))
    return entries


def _kinetics(file: Path, split: str) -> list[ListedVideo]:
    entries = []
    for cells, where in read_rows(file, KINETICS_COLUMNS, ("split",), remarks=False):
        name, key = cells["label"].strip('"').strip(), cells["youtube_id"]
        of = split or split_of(Path(cells.get("split") or file.name))
        _check_name(name, f"{where}: label")
        try:
            start, end = (int(float(cells[time])) for time in ("time_start", "time_end"))
        except (ValueError, OverflowError) as error:
            raise UserError(
                f"{where}: time_start or time_end is no number; the file was read as Kinetics' official CSV"
            ) from error
        if not (name and key and of):
            raise UserError(
                f"{where}: label, youtube_id or split is empty; the file was read as Kinetics' official CSV, which has them"
            )
        stems = (f"{key}_{start:06d}_{end:06d}", f"{key}_{start}_{end}", key)
        entries.append(ListedVideo(stems[0], of, where, (), name, stems))
    if not entries:
        raise UserError(f"{file}: {EMPTY}")
    return entries
