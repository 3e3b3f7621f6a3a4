"""Skeletons as PYSKL and MMAction2 keep them: arrays by person and frame, in a pickle of many videos or an npz of one.

keypoint (M, T, V, 2) pixels, keypoint_score (M, T, V), img_shape (height, width), total_frames. A pickle holds one such
annotation, a list of them, or {"annotations": [...]}, each with its frame_dir. Slots of M are not persons: detectors
fill them frame by frame, so persons are linked anew. An npz written here has `track` (M, T) and `layout` beside; a
file may name its `layout` (a key of transm3e.joints.LAYOUTS), and one of 25 joints has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.sequence import Skeleton, clean_joints, layout_of
from transm3e.errors import UserError, shown
from transm3e.files import atomic_path
from transm3e.foreign.npz import Archive, ArchiveError
from transm3e.unpickle import read_pickle

MEMBER = "::"
NEEDED = (
    "needs keypoint (persons, frames, joints, 2), keypoint_score (persons, frames, joints), img_shape, total_frames"
)
# Of one video: 38 hours at 30 frames per second.
MAX_FRAMES = 1 << 22
# Pixels of a side.
MAX_SIDE = 1 << 20
# Coordinates in an npz are multiples of this, in pixels: far below any detector's error, and they compress well.
GRID = 1 / 16


def read_annotation(pickle_file: Path, member: str, path: str) -> Skeleton:
    """One video of a pickle -> Skeleton; the file is read once per process.

    Args:
        member: frame_dir of the video; "" where the file holds one only.
        path: for messages.

    Raises:
        DecodeError: not such a pickle, refused, no such video in it, or damaged arrays.
    """
    return from_annotation(_choose(read_annotations(pickle_file), member, path), path)


def read_annotations(pickle_file: Path) -> dict[str, Any]:
    """frame_dir -> annotation of a pickle, kept until another two are read.

    Raises:
        DecodeError: not such a pickle, or it holds more than data.
    """
    return _read_once(str(pickle_file), pickle_file.stat().st_mtime_ns)


def from_annotation(annotation: Any, path: str) -> Skeleton:
    """{"keypoint": ..., ...} -> Skeleton. Without keypoint_score every joint that is not at (0, 0) has score 1.

    Raises:
        DecodeError: a field is missing or does not fit the others, or the number of joints is no layout's.
    """
    if not isinstance(annotation, Mapping) or "keypoint" not in annotation:
        raise DecodeError(path, f"skeleton of another layout; {NEEDED}")
    xy = _array(annotation, "keypoint", path)
    score = _array(annotation, "keypoint_score", path) if "keypoint_score" in annotation else np.ones(xy.shape[:-1])
    if xy.ndim != 4 or xy.shape[-1] != 2 or score.shape != xy.shape[:3] or not xy.shape[1]:
        raise DecodeError(path, f"keypoint {xy.shape} and keypoint_score {score.shape}; {NEEDED}")
    frames = _number(annotation.get("total_frames", xy.shape[1]))
    if not isinstance(frames, int | float | np.number) or frames != xy.shape[1]:
        raise DecodeError(
            path, f"total_frames is {shown(frames, 40)} but the arrays hold {xy.shape[1]}; make the file anew"
        )
    # Without persons an array of no bytes can have any number of frames.
    if xy.shape[1] > MAX_FRAMES:
        raise DecodeError(path, f"{xy.shape[1]} frames; at most {MAX_FRAMES} are read")
    # Slots that hold nobody in any frame say nothing, but a file without people keeps its number of joints.
    layout = layout_of(xy.shape[2], path, _text(annotation.get("layout", ""), "layout", path))
    points = clean_joints(np.concatenate([xy, score[..., None]], axis=-1).swapaxes(0, 1), layout, path)
    height, width = _image_size(annotation, path)
    tracks = _array(annotation, "track", path).T.astype(np.int64) if "track" in annotation else None
    if tracks is not None and tracks.shape != points.shape[:2]:
        raise DecodeError(path, f"track {tracks.T.shape} does not fit keypoint {xy.shape}; make the file anew")
    return Skeleton(points, layout, height, width, tracks)


def read_npz(file: Path, path: str) -> Skeleton:
    """An npz of one video -> Skeleton.

    Raises:
        DecodeError: damaged, holds objects, or a field is missing.
    """
    return from_annotation(load_arrays(file, path), path)


def load_arrays(file: Path, path: str) -> dict[str, np.ndarray]:
    """All arrays of an npz; none is unpickled.

    Raises:
        DecodeError: damaged, larger than Archive admits, or holds objects.
        OSError: it cannot be read.
    """
    try:
        with Archive(file) as arrays:
            return arrays.all()
    except ArchiveError as error:
        raise DecodeError(path, str(error)) from error


def write_npz(file: Path, skeleton: Skeleton, size: tuple[int, int], origin: str) -> None:
    """Skeleton -> npz, compressed; coordinates are rounded to 1/16 pixel. The file appears whole or not at all.

    Args:
        size: (height, width) of the video, for a skeleton that does not know its own.
        origin: what it was made of; kept in the file.

    Raises:
        UserError: it cannot be written.
    """
    by_person = skeleton.points.swapaxes(0, 1)
    height, width = skeleton.height or size[0], skeleton.width or size[1]
    tracks = {} if skeleton.tracks is None else {"track": skeleton.tracks.T.astype(np.int32)}
    with atomic_path(file) as partial:
        np.savez_compressed(
            partial,
            keypoint=(np.round(by_person[..., :2] / GRID) * GRID).astype(np.float32),
            keypoint_score=by_person[..., 2].astype(np.float16),
            img_shape=np.array([height, width]),
            total_frames=np.array(skeleton.num_frames),
            origin=np.array(origin),
            layout=np.array(skeleton.layout),
            **tracks,
        )


@lru_cache(maxsize=2)
def _read_once(path: str, modified: int) -> dict[str, Any]:
    try:
        content = read_pickle(path)
    except UserError as error:
        raise DecodeError(path, str(error).removeprefix(f"{path}: ")) from error
    if isinstance(content, dict) and "annotations" in content:
        content = content["annotations"]
    listed = content if isinstance(content, list) else [content]
    if not all(isinstance(each, dict) and "keypoint" in each for each in listed):
        raise DecodeError(
            path, f"a pickle of another layout; each annotation {NEEDED}, and frame_dir if there are several"
        )
    named = {_text(each.get("frame_dir", str(number)), "frame_dir", path): each for number, each in enumerate(listed)}
    if len(named) < len(listed):
        raise DecodeError(path, "two of its annotations have the same frame_dir; delete one")
    return named


def _choose(found: dict[str, Any], member: str, path: str) -> Any:
    if member in found:
        return found[member]
    if not member and len(found) == 1:
        return next(iter(found.values()))
    near = get_close_matches(member, found, n=1, cutoff=0.4) or sorted(found)[:1]
    which = f"no {member!r} among its {len(found)} videos" if member else f"holds {len(found)} videos"
    raise DecodeError(path, f"{which}; write FILE{MEMBER}frame_dir, for example {MEMBER}{near[0] if near else 'NAME'}")


def _array(annotation: Mapping[str, Any], name: str, path: str) -> np.ndarray:
    # No list of lists: one that stands in it a thousand times would be copied as often.
    array = annotation[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DecodeError(path, f"{name} is not an array of numbers; {NEEDED}")
    return array


def _number(value: Any) -> Any:
    """A number, also one that is kept in an array."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _text(value: Any, name: str, path: str) -> str:
    plain = _number(value)
    if not isinstance(plain, str | int | np.integer):
        raise DecodeError(path, f"{name} is {shown(value)}; a text is needed")
    return str(plain)


def _image_size(annotation: Mapping[str, Any], path: str) -> tuple[int | None, int | None]:
    shape = annotation.get("img_shape", annotation.get("original_shape"))
    if shape is None:
        return None, None
    sides = shape.tolist() if isinstance(shape, np.ndarray) and shape.size == 2 else shape
    plain = isinstance(sides, list | tuple) and len(sides) == 2 and all(isinstance(s, int | float) for s in sides)
    if not plain or not all(1 <= side <= MAX_SIDE for side in sides):
        raise DecodeError(path, f"img_shape is {shown(shape)}; needs (height, width) in pixels, 1 to {MAX_SIDE}")
    return int(sides[0]), int(sides[1])
