"""Paths of another machine -> files of this one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from transm3e.errors import UserError


def match_paths(listed: Sequence[str], files: Iterable[str], strip: str = "") -> list[str]:
    """For each listed path the file it means, or "".

    Without `strip` it is the file whose path, from the videos' folder on, is the longest end of the listed one. A file
    that differs in its suffix only (a converted video) counts where the exact name is absent and one such exists.

    Args:
        listed: paths with / or \\.
        files: relative paths with forward slashes.
        strip: the listed paths' beginning that is left away; what remains must be a file.

    Raises:
        UserError: a path does not begin with `strip`, or two different paths mean one file.
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
        ends = [plain.removeprefix(strip).lstrip("/")] if strip else ends_of(plain)
        found.append(next((file for end in ends if (file := _file(end, exact, stems))), ""))
    _refuse_two_of_one(listed, found)
    return found


def ends_of(path: str) -> list[str]:
    """ "a/./b/c" -> "a/b/c", "b/c", "c"."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _file(end: str, exact: set[str], stems: dict[str, list[str]]) -> str:
    if end in exact:
        return end
    # Its suffix may be lacking, or another one.
    same = stems.get(end) or stems.get(str(PurePosixPath(end).with_suffix("")) if end else "", [])
    return same[0] if len(same) == 1 else ""


def _refuse_two_of_one(listed: Sequence[str], found: Sequence[str]) -> None:
    means: dict[str, str] = {}
    for path, file in zip(listed, found, strict=True):
        if file and means.setdefault(file, path) != path:
            raise UserError(
                f"listed paths {means[file]!r} and {path!r} both mean {file}; give the folder above "
                "the activity folders as --videos, or --strip"
            )
