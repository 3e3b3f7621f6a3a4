"""Skeletons in the format of PYSKL and MMAction2: arrays by person and frame, in a pickle of many videos or an npz of one.

keypoint (M, T, V, 2) pixels, keypoint_score (M, T, V), img_shape (height, width), total_frames. A pickle holds one such
annotation, a list of them, or {"annotations": [...]}, each with its frame_dir. A slot of M is not a person: detectors fill
slots frame by frame, so persons are linked again. An npz written here also has `track` (M, T), `layout`, and, if the
detector gives it, `world` (M, T, V, 3) in metres. A file may state its `layout` (a key of transm3e.joints.LAYOUTS); one of
25 joints must. The compact layout of Kinetics has keypoint (D, V, 3) of x, y, score with frame_inds (D,) instead. An npz
or npy may also hold MediaPipe's landmarks. Files with only 3D joints are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.assemble import Person, assemble
from transm3e.data.skeleton.sequence import LANDMARKS, Skeleton, layout_of
from transm3e.data.skeleton.units import SHARES
from transm3e.errors import UserError, shown
from transm3e.files import MEMBER, atomic_path
from transm3e.foreign.npz import Archive, ArchiveError, read_npy
from transm3e.unpickle import read_pickle

NEEDED = (
    "needs keypoint (persons, frames, joints, 2), keypoint_score (persons, frames, joints), img_shape, total_frames"
)
# Name of an array in files without 2D joints -> what such a file is, and what to do.
NTU_2D = "NTU's own .skeleton files hold the joints in the colour video's pixels and are read"
OTHERS = {
    "x_train": f"a data set of 3D joints, as CTR-GCN's NTU60_CS.npz; only 2D joints are read: {NTU_2D}",
    "raw_file": "a table of contents of PYSKL's Kinetics without joints; add the keypoint of each frame_dir, from the pickle "
    "that raw_file names, to its frame_inds",
}
# Index in MediaPipe's x, y, z, visibility, presence.
VISIBILITY = 3
# Of one video: 38 hours at 30 frames per second.
MAX_FRAMES = 1 << 22
# Pixels of a side.
MAX_SIDE = 1 << 20
# Coordinates in an npz are rounded to multiples of this, in pixels: far below detectors' errors, and they compress well.
GRID = 1 / 16


def read_annotation(pickle_file: Path, member: str, path: str) -> Skeleton:
    """One video of a pickle -> Skeleton; the file is read once per process.

    Args:
        member: frame_dir of the video; "" if the file holds only one.
        path: for messages.

    Raises:
        DecodeError: not such a pickle, refused, the video is not in it, or damaged arrays.
    """
    return from_annotation(_choose(read_annotations(pickle_file), member, path), path)


def read_annotations(pickle_file: Path) -> dict[str, Any]:
    """frame_dir -> annotation of a pickle; the last two pickles are cached.

    Raises:
        DecodeError: not such a pickle, or it holds more than data.
    """
    return _read_once(str(pickle_file), pickle_file.stat().st_mtime_ns)


def from_annotation(annotation: Any, path: str) -> Skeleton:
    """{"keypoint": ..., ...} -> Skeleton. Without keypoint_score every joint that is not at (0, 0) has score 1.

    Raises:
        DecodeError: a field is missing or does not match the others, or no layout has this number of joints.
    """
    if not isinstance(annotation, Mapping) or "keypoint" not in annotation:
        raise DecodeError(path, f"skeleton of another layout; {NEEDED}")
    if "frame_inds" in annotation and "keypoint_score" not in annotation:
        return _from_compact(annotation, path)
    xy = _array(annotation, "keypoint", path)
    score = _array(annotation, "keypoint_score", path) if "keypoint_score" in annotation else np.ones(xy.shape[:-1])
    if xy.ndim == 4 and xy.shape[-1] == 3 and "keypoint_score" not in annotation:
        raise DecodeError(
            path,
            f"keypoint {xy.shape} without keypoint_score: 3D joints are not read ({NTU_2D}); where the third is a score "
            "write keypoint[..., :2], and keypoint[..., 2] as keypoint_score",
        )
    if xy.ndim != 4 or xy.shape[-1] != 2 or score.shape != xy.shape[:3] or not xy.shape[1]:
        raise DecodeError(path, f"keypoint {xy.shape} and keypoint_score {score.shape}; {NEEDED}")
    if _total_frames(annotation, xy.shape[1], path) != xy.shape[1]:
        raise DecodeError(
            path,
            f"total_frames is {shown(annotation['total_frames'], 40)} but the arrays hold {xy.shape[1]}; make the file again",
        )
    # Without persons, an empty array can claim any number of frames.
    if xy.shape[1] > MAX_FRAMES:
        raise DecodeError(path, f"{xy.shape[1]} frames; at most {MAX_FRAMES} are read")
    # A file without people still has a number of joints.
    layout = layout_of(xy.shape[2], path, _said_layout(annotation, path))
    points = np.concatenate([xy, score[..., None]], axis=-1).swapaxes(0, 1)
    height, width = _image_size(annotation, path)
    tracks = _array(annotation, "track", path).T.astype(np.int64) if "track" in annotation else None
    if tracks is not None and tracks.shape != points.shape[:2]:
        raise DecodeError(path, f"track {tracks.T.shape} does not match keypoint {xy.shape}; make the file again")
    world = _array(annotation, "world", path).swapaxes(0, 1) if "world" in annotation else None
    if world is not None and world.shape != points.shape:
        raise DecodeError(
            path, f"world {annotation['world'].shape} does not match keypoint {xy.shape}; make the file again"
        )
    return Skeleton(points, layout, height, width, tracks, world=world)


def _from_compact(annotation: Mapping[str, Any], path: str) -> Skeleton:
    """The compact layout: D skeletons in sequence, with their frame numbers in frame_inds."""
    joints, frames = _array(annotation, "keypoint", path), _array(annotation, "frame_inds", path)
    total = _total_frames(annotation, 0, path)
    if joints.ndim != 3 or joints.shape[-1] != 3 or frames.shape != joints.shape[:1]:
        raise DecodeError(path, f"keypoint {joints.shape} and frame_inds {frames.shape}; needs (D, joints, 3) and (D,)")
    if frames.dtype.kind not in "iu" or not ((frames >= 0) & (frames < total)).all():
        raise DecodeError(path, f"frame_inds are not frames 0 to {total - 1}, of total_frames; make the file again")
    persons = [Person(int(frame), each) for frame, each in zip(frames, joints, strict=True)]
    height, width = _image_size(annotation, path)
    return assemble(persons, total, path, _said_layout(annotation, path), height=height, width=width)


def read_npz(file: Path, path: str) -> Skeleton:
    """An npz of one video -> Skeleton: the arrays of an annotation, or one array of MediaPipe's landmarks.

    Raises:
        DecodeError: damaged, holds objects, a field is missing, or it is a dataset of 3D joints.
    """
    with _translated_errors(path), Archive(file) as arrays:
        _refuse_others(arrays.names, path)
        found = arrays.all()
    landmarks = [each for each in found.values() if _is_landmarks(each)]
    if "keypoint" not in found and len(landmarks) == 1:
        return from_landmarks(landmarks[0])
    return from_annotation(found, path)


def read_landmarks(file: Path, path: str) -> Skeleton:
    """An npy of MediaPipe's landmarks -> Skeleton.

    Raises:
        DecodeError: damaged, holds objects, or another array.
    """
    with _translated_errors(path):
        array = read_npy(file)
    if not _is_landmarks(array):
        raise DecodeError(
            path,
            f"an npy of {array.dtype} {array.shape}; allowed: MediaPipe's landmarks, (frames, 33, 2 to 5) or (frames, 99 or "
            "132); write others as npz with keypoint and keypoint_score",
        )
    return from_landmarks(array)


def from_landmarks(array: np.ndarray) -> Skeleton:
    """(T, 33, 2 to 5) or (T, 99 or 132) x, y, z, visibility, presence of one person, in shares of the frame -> Skeleton.

    Without visibility every joint has score 1: the third number is the depth. Zeros or NaN mean nobody.
    """
    marks = np.array(array, np.float64).reshape(len(array), LANDMARKS, -1)
    marks[np.isnan(marks).any(axis=-1)] = 0
    score = marks[..., VISIBILITY] if marks.shape[-1] > VISIBILITY else (marks[..., :2] != 0).any(axis=-1)
    points = np.concatenate([marks[..., :2], score[..., None]], axis=-1)
    return Skeleton(points[:, None], layout_of(LANDMARKS, ""), units=SHARES)


def _is_landmarks(array: np.ndarray) -> bool:
    inner = array.shape[1:]
    fits = inner in [(LANDMARKS * 3,), (LANDMARKS * 4,)] or (
        len(inner) == 2 and inner[0] == LANDMARKS and 2 <= inner[1] <= 5
    )
    return fits and len(array) > 0 and array.dtype.kind in "fiu"


def _refuse_others(names: Iterable[str], path: str) -> None:
    for name in names:
        if name in OTHERS:
            raise DecodeError(path, OTHERS[name])


@contextmanager
def _translated_errors(path: str) -> Iterator[None]:
    try:
        yield
    except ArchiveError as error:
        raise DecodeError(path, str(error)) from error


def load_arrays(file: Path, path: str) -> dict[str, np.ndarray]:
    """All arrays of an npz; none is unpickled.

    Raises:
        DecodeError: damaged, larger than Archive allows, or holds objects.
        OSError: it cannot be read.
    """
    with _translated_errors(path), Archive(file) as arrays:
        return arrays.all()


def write_npz(file: Path, skeleton: Skeleton, size: tuple[int, int], origin: str) -> None:
    """Write a Skeleton as compressed npz, atomically; coordinates are rounded to 1/16 pixel.

    Args:
        size: (height, width) of the video, for a skeleton without a frame size.
        origin: description of how it was made; stored in the file.

    Raises:
        UserError: it cannot be written.
    """
    by_person = skeleton.points.swapaxes(0, 1)
    height, width = skeleton.height or size[0], skeleton.width or size[1]
    more = {} if skeleton.tracks is None else {"track": skeleton.tracks.T.astype(np.int32)}
    if skeleton.world is not None:
        more["world"] = skeleton.world.swapaxes(0, 1).astype(np.float16)
    with atomic_path(file) as partial:
        np.savez_compressed(
            partial,
            keypoint=(np.round(by_person[..., :2] / GRID) * GRID).astype(np.float32),
            keypoint_score=by_person[..., 2].astype(np.float16),
            img_shape=np.array([height, width]),
            total_frames=np.array(skeleton.num_frames),
            origin=np.array(origin),
            layout=np.array(skeleton.layout),
            **more,
        )


@lru_cache(maxsize=2)
def _read_once(path: str, modified: int) -> dict[str, Any]:
    try:
        content = read_pickle(path)
    except UserError as error:
        raise DecodeError(path, str(error).removeprefix(f"{path}: ")) from error
    if isinstance(content, dict) and "annotations" in content:
        content = content["annotations"]
    if isinstance(content, dict) and "keypoint" not in content and _are_kpfile(content):
        raise DecodeError(
            path, "a kpfile of PYSKL's Kinetics, joints without their frames; add each keypoint to its frame_inds"
        )
    listed = content if isinstance(content, list) else [content]
    _refuse_others((key for each in listed if isinstance(each, dict) and "keypoint" not in each for key in each), path)
    if not all(isinstance(each, dict) and "keypoint" in each for each in listed):
        raise DecodeError(
            path, f"a pickle of another layout; each annotation {NEEDED}, and frame_dir if there are several"
        )
    named = {_text(each.get("frame_dir", str(number)), "frame_dir", path): each for number, each in enumerate(listed)}
    if len(named) < len(listed):
        raise DecodeError(path, "two of its annotations have the same frame_dir; delete one")
    return named


def _are_kpfile(content: dict[Any, Any]) -> bool:
    return bool(content) and all(isinstance(each, dict) and set(each) == {"keypoint"} for each in content.values())


def _total_frames(annotation: Mapping[str, Any], otherwise: int, path: str) -> int:
    frames = _number(annotation.get("total_frames", otherwise))
    if (
        not isinstance(frames, int | float | np.integer | np.floating)
        or not 0 <= frames <= MAX_FRAMES
        or frames != int(frames)
    ):
        raise DecodeError(path, f"total_frames is {shown(frames, 40)}; needs a number of frames")
    return int(frames)


def _choose(found: dict[str, Any], member: str, path: str) -> Any:
    if member in found:
        return found[member]
    if not member and len(found) == 1:
        return next(iter(found.values()))
    near = get_close_matches(member, found, n=1, cutoff=0.4) or sorted(found)[:1]
    which = f"no {member!r} among its {len(found)} videos" if member else f"holds {len(found)} videos"
    raise DecodeError(path, f"{which}; write FILE{MEMBER}frame_dir, for example {MEMBER}{near[0] if near else 'NAME'}")


def _array(annotation: Mapping[str, Any], name: str, path: str) -> np.ndarray:
    # No nested lists: a list that occurs in itself a thousand times would be copied as often.
    array = annotation[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DecodeError(path, f"{name} is not an array of numbers; {NEEDED}")
    return array


def _number(value: Any) -> Any:
    """A number, also from a 0-dimensional array."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _text(value: Any, name: str, path: str) -> str:
    plain = _number(value)
    if not isinstance(plain, str | int | np.integer):
        raise DecodeError(path, f"{name} is {shown(value)}; a text is needed")
    return str(plain)


def _said_layout(annotation: Mapping[str, Any], path: str) -> str:
    return _text(annotation.get("layout", ""), "layout", path)


def _image_size(annotation: Mapping[str, Any], path: str) -> tuple[int | None, int | None]:
    shape = annotation.get("img_shape", annotation.get("original_shape"))
    if shape is None:
        return None, None
    sides = shape.tolist() if isinstance(shape, np.ndarray) and shape.size == 2 else shape
    plain = isinstance(sides, list | tuple) and len(sides) == 2 and all(isinstance(s, int | float) for s in sides)
    if not plain or not all(1 <= side <= MAX_SIDE for side in sides):
        raise DecodeError(path, f"img_shape is {shown(shape)}; needs (height, width) in pixels, 1 to {MAX_SIDE}")
    return int(sides[0]), int(sides[1])
