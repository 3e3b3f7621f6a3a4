"""Free Exercise DB as skeletons: from the pose of the start photo to that of the end photo, and back."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.data.annotations import Clip
from transm3e.errors import UserError
from transm3e.files import MEMBER, atomic_path, make_folder
from transm3e.prepare.free_exercise.families import read_families, read_family_rules
from transm3e.prepare.free_exercise.landmarks import LAYOUT, PhotoPoses, measure, read_poses, write_poses
from transm3e.prepare.free_exercise.prepare import assign, write_tables
from transm3e.prepare.free_exercise.source import MUSCLE_KEYS, Exercise, read_exercises, read_muscle_map
from transm3e.prepare.free_exercise.splits import draw_folds

SKELETONS = "poses.pkl"
MEASURED = "free_exercise_poses.npz"
# Pixels of the frames' short side, as the clips'.
SHORT_SIDE = 256
FOLDS = 5


def prepare_poses(
    out: str | Path,
    shipped: Path,
    muscle_map: str | Path,
    family_rules: str | Path,
    source: Path | None = None,
    frames: int = 32,
    families: str | Path | None = None,
    muscles: str = "all",
    seed: int = 0,
    workers: int = 1,
    fold: int | None = None,
    whole: bool = False,
) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Make poses.pkl, clips.csv and skipped.csv in `out`: a benchmark of skeletons, without videos.

    A clip's path is the exercise's folder in the source, which need not exist; its skeleton is poses.pkl::<id>.
    Splits are those of the videos (prepare), as long as every photo can be read.

    Args:
        shipped: file of landmarks, see PhotoPoses; of use without `source`.
        source: as of prepare; its landmarks are measured once, and kept in out/free_exercise_poses.npz.
        frames: T, frames per clip, at least 2.
        muscle_map, family_rules, families, muscles, seed, workers: as of prepare.
        fold: keep the clips of train alone, with this fifth of their families as new_val; None: all splits.
        whole: put all clips into train, also those of other splits; with `fold`, the folds are of all clips.

    Returns:
        The clips of the table, and (id, reason) of each exercise left out.

    Raises:
        UserError: an argument or an input file is wrong, or the photos are to be measured and BlazePose is not there.
    """
    if frames < 2 or seed < 0 or workers < 1 or muscles not in MUSCLE_KEYS or fold not in (None, *range(FOLDS)):
        raise UserError(
            f"frames {frames}, muscles {muscles!r}, seed {seed}, workers {workers}, fold {fold}: needs frames >= 2, muscles "
            f"one of {', '.join(MUSCLE_KEYS)}, seed >= 0, workers >= 1 and fold 0 to {FOLDS - 1}"
        )
    regions = read_muscle_map(muscle_map)
    out = Path(out)
    make_folder(out, "--out")
    poses = _measured(source, regions, out / MEASURED, workers) if source else read_poses(shipped)
    exercises = _exercises(poses, regions, muscles)
    families = families or (next(source.glob("families.csv"), None) if source else None)
    proposals = read_families(families, exercises) if families else {}
    usable = [n for n, e in enumerate(exercises) if e.muscles and poses.size[n].all()]
    splits, names = assign(
        [exercises[n] for n in usable], read_family_rules(family_rules), proposals, seed, poses.photo[usable].tolist()
    )
    clips, annotations = [], []
    for n, split, name in zip(usable, splits, names, strict=True):
        if poses.found[n].all():
            e = exercises[n]
            clips.append(Clip(f"exercises/{e.id}", split, name, e.muscles, f"{SKELETONS}{MEMBER}{e.id}"))
            annotations.append(annotation(poses, n, frames))
    if whole:
        clips = [replace(clip, split="train") for clip in clips]
    if fold is not None:
        clips = _of_fold(clips, fold, seed)
    with atomic_path(out / SKELETONS) as partial, partial.open("wb") as file:
        pickle.dump(annotations, file)
    skipped = [(e.id, reason) for n, e in enumerate(exercises) if (reason := _fault(poses, n, e))]
    write_tables(out, clips, skipped)
    return clips, skipped


