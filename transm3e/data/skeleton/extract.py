"""Write one npz per clip of a clip table, by a detector or a converter; existing files are kept."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.pyskl import load_arrays, write_npz
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.errors import UserError
from transm3e.files import atomic_path, make_folder
from transm3e.progress import map_with_progress

NOBODY = "nobody was found in any frame (its file says so)"


class Maker(Protocol):
    """Provides the joints of clips, by detection or conversion.

    Attributes:
        origin: description of the method; files of another origin are made again.
    """

    origin: str

    def inputs(self, clip: str) -> Sequence[Path]:
        """The files from which a clip's skeleton is made; if one is newer, it is made again."""

    def make(self, clip: str) -> tuple[Skeleton, tuple[int, int]]:
        """The skeleton of a clip, and (height, width) of its video in pixels.

        Raises:
            DecodeError: the clip cannot have one.
        """


def extract(targets: Mapping[str, Path], maker: Maker, workers: int = 1) -> list[tuple[str, str]]:
    """Make the file of every clip; returns (clip, reason) of each without joints, see write_report.

    Files are written atomically, so extraction can be interrupted and repeated. A clip in which nobody is found also gets
    a file, and the reason NOBODY.

    Args:
        targets: path of a clip as in the clip table -> its npz.
        workers: threads, which share the maker.

    Raises:
        UserError: a target exists that was not made here, or a file cannot be written.
    """

    def attempt(item: tuple[str, Path]) -> str:
        clip, target = item
        try:
            return "" if _make(clip, target, maker) else NOBODY
        except DecodeError as error:
            where = "" if error.path.endswith(clip) else f"{error.path}: "
            return f"{where}{error.reason}"

    reasons = map_with_progress(attempt, list(targets.items()), workers, "skeletons")
    return [(clip, reason) for clip, reason in zip(targets, reasons, strict=True) if reason]


def write_report(file: Path, without: Sequence[tuple[str, str]]) -> None:
    """(clip, reason) rows as CSV.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("path", "reason"), *without])


def _make(clip: str, target: Path, maker: Maker) -> bool:
    """Make the file unless it is up to date; returns whether it contains a person."""
    existing = _up_to_date(target, maker, clip)
    if existing is not None:
        return bool(existing["keypoint_score"].any())
    skeleton, size = maker.make(clip)
    make_folder(target.parent, "--out")
    write_npz(target, skeleton, size, maker.origin)
    return bool(skeleton.points.any())


def _up_to_date(target: Path, maker: Maker, clip: str) -> dict[str, np.ndarray] | None:
    """Arrays of a file that an earlier call made from the same inputs by the same method, or None.

    Raises:
        UserError: the file was not made here.
    """
    if not target.exists():
        return None
    try:
        arrays = load_arrays(target, str(target))
    except DecodeError:
        arrays = {}
    if "origin" not in arrays:
        raise UserError(f"{target} exists and was not made by extract_skeleton.py; move it or choose another --out")
    newest = max((file.stat().st_mtime for file in maker.inputs(clip) if file.exists()), default=0.0)
    fresh = str(arrays["origin"]) == maker.origin and target.stat().st_mtime >= newest
    return arrays if fresh else None
