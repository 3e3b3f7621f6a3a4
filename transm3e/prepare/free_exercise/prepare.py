"""The whole preparation: from photos to clips, a clip table, and a list of the exercises left out."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from transm3e.data.annotations import Clip, multi_hot, write_clip_table
from transm3e.errors import UserError
from transm3e.files import CLIP_TABLE, atomic_path, make_folder
from transm3e.prepare.free_exercise.clips import make_clip
from transm3e.prepare.free_exercise.families import FamilyRules, group_families, read_families, read_family_rules
from transm3e.prepare.free_exercise.source import MUSCLE_KEYS, Exercise, read_exercises, read_muscle_map
from transm3e.prepare.free_exercise.splits import draw_splits
from transm3e.prepare.jobs import NoResult, run_each


def prepare(
    source: str | Path,
    out: str | Path,
    muscle_map: str | Path,
    family_rules: str | Path,
    frames: int = 16,
    size: int = 256,
    families: str | Path | None = None,
    muscles: str = "all",
    seed: int = 0,
    workers: int = 1,
) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Make clips_{frames}x{size}/*.mp4, clips.csv and skipped.csv in `out`; videos up to date are kept.

    Returns the clips of the table, and (id, reason) of each exercise left out.

    Args:
        source: a clone of Free Exercise DB, or a folder with exercises.json and images/<id>/{0,1}.jpg.
        out: folder to make.
        muscle_map: JSON file, see read_muscle_map.
        family_rules: JSON file, see read_family_rules; of use where there is no `families`.
        frames: T, frames per clip, at least 2.
        size: short side in pixels, even.
        families: CSV file, see read_families; by default source/families.csv where it exists.
        muscles: "all" labels primary and secondary muscles, "primary" only the primary one.
        seed: of the split.
        workers: threads.

    Raises:
        UserError: an argument or an input file is wrong, or nothing can be used.
    """
    if frames < 2 or size < 32 or size % 2 or seed < 0 or workers < 1 or muscles not in MUSCLE_KEYS:
        raise UserError(
            f"frames {frames}, size {size}, muscles {muscles!r}, seed {seed}, workers {workers}: needs frames >= 2, an "
            f"even size >= 32, muscles one of {', '.join(MUSCLE_KEYS)}, seed >= 0 and workers >= 1"
        )
    source, out = Path(source), Path(out)
    exercises = read_exercises(source, read_muscle_map(muscle_map), muscles)
    families = families or next(source.glob("families.csv"), None)
    proposals = read_families(families, exercises) if families else {}
    rules = read_family_rules(family_rules)
    folder = out / f"clips_{frames}x{size}"
    make_folder(folder, "--out")
    usable, skipped = _make_clips(exercises, folder, frames, size, workers)
    if not usable:
        why = ", ".join(sorted({reason for _, reason in skipped})[:3])
        raise UserError(f"{source}: none of {len(exercises)} exercises can be used ({why}); give a complete clone")
    splits, names = assign(usable, rules, proposals, seed)
    rows = zip(usable, splits, names, strict=True)
    clips = [Clip(f"{folder.name}/{e.id}.mp4", split, name, e.muscles) for e, split, name in rows]
    write_tables(out, clips, skipped)
    return clips, skipped


def assign(
    exercises: Sequence[Exercise],
    rules: FamilyRules,
    proposals: Mapping[str, tuple[str, str]],
    seed: int,
    photos: Sequence[Sequence[str | int]] | None = None,
) -> tuple[list[str], list[str]]:
    """The split and the family of each exercise.

    Args:
        rules, photos: see group_families; of use without proposals.
        proposals: see read_families; may be empty.
        seed: of the draw.
    """
    names = [proposals[e.id][0] for e in exercises] if proposals else group_families(exercises, rules, photos)
    proposed = [proposals[e.id][1] for e in exercises] if proposals else None
    return draw_splits(names, np.stack([multi_hot(e.muscles) for e in exercises]), proposed, seed), names


def write_tables(out: Path, clips: Sequence[Clip], skipped: Sequence[tuple[str, str]]) -> None:
    """clips.csv, and skipped.csv with (id, reason) of each exercise left out."""
    with atomic_path(out / "skipped.csv") as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("id", "reason"), *skipped])
    write_clip_table(out / CLIP_TABLE, clips)


def _make_clips(
    exercises: Sequence[Exercise], folder: Path, frames: int, size: int, workers: int
) -> tuple[list[Exercise], list[tuple[str, str]]]:
    """The exercises that have a clip now, and (id, reason) of the others."""
    make = partial(make_clip, folder=folder, frames=frames, size=size)
    found = dict(run_each(make, exercises, workers, "clips", threads=True))
    reasons = {n: reason.reason if isinstance(reason, NoResult) else reason for n, reason in found.items()}
    skipped = [(e.id, reasons[n]) for n, e in enumerate(exercises) if reasons[n]]
    return [e for n, e in enumerate(exercises) if not reasons[n]], skipped