def _of_fold(clips: list[Clip], fold: int, seed: int) -> list[Clip]:
    """The clips of train, those of this fold as new_val."""
    clips = [clip for clip in clips if clip.split == "train"]
    folds = draw_folds([clip.activity for clip in clips], FOLDS, seed)
    return [
        replace(clip, split="new_val") if number == fold else clip for clip, number in zip(clips, folds, strict=True)
    ]


def annotation(poses: PhotoPoses, number: int, frames: int) -> dict[str, Any]:
    """The skeleton of an exercise as PYSKL keeps it, with `layout`, `track` (one person) and `world` (1, T, 33, 3) in
    metres.

    Both frames are scaled to one short side and cropped, centred, to what they have in common, as the clips' are.
    """
    size = poses.size[number].astype(float)
    scaled = np.round(size * (SHORT_SIDE / size.min(axis=1, keepdims=True)))
    frame = scaled.min(axis=0) // 2 * 2
    corners = (scaled - frame) // 2
    xy = poses.xy[number].astype(float) * scaled[:, None, ::-1] - corners[:, None, ::-1] - 0.5
    weights = forth_and_back(frames)
    mixed = [_mix(values.astype(float), weights) for values in (xy, poses.score[number], poses.world[number])]
    return {
        "frame_dir": str(poses.id[number]),
        "keypoint": mixed[0][None].astype(np.float32),
        "keypoint_score": mixed[1][None].astype(np.float16),
        "world": mixed[2][None].astype(np.float16),
        "track": np.zeros((1, frames), np.int16),
        "img_shape": (int(frame[0]), int(frame[1])),
        "total_frames": frames,
        "layout": LAYOUT,
    }


def forth_and_back(frames: int) -> np.ndarray:
    """(T,) shares of the end in each frame: from 0 to 1 and back to 0, slow at both, as half a cosine's wave each."""
    return (1 - np.cos(2 * np.pi * np.arange(frames) / (frames - 1))) / 2


def _mix(pair: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(2, ...) start and end -> (T, ...)."""
    return pair[0] + np.multiply.outer(weights, pair[1] - pair[0])


def _measured(source: Path, regions: Mapping[str, tuple[int, ...]], file: Path, workers: int) -> PhotoPoses:
    """The landmarks of a source's photos; measured again only if a photo is newer or the exercises have changed."""
    exercises = read_exercises(source, regions, "all")
    if file.is_file() and file.stat().st_mtime >= max(_times(exercises), default=0):
        poses = read_poses(file)
        if poses.id.tolist() == [e.id for e in exercises]:
            return poses
    poses = measure(exercises, workers)
    write_poses(file, poses)
    return poses


def _times(exercises: list[Exercise]) -> Iterator[float]:
    yield from (photo.stat().st_mtime for e in exercises for photo in e.photos if photo.is_file())


def _exercises(poses: PhotoPoses, regions: Mapping[str, tuple[int, ...]], muscles: str) -> list[Exercise]:
    fields = [getattr(poses, "primary" if key == "primaryMuscles" else "secondary") for key in MUSCLE_KEYS[muscles]]
    exercises = []
    for n, (identity, name) in enumerate(zip(poses.id.tolist(), poses.name.tolist(), strict=True)):
        names = [word for field in fields for word in str(field[n]).split(";") if word]
        unknown = [word for word in names if word not in regions]
        if unknown:
            raise UserError(f"exercise {identity}: muscle {unknown[0]!r} is not in the muscle map; add it there")
        numbers = sorted({region for word in names for region in regions[word]})
        exercises.append(Exercise(identity, name, tuple(numbers), (Path("0.jpg"), Path("1.jpg"))))
    return exercises


def _fault(poses: PhotoPoses, number: int, exercise: Exercise) -> str:
    """Why an exercise is left out, or ""."""
    if not exercise.muscles:
        return "no muscles named"
    if not poses.size[number].all():
        return "a photo is missing or cannot be read"
    missing = [f"{photo}.jpg" for photo, found in enumerate(poses.found[number]) if not found]
    return f"nobody found in photo {' and '.join(missing)}" if missing else ""
