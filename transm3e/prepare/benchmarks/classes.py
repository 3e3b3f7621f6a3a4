"""The classes of a data set: their names in the order of their numbers, and videos in class folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from transm3e.data.annotations import MAX_CELL, SPLIT_ALIASES
from transm3e.errors import UserError, shown
from transm3e.files import read_text
from transm3e.foreign.json_text import parse_json
from transm3e.prepare.benchmarks.list_files import ListedVideo, read_lines
from transm3e.prepare.benchmarks.tables import name_key, resolve_names
from transm3e.prepare.benchmarks.tree import find_videos

# Class folders of a split.
FOLDERS = {"train": "train", "val": SPLIT_ALIASES["val"], "test": SPLIT_ALIASES["test"]}


def read_folders(
    videos: Path, classes: Sequence[str] = ()
) -> tuple[list[ListedVideo], list[str], list[tuple[str, str]]]:
    """Class folders: train/<class>/<video>, likewise val and test.

    The order of the classes is that of `classes`, whose names may be spelt otherwise (case, blanks and signs aside), else
    the folders' by name.

    Returns:
        the videos, whose paths begin at `videos`; the names of the classes; (path, reason) of files that are no videos.

    Raises:
        UserError: no such folder, a video that lies in no class folder, or a class folder that `classes` lacks.
    """
    names = [name for name in FOLDERS if (videos / name).is_dir()]
    if not names:
        raise UserError(
            f"--videos {videos}: holds none of train/, val/, test/ with class folders; or give --lists FILE ..."
        )
    found = {name: find_videos(videos / name) for name in names}
    paths = {name: [PurePosixPath(path) for path in found[name].videos] for name in names}
    loose = [f"{name}/{path}" for name in names for path in paths[name] if len(path.parts) < 2]
    if loose:
        raise UserError(f"{videos / loose[0]}: lies in no class folder ({len(loose)} such videos); move it into one")
    folders = sorted({path.parts[0] for name in names for path in paths[name]})
    if not folders:
        raise UserError(f"--videos {videos}: no video in {', '.join(names)}; give the folder of unpacked videos")
    spelt = dict(zip(folders, resolve_names(folders, classes, str(videos)) if classes else folders, strict=True))
    entries = [
        ListedVideo(f"{name}/{path}", FOLDERS[name], f"{name}/{path}", name=spelt[path.parts[0]])
        for name in names
        for path in paths[name]
    ]
    skipped = [(f"{name}/{path}", reason) for name in names for path, reason in found[name].skipped]
    return entries, list(classes or folders), skipped


def read_classes(path: Path) -> list[str]:
    """Names of classes in the order of their numbers: a JSON object {name: number}, or a text file, a name a line.

    Where each line begins with its number, as in UCF101's classInd.txt, that is left away, and so are quotation marks
    around a name, as in Kinetics' JSON file.

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
        raise UserError(f"{path}: {'a class has an empty name' if plain else 'no class'}; name one class a line")
    twice = next((name for name, count in Counter(plain).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: class {shown(twice)} stands there twice; keep one")
    bad = next((name for name in plain if len(name) > MAX_CELL or not name.isprintable()), None)
    if bad is not None:
        raise UserError(f"{path}: class {shown(bad)} is too long or has control characters; fix it")
    return plain


def numbered_names(lines: Sequence[str]) -> list[str]:
    """ "1 Archery", "2 Biking" -> the names, by their numbers from 0 or 1 on; [] where lines are not of this form."""
    by_number: dict[int, str] = {}
    for line in lines:
        # A name is more than numbers: `1 2 3` may be a folder, its frames and its label.
        match = re.fullmatch(r"(\d{1,9})[\s,]+(.*\D.*)", line)
        if match is None or by_number.setdefault(int(match[1]), match[2]) != match[2]:
            return []
    first = min(by_number)
    consecutive = first in (0, 1) and set(by_number) == set(range(first, first + len(lines)))
    return [by_number[number] for number in sorted(by_number)] if consecutive else []


def numbers_of(names: Sequence[str]) -> dict[str, int]:
    """name_key of each name -> its number, of those that no other name shares."""
    keys = [name_key(name) for name in names]
    counts = Counter(keys)
    return {key: number for number, key in enumerate(keys) if key and counts[key] == 1}


def first_label(entries: Sequence[ListedVideo], names: Sequence[str], by_folder: bool = True) -> tuple[int, str]:
    """Whether labels count from 0 or 1, and how that is known.

    Args:
        entries: some of whose labels are numbers.
        names: of the classes, if known.
        by_folder: whether a video lies in the folder of its class, where a class has that name.

    Raises:
        UserError: folders and labels contradict each other, or it is not to be known.
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
            "(from 0) of the classes; check the order of --classes, or say --first-label 0 or 1 to believe the labels"
        )
    labels = {label for entry in entries for label in entry.labels}
    if 0 in labels:
        return 0, "as label 0 occurs"
    if max(labels) == len(names):
        return 1, f"as label {len(names)} occurs and there are {len(names)}"
    raise UserError(
        f"labels are {min(labels)} to {max(labels)}, so they may count from 0 or from 1: say --first-label 0 or 1, or "
        "name the classes with --classes"
    )


def _by_number(path: Path) -> list[str]:
    try:
        content: Any = parse_json(read_text(path, encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); give a JSON object or a text file, UTF-8") from error
    if not isinstance(content, dict) or sorted(map(str, content.values())) != sorted(map(str, range(len(content)))):
        raise UserError(f'{path}: must be a JSON object {{"name": number}} whose numbers are 0, 1, 2, ..., each once')
    return sorted(content, key=lambda name: int(content[name]))
