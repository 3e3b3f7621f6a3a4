"""The videos below a folder: the class folder of each, and which one a path from another machine refers to."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from transm3e.data.video_files import is_video
from transm3e.errors import UserError
from transm3e.prepare.benchmarks.facts import Benchmark
from transm3e.prepare.benchmarks.publish import listing
from transm3e.prepare.benchmarks.tables import name_key


@dataclass
class FoundFiles:
    """The files below a folder; all paths relative to it, with forward slashes.

    Attributes:
        videos: non-empty files that are videos by name or content, in the same order on every machine.
        archives: .rar files.
        skipped: (path, reason) of every other file; hidden files are ignored.
    """

    videos: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class ClassVideo:
    """A video of a class folder.

    Attributes:
        path: relative to the folder that was searched.
        activity: official name of the class.
        group: name of its source video; its own path where the file name does not identify it.
    """

    path: str
    activity: str
    group: str


def find_videos(root: Path) -> FoundFiles:
    """Search a folder; links to folders are followed, and each folder is visited once.

    Raises:
        UserError: it is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"--videos {root}: not a folder; give the folder that holds the videos")
    found = FoundFiles()
    for file in _walk(root):
        path = file.relative_to(root).as_posix()
        reason = _fault(file)
        if file.suffix.lower() == ".rar":
            found.archives.append(path)
        elif reason:
            found.skipped.append((path, reason))
        else:
            found.videos.append(path)
    return found


def sort_into_classes(found: FoundFiles, names: Iterable[str], benchmark: Benchmark) -> list[ClassVideo]:
    """The videos in a folder named like an activity (ignoring case, blanks and punctuation), in the order found.

    The nearest such folder above a file counts. Videos of no class and second copies go to `found.skipped`.

    Raises:
        UserError: archives that are not unpacked, or no video at all.
    """
    spelling = {name_key(name): name for name in names}
    videos: dict[tuple[str, str], ClassVideo] = {}
    for path in found.videos:
        file = PurePosixPath(path)
        activity = next((spelling[k] for p in file.parents if (k := name_key(p.name)) in spelling), None)
        if activity is None:
            found.skipped.append((path, _unknown_folder(file, spelling, benchmark)))
            continue
        group = benchmark.group_of(file.stem, activity)
        # File names of the official form are unique; others may be numbers that restart in each folder.
        key = (activity, file.stem if group else str(file.with_suffix("")))
        if key in videos:
            found.skipped.append((path, "a second copy: its class has another file of that name"))
        else:
            videos[key] = ClassVideo(path, activity, group or path)
    _refuse_archives(found, {name_key(video.activity) for video in videos.values()}, spelling, benchmark)
    return list(videos.values())


def match_paths(listed: Sequence[str], files: Iterable[str], strip: str = "") -> list[str]:
    """For each listed path the file it refers to, or "".

    Without `strip` it is the file whose relative path is the longest end of the listed path. If no file has the exact name,
    the only file that differs just in its suffix (a converted video) counts.

    Args:
        listed: paths with / or \\.
        files: relative paths with forward slashes.
        strip: prefix to remove from the listed paths; the remainder must be a file.

    Raises:
        UserError: a path does not begin with `strip`, or two different paths refer to one file.
    """
    exact = set(files)
    stems: dict[str, list[str]] = defaultdict(list)
    for file in sorted(exact):
        stems[str(PurePosixPath(file).with_suffix(""))].append(file)
    strip = strip.replace("\\", "/")
    found = []
    for path in listed:
        plain = path.replace("\\", "/")
        if not plain.startswith(strip):
            raise UserError(f"--strip {strip!r}: the listed path {path!r} does not begin with it; shorten it")
        ends = [plain.removeprefix(strip).lstrip("/")] if strip else path_suffixes(plain)
        found.append(next((file for end in ends if (file := _file(end, exact, stems))), ""))
    means: dict[str, str] = {}
    for path, file in zip(listed, found, strict=True):
        if file and means.setdefault(file, path) != path:
            raise UserError(
                f"listed paths {means[file]!r} and {path!r} both refer to {file}; give the folder above "
                "the activity folders as --videos, or --strip"
            )
    return found


def path_suffixes(path: str) -> list[str]:
    """ "a/./b/c" -> "a/b/c", "b/c", "c"."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _file(end: str, exact: set[str], stems: dict[str, list[str]]) -> str:
    if end in exact:
        return end
    # Its suffix may be missing or another one.
    same = stems.get(end) or stems.get(str(PurePosixPath(end).with_suffix("")) if end else "", [])
    return same[0] if len(same) == 1 else ""


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _fault(file: Path) -> str:
    if file.suffix.lower() != ".rar" and not is_video(file):
        return f"not a video ({file.suffix or 'no suffix'})"
    if not str(file).isprintable() or "\\" in file.name:
        return "its name cannot be written in a UTF-8 table, or has a backslash; rename it"
    try:
        return "" if file.stat().st_size else "empty file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _unknown_folder(file: PurePosixPath, spelling: dict[str, str], benchmark: Benchmark) -> str:
    folder = file.parent.name
    near = difflib.get_close_matches(name_key(folder), spelling, n=1)
    hint = f" (did you mean {spelling[near[0]]}?)" if near else ""
    return f"folder {folder!r} is no activity of {benchmark.source}{hint}" if folder else "it is in no class folder"


def _refuse_archives(found: FoundFiles, present: set[str], spelling: dict[str, str], benchmark: Benchmark) -> None:
    packed = [path for path in found.archives if name_key(PurePosixPath(path).stem) in set(spelling) - present]
    if packed or (found.archives and not present):
        raise UserError(
            f"{listing(packed or found.archives)}: not unpacked yet; unpack "
            f"({benchmark.unpack or 'unrar x FILE.rar'}) and give the folder with the class folders as --videos"
        )
    if not present:
        raise UserError(
            f"no video of {benchmark.source} found ({len(found.videos)} video files, {len(found.skipped)} other or "
            f"unknown: {'; '.join(f'{p}: {r}' for p, r in found.skipped[:2]) or 'none'}); "
            "--videos needs <class>/<video>, see datasets/README.md"
        )
