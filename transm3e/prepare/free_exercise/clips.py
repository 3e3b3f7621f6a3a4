"""The clip of an exercise, made of its two photos.

It holds the start photo for a third of the frames, cross-dissolves to the end photo over the next third
and holds that for the last third.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from transm3e.data.encode import write_video
from transm3e.errors import UserError
from transm3e.prepare.free_exercise.source import Exercise, read_photo

FPS = 10


def make_clip(exercise: Exercise, folder: Path, frames: int, size: int) -> str:
    """Write folder/<id>.mp4 unless it is newer than its photos; returns why the exercise has no clip, or "".

    Raises:
        UserError: the video cannot be written.
    """
    missing = [photo.name for photo in exercise.photos if not photo.is_file()]
    if missing or not exercise.muscles:
        return f"photo {' and '.join(missing)} missing" if missing else "no muscles named"
    file = folder / f"{exercise.id}.mp4"
    if file.is_file() and file.stat().st_mtime >= max(photo.stat().st_mtime for photo in exercise.photos):
        return ""
    try:
        start, end = (read_photo(photo) for photo in exercise.photos)
    except UserError as error:
        return str(error)
    write_video(file, dissolve(*fit_pair(start, end, size), frames), FPS)
    return ""


def fit_pair(start: np.ndarray, end: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale both photos to a short side of `size` (even) and centre-crop both to their common size.

    Photos of equal size thus get the same scale and crop; both sides of the frame are even.
    """
    first, second = _short_side(start, size), _short_side(end, size)
    height, width = (min(sides) // 2 * 2 for sides in zip(first.shape[:2], second.shape[:2], strict=True))
    return _centre_crop(first, height, width), _centre_crop(second, height, width)


def _short_side(photo: np.ndarray, size: int) -> np.ndarray:
    scale = size / min(photo.shape[:2])
    height, width = (round(side * scale) for side in photo.shape[:2])
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _centre_crop(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    return photo[top : top + height, left : left + width]


def dissolve(start: np.ndarray, end: np.ndarray, frames: int) -> Iterator[np.ndarray]:
    """`frames` images: a third shows `start`, a third dissolves linearly, a third shows `end`."""
    for weight in np.clip(3 * np.linspace(0, 1, frames) - 1, 0, 1):
        yield cv2.addWeighted(start, 1 - weight, end, weight, 0)
