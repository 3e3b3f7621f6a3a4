"""Lists of videos and labels as data sets and projects publish them, told apart by what they hold.

UCF101 (crcv.ucf.edu): `Class/video.avi 1` for training, `Class/video.avi` for testing. HMDB51 (serre-lab.clps.brown.edu):
<class>_test_split1.txt of `video.avi 1`, 0 = in neither, 1 = train, 2 = test. Kinetics: a CSV with the columns label,
youtube_id, time_start, time_end, split. PySlowFast and MMAction2's VideoDataset: `path label`; MMAction2's RawframeDataset:
`folder frames label`; both may have several labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from transm3e.data.annotations import MAX_CELL, SPLITS
from transm3e.data.csv_tables import read_rows
from transm3e.errors import UserError, shown
from transm3e.files import read_text
from transm3e.prepare.benchmarks.authors import split_of

# What stands in a line after the path.
LABEL, FRAMES, LABELS = "label", "frames", "labels"
LAYOUTS = {
    LABEL: "`path label`, as PySlowFast and MMAction2 write it",
    FRAMES: "`folder frames label`, as MMAction2's lists of picture folders",
    LABELS: "`path label label ...`, several labels of a video",
}
FOLDER, VIDEO = "folder", "video"
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
HMDB_NAME = re.compile(r"(.+)_test_split(\d+)\.txt")
HMDB_SPLITS = {"1": "train", "2": "known_test"}
FOLD = re.compile(r"(?:list|split)_?0*([1-9]\d?)(?!\d)")
SEPARATORS = re.compile(r"([\s,;|]+)")
MAX_DIGITS, MAX_NUMBERS = 9, 1000
# (number, text) of the lines that are not empty
Lines = list[tuple[int, str]]


class ListedVideo(NamedTuple):
    """A listed video.

    Attributes:
        path: as listed, with forward slashes.
        split: one of SPLITS.
        where: "file:line".
        labels: its numbers, as listed.
        name: its class, where that is listed by name.
        stems: names without suffix under which the file may lie anywhere; () = it lies where the path says.
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
        file: of the list.
        told: what it was taken for.
        entries: in the list's order.
        fold: which of several divisions of the same videos, as "1"; "" where its name does not say.
        layout: LABEL, FRAMES (of folders) or LABELS; "" where labels are names.
    """

    file: Path
    told: str
    entries: list[ListedVideo]
    fold: str = ""
    layout: str = ""


class _Line(NamedTuple):
    path: str
    numbers: tuple[int, ...]
    # The last word is 1,2,3: it can be nothing but labels.
    joined: bool
    where: str


def read_list(
    file: Path, split: str, layout: str, look: Callable[[Sequence[str]], str], several: bool = False
) -> ListFile:
    """A list, told by its content.

    Args:
        file: the list.
        split: of its videos; "" = as its name or its lines say.
        layout: a key of LAYOUTS where the list leaves it open; "" = told by the lines and `look`.
        look: listed paths -> FOLDER or VIDEO, what the first of them that is there is; "" if none is.
        several: whether a video may have several labels.

    Raises:
        UserError: an empty list, no split, lines of several forms or of none, or a layout that is not sure.
    """
    lines = read_lines(file)
    if "youtube_id" in lines[0][1]:
        return _kinetics(file, split)
    hmdb = HMDB_NAME.fullmatch(file.name)
    if hmdb and hmdb[1].isprintable() and all(text.rsplit(None, 1)[-1] in ("0", *HMDB_SPLITS) for _, text in lines):
        return _hmdb(file, lines, hmdb[1], hmdb[2])
    split, fold = split or split_of(Path(file.name)), FOLD.search(file.stem.lower())
    if not split:
        raise UserError(
            f"{file}: its name says none of train, val, test; write SPLIT={file.name}, SPLIT one of {', '.join(SPLITS)}"
        )
    # With the layout given, a path may end in a number of its own.
    most = 1 if layout == LABEL else 2 if layout == FRAMES and not several else MAX_NUMBERS
    parsed = [_parse(text, f"{file}:{number}", most) for number, text in lines]
    told, layout, entries = (
        _by_folder(parsed, split)
        if not any(line.numbers for line in parsed)
        else (_by_number(parsed, split, layout, look))
    )
    return ListFile(file, told, entries, fold[1] if fold else "", layout)


def read_lines(file: Path) -> Lines:
    """The lines of a UTF-8 text that are not empty, with their numbers from 1.

    Raises:
        UserError: it cannot be read, has none, or has control characters.
    """
    try:
        text = read_text(file, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be read ({reason}); a UTF-8 list is needed") from error
    lines = [(number, plain) for number, line in enumerate(text.split("\n"), 1) if (plain := line.strip())]
    if not lines:
        raise UserError(f"{file}: an empty list; fill it or take it away")
    for number, line in lines:
        if not line.replace("\t", " ").isprintable():
            raise UserError(f"{file}:{number}: {shown(line)} has control characters; a list of paths is needed")
    return lines


def _parse(text: str, where: str, most: int) -> _Line:
    """The path and at most so many numbers after it."""
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


def _by_folder(parsed: list[_Line], split: str) -> tuple[str, str, list[ListedVideo]]:
    told = "paths without labels, as UCF101's testlist: a video's class is its folder"
    for line in parsed:
        if not PurePosixPath(line.path).parent.name:
            raise UserError(
                f"{line.where}: {shown(line.path)} lies in no folder; the file was taken for {told}; if it holds the names "
                "of classes, give it as --classes"
            )
    return (
        told,
        "",
        [ListedVideo(line.path, split, line.where, (), PurePosixPath(line.path).parent.name) for line in parsed],
    )


def _by_number(
    parsed: list[_Line], split: str, layout: str, look: Callable[[Sequence[str]], str]
) -> tuple[str, str, list[ListedVideo]]:
    why = "--line says so"
    if not layout:
        layout, why = _layout(parsed, look)
    told, entries = f"{LAYOUTS[layout]} ({why})", []
    for line in parsed:
        skipped = layout == FRAMES
        labels = line.numbers[skipped:]
        if not labels or (layout == LABEL and len(labels) > 1):
            count = len(line.numbers)
            raise UserError(
                f"{line.where}: {shown(line.path)} is followed by {count or 'no'} number{'s' * (count != 1)}; the file was "
                f"taken for {told}; fix the line (a header has no place there), or say --line {'|'.join(LAYOUTS)}"
            )
        if len(set(labels)) < len(labels):
            raise UserError(
                f"{line.where}: a label stands there twice; the file was taken for {told}; of zeros and ones write the "
                "numbers of those that are 1"
            )
        entries.append(ListedVideo(line.path, split, line.where, labels))
    return told, layout, entries


def _layout(parsed: list[_Line], look: Callable[[Sequence[str]], str]) -> tuple[str, str]:
    """A key of LAYOUTS and why, from all lines and from what is there."""
    counts = {len(line.numbers) for line in parsed if line.numbers}
    several = [line for line in parsed if len(line.numbers) > 1]
    if not several:
        return LABEL, "one number in each line"
    if all(line.joined for line in several):
        return LABELS, "numbers joined by commas"
    what = look([line.path for line in parsed])
    number = f"{min(counts)} to {max(counts)} numbers" if len(counts) > 1 else f"{len(several[0].numbers)} numbers"
    if what == FOLDER and min(counts) > 1 and counts != {3}:
        return FRAMES, f"{number} in each line, and the paths are folders"
    if what == VIDEO and counts != {2}:
        return LABELS, f"{number} in a line, and the paths are videos"
    there = f"its paths are {what}s" if what else "none of its paths is in --videos"
    raise UserError(
        f"{several[0].where}: {number} after {shown(several[0].path)}, and {there}: say with --line what they are: "
        f"{'; '.join(f'{name} = {text}' for name, text in LAYOUTS.items())}"
    )


def _hmdb(file: Path, lines: Lines, name: str, fold: str) -> ListFile:
    entries = []
    for number, text in lines:
        path, mark = text.rsplit(None, 1) if len(text.split()) > 1 else ("", text)
        if not PurePosixPath(path).stem:
            raise UserError(f"{file}:{number}: {shown(text)} names no video; taken for HMDB51's `video.avi 0|1|2`")
        if mark in HMDB_SPLITS:
            entries.append(
                ListedVideo(path, HMDB_SPLITS[mark], f"{file}:{number}", (), name, (PurePosixPath(path).stem,))
            )
    return ListFile(
        file, "HMDB51's split files: 1 = train, 2 = known_test, 0 = left out; the class is the file's", entries, fold
    )


def _kinetics(file: Path, split: str) -> ListFile:
    entries = []
    for cells, where in read_rows(file, KINETICS_COLUMNS, ("split",), remarks=False):
        name, key = cells["label"].strip('"').strip(), cells["youtube_id"]
        of = split or split_of(Path(cells.get("split") or file.name))
        if len(name) > MAX_CELL or not name.isprintable():
            raise UserError(f"{where}: label {shown(name)} is too long or has control characters; fix it")
        if not (name and key and of):
            raise UserError(
                f"{where}: label, youtube_id or split is empty; taken for Kinetics' official CSV, which names them"
            )
        try:
            start, end = (int(float(cells[time])) for time in ("time_start", "time_end"))
        except (ValueError, OverflowError) as error:
            raise UserError(
                f"{where}: time_start or time_end is no number; taken for Kinetics' official CSV"
            ) from error
        stems = (f"{key}_{start:06d}_{end:06d}", f"{key}_{start}_{end}", key)
        entries.append(ListedVideo(stems[0], of, where, (), name, stems))
    if not entries:
        raise UserError(f"{file}: an empty list; fill it or take it away")
    return ListFile(file, "Kinetics' official CSV: classes by name, files called by youtube_id and times", entries)
