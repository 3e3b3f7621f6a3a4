"""The whole extraction: from a clip table to one npz per clip, a list of clips without joints, and the table's column."""

from __future__ import annotations

import csv
import shutil
from argparse import ArgumentTypeError
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.data.annotations import read_clip_table, table_file
from transm3e.data.clip_names import table_with_column, target_names
from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.bodies import COLUMN, DETECTORS, FOLDER
from transm3e.data.skeleton.detectors import Maker, Options, build_detector
from transm3e.data.skeleton.pyskl import load_arrays, write_npz
from transm3e.data.skeleton.units import Declared
from transm3e.errors import UserError
from transm3e.files import atomic_path, atomic_write_text, make_folder
from transm3e.prepare.jobs import ALL, NoResult, Shard, merge_hint, run_each
from transm3e.prepare.skeleton.convert import DetectorFiles

__all__ = ["COLUMN", "DETECTORS", "FOLDER", "parse_size", "run"]

REPORT = "without_skeleton.csv"
NOBODY = "nobody was found in any frame (its file says so)"


def run(
    table: Path,
    source: Path | None = None,
    detector: str | None = None,
    out: Path | None = None,
    prefix: Path | None = None,
    update_table: bool = False,
    detector_size: tuple[int, int] | None = None,
    open_end: bool = False,
    units: str = "",
    score_scale: float = 1.0,
    workers: int = 1,
    shard: Shard = ALL,
    **options: Any,
) -> tuple[str, list[tuple[str, str]]]:
    """Make the skeletons of a clip table's clips -> a summary text, and (clip, reason) of those without joints.

    Args:
        table: the CSV file or its folder.
        source: a detector's output, see DetectorFiles; or
        detector: one of DETECTORS.
        options: of the detector, see Options.
        workers: clips at a time, in threads.
        shard: only its clips; neither the report nor the table is then written.
        out: folder of the files; default: skeletons beside the clips.
        prefix: folder the clips are relative to; default: the table's.
        update_table: fill the table's column skeleton for every clip that has a file.
        open_end: see DetectorFiles.
        detector_size, units, score_scale: what the user says about the numbers in all files, see Declared.

    Raises:
        UserError: an argument, the table or the weights are wrong, or a file cannot be written.
    """
    file = table_file(table)
    root = prefix or file.parent
    out = out or root / FOLDER
    if update_table and not out.absolute().is_relative_to(root.absolute()):
        raise UserError(f"--out {out} is not below {root}, the root of the clip table's paths; choose a folder there")
    clips = [str(clip) for clip in read_clip_table(file).paths]
    maker: Maker
    if source is not None:
        if not 0 < score_scale < float("inf"):
            raise UserError(f"--score-scale {score_scale}: a number above 0, the highest score that the detector gives")
        if Options(root, **options) != Options(root):
            raise UserError(
                "--weights, --device and the like are for --detector, which finds joints; leave them out with --from"
            )
        maker = DetectorFiles(source, clips, root, open_end, Declared(units, score_scale, detector_size))
    else:
        if units or score_scale != 1 or detector_size or open_end:
            raise UserError("--units, --score-scale, --detector-size and --open-end are for --from; leave them out")
        maker = build_detector(detector or "", Options(root, **options))
    targets = {clip: out / name for clip, name in target_names(clips, ".npz").items()}
    make_folder(out, "--out")
    without = extract(targets, maker, workers, shard)
    if not shard.is_all:
        return merge_hint(shard), without
    with atomic_path(out / REPORT) as partial_file, partial_file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("path", "reason"), *without])
    failed = {clip for clip, reason in without if reason != NOBODY}
    made = {clip: target for clip, target in targets.items() if clip not in failed}
    done = f"{len(made)} of {len(clips)} clips have a file in {out}; {len(without)} have no joints ({out / REPORT})"
    if units or score_scale != 1:
        done += f"\nall files were read with x and y in {units or 'what their format says'}, scores from 0 to {score_scale:g}"
    return f"{done}\n{_fill_table(file, made, root, update_table)}", without


def extract(targets: Mapping[str, Path], maker: Maker, workers: int = 1, shard: Shard = ALL) -> list[tuple[str, str]]:
    """Make the file of every clip of a shard -> (clip, reason) of each that is without joints.

    A clip in which nobody is found gets a file, too, and the reason NOBODY.

    Args:
        targets: path of a clip as the clip table has it -> its npz.
        workers: threads, which share the maker.

    Raises:
        UserError: a file that this function did not make is in the way, or one cannot be written.
    """
    items = shard.of(list(targets.items()))
    found = dict(run_each(partial(_reason, maker), items, workers, "skeletons", threads=True))
    reasons = [(items[n][0], each.reason if isinstance(each, NoResult) else each) for n, each in sorted(found.items())]
    return [(clip, reason) for clip, reason in reasons if reason]


def _reason(maker: Maker, item: tuple[str, Path]) -> str:
    """Make a clip's file unless it is up to date; returns why it shows nobody, or ""."""
    clip, target = item
    try:
        existing = _up_to_date(target, maker, clip)
        if existing is not None:
            return "" if existing["keypoint_score"].any() else NOBODY
        skeleton, size = maker.make(clip)
        make_folder(target.parent, "--out")
        write_npz(target, skeleton, size, maker.origin)
        return "" if skeleton.points.any() else NOBODY
    except DecodeError as error:
        return error.reason if error.path.endswith(clip) else f"{error.path}: {error.reason}"


def _up_to_date(target: Path, maker: Maker, clip: str) -> dict[str, np.ndarray] | None:
    """The arrays that an earlier call made from the same files in the same way, or None.

    Raises:
        UserError: the file was not made by extract_skeleton.py.
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


def parse_size(text: str) -> tuple[int, int]:
    """ "340x256" -> (256, 340), height first.

    Raises:
        ArgumentTypeError: anything else.
    """
    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 340x256")
    return int(height), int(width)


def _fill_table(file: Path, made: dict[str, Path], root: Path, update: bool) -> str:
    """Name the files in the table, if asked to -> a summary text."""
    if not update:
        return f"{file} is unchanged; call again with --update-table to fill its column {COLUMN}"
    cells = {clip: npz.absolute().relative_to(root.absolute()).as_posix() for clip, npz in made.items()}
    text = table_with_column(file, COLUMN, cells)
    # newline="" keeps the line endings of the CSV, which are compared too.
    with file.open(newline="", encoding="utf-8-sig") as lines:
        before = lines.read()
    if text == before:
        return f"{file} already named them"
    backup = next(name for name in _backup_names(file) if not name.exists())
    shutil.copy2(file, backup)
    atomic_write_text(file, text)
    return f"column {COLUMN} of {file} filled; the previous table is {backup}"


def _backup_names(file: Path) -> Iterator[Path]:
    yield file.with_name(f"{file.name}.bak")
    yield from (file.with_name(f"{file.name}.bak{number}") for number in count(2))
