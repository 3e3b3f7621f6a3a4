"""The landmarks of Free Exercise DB's photos: measured with BlazePose, kept in one small file with the exercises' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transm3e.data.blazepose.pose import BlazePose
from transm3e.errors import UserError
from transm3e.files import atomic_path
from transm3e.foreign.npz import Archive, ArchiveError
from transm3e.joints import LAYOUTS
from transm3e.prepare.free_exercise.families import digests
from transm3e.prepare.free_exercise.source import Exercise, read_photo
from transm3e.progress import map_with_progress

LAYOUT = "blazepose33"
JOINTS = len(LAYOUTS[LAYOUT].names)
ORIGIN = (
    "landmarks of the photos of github.com/yuhonas/free-exercise-db, measured by transm3e with BlazePose (the two networks "
    "of mediapipe 0.10.21, Apache-2.0); ids, names and muscles: that repository's table, Unlicense"
)
MUSCLES = ("primary", "secondary")
# Array -> its kind, and its shape after the number of exercises.
FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "id": ("U", ()),
    "name": ("U", ()),
    "primary": ("U", ()),
    "secondary": ("U", ()),
    "photo": ("i", (2,)),
    "size": ("i", (2, 2)),
    "xy": ("f", (2, JOINTS, 2)),
    "score": ("f", (2, JOINTS)),
    "world": ("f", (2, JOINTS, 3)),
}


@dataclass(frozen=True)
class PhotoPoses:
    """Landmarks of the start and the end photo of N exercises, in the order of blazepose33.

    Attributes:
        id, name: (N,) of the exercises.
        primary, secondary: (N,) the source's names of their muscles, joined by ";".
        photo: (N, 2) int, equal for photos that are the same, byte for byte.
        size: (N, 2, 2) int (height, width) of the photos in pixels; 0 where one cannot be read.
        xy: (N, 2, 33, 2) float16, shares of the frame, 0 at the left or upper edge and 1 at the other.
        score: (N, 2, 33) float16 visibility x presence in [0, 1]; all 0 where nobody was found.
        world: (N, 2, 33, 3) float16 metres, see transm3e.data.blazepose.pose.Pose.
    """

    id: np.ndarray
    name: np.ndarray
    primary: np.ndarray
    secondary: np.ndarray
    photo: np.ndarray
    size: np.ndarray
    xy: np.ndarray
    score: np.ndarray
    world: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(N, 2) bool: whether somebody was found in the photo."""
        found: np.ndarray = np.any(self.score, axis=-1)
        return found


def measure(exercises: Sequence[Exercise], workers: int) -> PhotoPoses:
    """The landmarks of every photo; those that cannot be read count as empty.

    Raises:
        UserError: LiteRT or the networks are not there.
    """
    detector = BlazePose()
    rows = map_with_progress(lambda e: [_measure(detector, photo) for photo in e.photos], exercises, workers, "poses")
    numbers: dict[str, int] = {}
    photos = [[numbers.setdefault(each, len(numbers)) for each in _marks(exercise)] for exercise in exercises]
    size, xy, score, world = (np.array([[each[part] for each in row] for row in rows]) for part in range(4))
    texts = {name: np.array([getattr(e, name) for e in exercises], np.str_) for name in ("id", "name")}
    muscles = {name: np.array([";".join(getattr(e, name)) for e in exercises], np.str_) for name in MUSCLES}
    measured = {"xy": xy.astype(np.float16), "score": score.astype(np.float16), "world": world.astype(np.float16)}
    return PhotoPoses(**texts, **muscles, photo=np.array(photos, np.int16), size=size.astype(np.int16), **measured)


def write_poses(file: Path, poses: PhotoPoses) -> None:
    """As npz, compressed; it appears whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_path(file) as partial:
        np.savez_compressed(
            partial, origin=np.array(ORIGIN), allow_pickle=False, **{name: getattr(poses, name) for name in FIELDS}
        )


def read_poses(file: Path) -> PhotoPoses:
    """What write_poses wrote.

    Raises:
        UserError: the file is missing, damaged or another one.
    """
    what = "a file of prepare_free_exercise.py --source CLONE --poses, or datasets/annotations/free_exercise_poses.npz"
    try:
        with Archive(file) as arrays:
            found = {name: arrays[name] for name in FIELDS if name in arrays}
    except (OSError, ArchiveError) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', error)}); give {what}") from error
    count = len(found["id"]) if found.get("id", np.array(0)).ndim == 1 else 0
    for name, (kind, shape) in FIELDS.items():
        values = found.get(name)
        if values is None or values.dtype.kind != kind or values.shape != (count, *shape) or not count:
            raise UserError(f"{file}: {name} is missing or of another kind; give {what}")
        if kind == "f" and not np.isfinite(values).all():
            raise UserError(f"{file}: {name} has NaN or infinite numbers; give {what}")
    return PhotoPoses(**found)


def _measure(detector: BlazePose, photo: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(height, width), xy, score and world of one photo."""
    nobody = np.zeros((JOINTS, 3))
    try:
        frame = read_photo(photo)
    except UserError:
        return np.zeros(2), nobody[:, :2], nobody[:, 2], nobody
    size = np.array(frame.shape[:2])
    pose = detector.detect(frame)
    if pose is None:
        return size, nobody[:, :2], nobody[:, 2], nobody
    return size, (pose.joints[:, :2] + 0.5) / size[::-1], pose.joints[:, 2], pose.world


def _marks(exercise: Exercise) -> list[str]:
    """What tells its photos from others; a missing one is like no other."""
    if all(photo.is_file() for photo in exercise.photos):
        return digests(exercise)
    return [str(photo) for photo in exercise.photos]
