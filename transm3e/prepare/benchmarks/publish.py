"""Writing a benchmark: the clip table, the files left out, the report, and a link to the videos."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from transm3e.data.annotations import Clip, read_clip_table, table_from_clips, write_clip_table
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, atomic_path, atomic_write_text
from transm3e.prepare.benchmarks.facts import Benchmark
from transm3e.prepare.benchmarks.prepared import Prepared, report

LINK = "videos"
REPORT = "preparation.md"
SKIPPED = "skipped.csv"


def publish(benchmark: Benchmark, prepared: Prepared, videos: Path, out: Path, overwrite: bool = False) -> str:
    """Write clips.csv, skipped.csv and preparation.md to `out`, and return the report.

    Where `videos` does not lie below `out`, out/videos becomes a link to it. A clip table that says the same is
    kept as it is, with what was added to it (skeleton, flow).

    Args:
        benchmark: which.
        prepared: the clips.
        videos: the folder their paths are relative to; nothing is written there.
        out: the folder to make.
        overwrite: replace a clip table that says something else.

    Raises:
        UserError: a clip table that says something else is there, or the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {out}: {error.strerror}; choose another --out") from error
    prefix, place = place_videos(videos, out)
    clips = [replace(clip, path=str(PurePosixPath(prefix) / clip.path)) for clip in prepared.clips]
    table = out / CLIP_TABLE
    same = table.exists() and not overwrite and _says_the_same(table, clips)
    place += [f"The clip table is {table}{' (it was there, unchanged)' if same else ''}."]
    text = report(benchmark, prepared, place)
    with (
        atomic_path(out / SKIPPED) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as f,
    ):
        csv.writer(f).writerows([("path", "reason"), *prepared.skipped])
    atomic_write_text(out / REPORT, text)
    if not same:
        write_clip_table(table, clips)
    return text


def place_videos(videos: Path, out: Path) -> tuple[str, list[str]]:
    """What the table's paths begin with, and sentences on how the videos are found."""
    target, link = videos.resolve(), out / LINK
    if target.is_relative_to(out.resolve()):
        return target.relative_to(out.resolve()).as_posix(), []
    if link.is_symlink() or link.exists():
        if link.resolve() != target:
            raise UserError(f"{link}: is there already and is not a link to {target}; choose another --out or move it")
        return LINK, [f"The videos are read through the link {link} -> {target}."]
    try:
        os.symlink(target, link, target_is_directory=True)
    except OSError as error:
        why = f"{link} could not be made ({error.strerror or error})"
        return "", [f"The link {why}: train and check with DATA.PATH_PREFIX {target} (--prefix in check_dataset.py)."]
    return LINK, [f"The videos are read through the link {link} -> {target}."]


def _says_the_same(table: Path, clips: Sequence[Clip]) -> bool:
    """Whether a table has these clips, in any order; raises where it has not."""
    there, wanted = read_clip_table(table), table_from_clips(clips)
    a, b = np.argsort(there.paths), np.argsort(wanted.paths)
    names = ("paths", "splits", "activities", "labels")
    if not all(np.array_equal(getattr(there, name)[a], getattr(wanted, name)[b]) for name in names):
        raise UserError(
            f"{table}: another clip table is there (other videos, labels, options or seed); choose another --out, "
            "or --overwrite replaces it"
        )
    return True
