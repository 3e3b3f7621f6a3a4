"""Videos and class numbers as Kinetics users have them: PySlowFast's lists, or class folders; and the classes' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from transm3e.data.annotations import SPLIT_ALIASES
from transm3e.data.benchmarks.tables import resolve_names
from transm3e.data.benchmarks.tree import find_videos
from transm3e.errors import UserError, shown
from transm3e.files import read_text
from transm3e.foreign.json_text import parse_json

# Name of a list or folder -> our split. Kinetics has no new activities: what it validates and tests on is known.
SPLIT_OF = {"train": "train", "val": SPLIT_ALIASES["val"], "test": SPLIT_ALIASES["test"]}
LIST_SUFFIX = ".csv"


@dataclass(frozen=True)
class Entry:
    """A listed video.

    Attributes:
        path: relative to the folder of videos, with forward slashes.
        label: number of its class, from 0.
        where: what lists it, for messages.
    """

    path: str
    label: int
    where: str


@dataclass(frozen=True)
class Source:
    """What there is to make a clip table of.

    Attributes:
        entries: those keys of SPLIT_OF that have a list or folder -> its videos in order.
        classes: names in the order of the labels.
        skipped: (path, reason) of files in class folders that are no videos.
    """

    entries: dict[str, list[Entry]]
    classes: list[str]
    skipped: tuple[tuple[str, str], ...] = ()


def read_lists(
    folder: Path, videos: Path, separator: str = " ", strip: str = "", classes: Sequence[str] = ()
) -> Source:
    """PySlowFast's train.csv, val.csv and test.csv: in each line a path, the separator, and the number of a class.

    The last separator of a line counts, so a path may hold blanks or commas. Without `classes` a class is called by its
    number.

    Args:
        folder: of the lists.
        videos: what the paths are relative to, or below which they lie.
        separator: between path and number.
        strip: beginning of the paths to leave away.
        classes: names of all classes.

    Raises:
        UserError: no list, an empty list, a line of another form, a path outside `videos`, or a label without a class.
    """
    files = {name: folder / f"{name}{LIST_SUFFIX}" for name in SPLIT_OF if (folder / f"{name}{LIST_SUFFIX}").is_file()}
    if not files:
        raise UserError(
            f"--lists {folder}: holds none of train.csv, val.csv, test.csv; name PySlowFast's folder of lists"
        )
    entries = {name: _read_list(file, separator, videos, strip) for name, file in files.items()}
    labels = [entry for listed in entries.values() for entry in listed]
    names = list(classes) or [str(number) for number in range(max(entry.label for entry in labels) + 1)]
    for entry in labels:
        if entry.label >= len(names):
            raise UserError(
                f"{entry.where}: label {entry.label} has no class; --classes names {len(names)}, 0..{len(names) - 1}"
            )
    return Source(entries, names)


def read_folders(videos: Path, classes: Sequence[str] = ()) -> Source:
    """Class folders: train/<class>/<video>, likewise val and test.

    The order of the classes is that of `classes`, whose names may be spelt otherwise (case, blanks and signs aside), else
    the folders' by name.

    Raises:
        UserError: no such folder, a video that lies in no class folder, or a class folder that `classes` lacks.
    """
    names = [name for name in SPLIT_OF if (videos / name).is_dir()]
    if not names:
        raise UserError(
            f"--videos {videos}: holds none of train/, val/, test/ with class folders; or give --lists FOLDER"
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
    order = {name: number for number, name in enumerate(classes or folders)}
    entries = {
        name: [Entry(f"{name}/{path}", order[spelt[path.parts[0]]], f"{name}/{path}") for path in paths[name]]
        for name in names
    }
    skipped = [(f"{name}/{path}", reason) for name in names for path, reason in found[name].skipped]
    return Source(entries, list(order), tuple(skipped))


def read_classes(path: Path) -> list[str]:
    """Names of classes in the order of their numbers: a JSON object {name: number}, or a text file, a name a line.

    Quotation marks around a name, as in Kinetics' JSON file, are left away.

    Raises:
        UserError: the file cannot be read, holds something else, or two classes share a name or a number.
    """
    try:
        text = read_text(path, encoding="utf-8-sig")
        content: Any = parse_json(text) if path.suffix.lower() == ".json" else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); give a JSON object or a text file, UTF-8") from error
    names = [line for line in text.splitlines() if line.strip()] if content is None else _by_number(content, path)
    plain = [name.strip().strip('"').strip() for name in names]
    if not plain or not all(plain):
        raise UserError(f"{path}: {'a class has an empty name' if plain else 'no class'}; name one class a line")
    twice = next((name for name, count in Counter(plain).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: class {shown(twice)} stands there twice; keep one")
    return plain


def _by_number(content: Any, path: Path) -> list[str]:
    if not isinstance(content, dict) or sorted(map(str, content.values())) != sorted(map(str, range(len(content)))):
        raise UserError(f'{path}: must be a JSON object {{"name": number}} whose numbers are 0, 1, 2, ..., each once')
    return sorted(content, key=lambda name: int(content[name]))


def _read_list(file: Path, separator: str, videos: Path, strip: str) -> list[Entry]:
    try:
        lines = read_text(file, encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be read ({reason}); a UTF-8 list is needed") from error
    parts = [
        (*_parts(line.strip(), separator, f"{file}:{n}"), f"{file}:{n}")
        for n, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not parts:
        raise UserError(f"{file}: an empty list; fill it or take it away")
    return [Entry(_relative(path, videos, strip, where), label, where) for path, label, where in parts]


def _parts(line: str, separator: str, where: str) -> tuple[str, int]:
    path, _, label = (part.strip() for part in line.rpartition(separator))
    if not (path and label.isascii() and label.isdecimal()):
        raise UserError(
            f"{where}: {line[:80]!r} is not PATH{separator}NUMBER; --separator says what stands between "
            "(PySlowFast's DATA.PATH_LABEL_SEPARATOR)"
        )
    return path, int(label)


def _relative(listed: str, videos: Path, strip: str, where: str) -> str:
    path = PurePosixPath(listed.removeprefix(strip).lstrip("/") if strip else listed)
    root = PurePosixPath(videos.absolute().as_posix())
    if path.is_relative_to(root):
        path = path.relative_to(root)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(
            f"{where}: {listed[:200]} does not lie in --videos {videos}; --strip PREFIX leaves the beginning of listed paths away"
        )
    return path.as_posix()
