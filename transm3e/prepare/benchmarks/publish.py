"""Write a prepared benchmark: the clip table, the list of files left out, the report, and a link to the videos."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from transm3e.data.annotations import (
    KNOWN_SPLITS,
    NEW_SPLITS,
    SPLITS,
    Clip,
    read_clip_table,
    table_from_clips,
    write_clip_table,
)
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, atomic_path, atomic_write_text, make_folder
from transm3e.prepare.benchmarks.facts import Benchmark

LINK, REPORT, SKIPPED = "videos", "preparation.md", "skipped.csv"
NAMES_SHOWN = 8


@dataclass(frozen=True)
class Prepared:
    """Clips of one benchmark, not yet written.

    Attributes:
        clips: their paths are relative to the videos' folder.
        skipped: (path, reason) of every file or listed video left out.
        facts: sentences on how it was made; the origin of the labels comes first.
    """

    clips: list[Clip]
    skipped: list[tuple[str, str]]
    facts: list[str]


def listing(names: Sequence[str]) -> str:
    """ "a, b, c and 2 more" """
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def publish(benchmark: Benchmark, prepared: Prepared, videos: Path, out: Path, overwrite: bool = False) -> str:
    """Write clips.csv, skipped.csv and preparation.md to `out`, and return the report.

    Unless `videos` is below `out`, out/videos becomes a link to it. A clip table with the same clips is kept, with the
    columns that were added to it (skeleton, flow).

    Args:
        benchmark: the benchmark.
        prepared: the clips.
        videos: the folder their paths are relative to; it is only read.
        out: the folder to make.
        overwrite: replace a clip table with other clips.

    Raises:
        UserError: there is a clip table with other clips, or the folder cannot be written.
    """
    make_folder(out, "--out")
    prefix, notes = link_videos(videos, out)
    clips = [replace(clip, path=str(PurePosixPath(prefix) / clip.path)) for clip in prepared.clips]
    table = out / CLIP_TABLE
    same = table.exists() and not overwrite and _has_same_clips(table, clips)
    notes += [f"The clip table is {table}{' (it was there, unchanged)' if same else ''}."]
    text = _report(benchmark, prepared, notes)
    write_csv(out / SKIPPED, [("path", "reason"), *prepared.skipped])
    atomic_write_text(out / REPORT, text)
    if not same:
        write_clip_table(table, clips)
    return text


def link_videos(videos: Path, out: Path) -> tuple[str, list[str]]:
    """Link out/videos to the videos if needed -> prefix of the table's paths, and sentences for the report."""
    target, link = videos.resolve(), out / LINK
    if target.is_relative_to(out.resolve()):
        return target.relative_to(out.resolve()).as_posix(), []
    if link.is_symlink() or link.exists():
        if link.resolve() != target:
            raise UserError(f"{link} exists and is not a link to {target}; choose another --out or move it")
        return LINK, [f"The videos are read through the link {link} -> {target}."]
    try:
        os.symlink(target, link, target_is_directory=True)
    except OSError as error:
        why = f"{link} could not be made ({error.strerror or error})"
        return "", [f"The link {why}: train and check with DATA.PATH_PREFIX {target} (--prefix in check_dataset.py)."]
    return LINK, [f"The videos are read through the link {link} -> {target}."]


def csv_bytes(rows: Sequence[Sequence[str]]) -> bytes:
    """Rows as CSV; file names that are not UTF-8 (surrogates in Python) are escaped."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")


def write_csv(file: Path, rows: Sequence[Sequence[str]]) -> None:
    """Raises: UserError: it cannot be written."""
    with atomic_path(file) as partial:
        partial.write_bytes(csv_bytes(rows))


def _has_same_clips(table: Path, clips: Sequence[Clip]) -> bool:
    """True if a table has these clips, in any order; raises UserError if it has others."""
    there, wanted = read_clip_table(table), table_from_clips(clips)
    a, b = np.argsort(there.paths), np.argsort(wanted.paths)
    names = ("paths", "splits", "activities", "labels")
    if not all(np.array_equal(getattr(there, name)[a], getattr(wanted, name)[b]) for name in names):
        raise UserError(
            f"{table} has other clips (other videos, labels, options or seed); choose another --out, "
            "or replace it with --overwrite"
        )
    return True


def _report(benchmark: Benchmark, prepared: Prepared, notes: Sequence[str]) -> str:
    """Markdown: how it was made and where it is, counts beside the paper's, and what was left out."""
    lines = [f"# {benchmark.name}", "", *(f"- {fact}" for fact in [*prepared.facts, *notes])]
    lines += ["", "## Counts", "", _count_report(benchmark, prepared.clips)]
    reasons = Counter(reason for _, reason in prepared.skipped)
    first = {reason: path for path, reason in reversed(prepared.skipped)}
    lines += ["", f"## Left out: {len(prepared.skipped)} (each in skipped.csv)", ""]
    lines += [f"- {count} x {reason}; first: {first[reason]}" for reason, count in reasons.most_common()]
    # File names that are not UTF-8 hold surrogates.
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8", "backslashreplace").decode("utf-8")


def _count_report(benchmark: Benchmark, clips: Sequence[Clip]) -> str:
    """A Markdown table of clips and activities per split with the paper's counts, and a line per difference."""
    here = Counter(clip.split for clip in clips)
    shown = {split: {clip.activity for clip in clips if clip.split == split} for split in SPLITS}
    rows = [(split, here[split], benchmark.counts[split], len(shown[split])) for split in SPLITS]
    activities = set().union(*shown.values())
    rows.append(("sum", len(clips), sum(benchmark.counts.values()), len(activities)))
    lines = ["| split | clips | paper | difference | activities |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {count} | {paper} | {count - paper:+d} | {n} |" for name, count, paper, n in rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in _differences(benchmark, clips))])


def _differences(benchmark: Benchmark, clips: Sequence[Clip]) -> list[str]:
    """One sentence per number that differs from the paper's, then the known facts about the paper's numbers."""
    here = Counter(clip.split for clip in clips)
    lines = [
        f"{split}: {here[split]} clips here, {paper} in the paper ({here[split] - paper:+d})."
        for split, paper in benchmark.counts.items()
        if here[split] != paper
    ]
    activities, paper_sum = {clip.activity for clip in clips}, sum(benchmark.counts.values())
    if len(clips) != paper_sum:
        lines.append(f"Sum: {len(clips)} clips here, {paper_sum} in the paper ({len(clips) - paper_sum:+d}).")
    if len(activities) != benchmark.activities:
        lines.append(f"Activities: {len(activities)} here, {benchmark.activities} in the paper.")
    return [*(lines or ["All split sizes are the paper's."]), *_gaps(clips), *benchmark.notes]


def _gaps(clips: Sequence[Clip]) -> list[str]:
    """Sentences on splits that lack an activity of theirs, which has too few groups."""
    splits_of: dict[str, set[str]] = {}
    for clip in clips:
        splits_of.setdefault(clip.activity, set()).add(clip.split)
    lines = []
    for split in SPLITS[1:]:
        family = set(NEW_SPLITS if split in NEW_SPLITS else KNOWN_SPLITS)
        lacking = sorted(name for name, found in splits_of.items() if found & family and split not in found)
        if lacking:
            lines.append(f"{split} shows no clip of: {', '.join(lacking)}.")
    return lines
