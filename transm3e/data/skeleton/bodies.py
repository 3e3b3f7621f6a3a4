"""Skeletons of video files without a clip table: read from the folder of the videos, or detected and cached.

They are files of extract_skeleton.py's format, by the same detectors: a clip table with these gives the same scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np

from transm3e.data.backends import open_source
from transm3e.data.clip_names import target_names
from transm3e.data.decode import DecodeError
from transm3e.data.skeleton import blazepose, keypointrcnn  # noqa: F401 (they register themselves)
from transm3e.data.skeleton.clip import POSSIBLE
from transm3e.data.skeleton.detectors import DETECTORS, Maker
from transm3e.data.skeleton.pyskl import write_npz
from transm3e.data.skeleton.read import read_skeleton
from transm3e.data.skeleton.sequence import Skeleton, check_frames
from transm3e.data.skeleton.streams import MIN_SCORE
from transm3e.errors import UserError
from transm3e.files import CACHE, cache_folder, make_folder, open_regular
from transm3e.joints import LAYOUTS
from transm3e.progress import map_with_progress

# The clip table's column of skeletons, and the folder of their files beside the clips.
COLUMN, FOLDER = "skeleton", "skeletons"
NO_BODY = "nobody was found in any frame"
NO_TRUNK = "no frame shows somebody's shoulders or hips"
# So many of the shoulders and hips must be visible for a body: a face or a hand alone is not one, and detectors sometimes
# see persons in patterns, mostly beyond the frame's edge.
TRUNK = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "hip"))
LEAST_TRUNK = 2
BLOCK = 1 << 20
# Part of the cache key: to be increased when a detector's results change, so that all files are made again.
VERSION = 1


@dataclass(frozen=True)
class Body:
    """The result of person detection in a video file.

    Attributes:
        row: number of the video among all videos to score.
        path: the video, relative to their folder.
        skeleton: its skeleton file, absolute; "" if it has none.
        frames: number of frames decoded or in the skeleton file; None if nothing could be read.
        coverage: share of frames that show a body, see frames_with_body, in [0, 1]; None if nothing could be read.
        reason: why it cannot be scored, one line; "" if it can.
    """

    row: int
    path: str
    skeleton: str = ""
    frames: int | None = None
    coverage: float | None = None
    reason: str = ""


def check_detector(detector: str, layout: str, weights: str) -> None:
    """Check that a detector can provide a model's joints, before it is built.

    Raises:
        UserError: no such detector, it finds other joints, or its weights are missing or not needed.
    """
    if detector not in DETECTORS:
        raise UserError(f"DEMO.DETECTOR is {detector!r}, which does not exist; allowed: {', '.join(sorted(DETECTORS))}")
    finds, takes_weights = DETECTORS[detector].layout, "weights" in DETECTORS[detector].options
    if layout != finds and (finds, layout) not in POSSIBLE:
        others = [name for name in DETECTORS if (DETECTORS[name].layout, layout) in {*POSSIBLE, (layout, layout)}]
        remedy = f"set DEMO.DETECTOR {' or '.join(others)}" if others else "no detector of this project finds them"
        raise UserError(
            f"DEMO.DETECTOR {detector} finds {finds}, which cannot be converted to the model's SKELETON.LAYOUT {layout}; "
            f"{remedy}, or put skeleton files into the folder of the videos, {FOLDER}/NAME.npz"
        )
    if takes_weights != bool(weights):
        what = (
            "needs DEMO.DETECTOR_WEIGHTS, its file"
            if takes_weights
            else "has its own; leave DEMO.DETECTOR_WEIGHTS empty"
        )
        raise UserError(f"DEMO.DETECTOR {detector} {what}")


def files_beside(root: Path, paths: Sequence[str]) -> dict[str, Path]:
    """Videos with a file of extract_skeleton.py in the folder FOLDER, no older than the video -> that file.

    Raises:
        UserError: two videos would share a file.
    """
    if not (root / FOLDER).is_dir():
        return {}
    named = {path: root / FOLDER / name for path, name in target_names(paths, ".npz").items()}
    return {path: file for path, file in named.items() if file.is_file() and _age(file) >= _age(root / path)}


def find_bodies(
    root: Path,
    videos: Sequence[Body],
    beside: Mapping[str, Path],
    maker: Maker | None,
    workers: int,
    cache: Path | None = None,
) -> list[Body]:
    """The persons in videos, in order; with progress.

    Args:
        root: folder of the videos.
        videos: with row and path only.
        beside: result of files_beside.
        maker: detector for videos without such a file.
        workers: threads, which share the maker.
        cache: folder that keeps what is found; None = COLUMN of cache_folder().

    Raises:
        UserError: the cache cannot be written.
    """

    def find(body: Body) -> Body:
        path = body.path
        try:
            return _of_file(body, beside[path], root) if path in beside else _detected(body, root, maker, cache)
        except DecodeError as error:
            where = "" if error.path in (path, str(root / path)) else f"{error.path}: "
            return replace(body, reason=f"{where}{error.reason}")
        except (UnicodeError, MemoryError, cv2.error, av.FFmpegError) as error:
            return replace(body, reason=f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())}")

    return map_with_progress(find, videos, workers, "persons in videos")


def _detected(body: Body, root: Path, maker: Maker | None, cache: Path | None) -> Body:
    assert maker is not None, "a detector is built if any file is missing"
    file = (cache or cache_folder() / COLUMN) / f"{_key(maker, body.path)}.npz"
    if file.is_file():
        try:
            return _of_file(body, file)
        except DecodeError:  # damaged: it is made again
            pass
    make_folder(file.parent, CACHE)
    skeleton, size = maker.make(body.path)
    write_npz(file, skeleton, size, maker.origin)
    return _of_file(body, file)


def _of_file(body: Body, file: Path, root: Path | None = None) -> Body:
    """`body` with the content of a skeleton file; with `root`, the file is checked against the video's frame count."""
    skeleton = read_skeleton(file)
    if root is not None:
        with closing(open_source(root / body.path)) as video:
            check_frames(skeleton, video.num_frames, str(file))
    seen = frames_with_body(skeleton)
    found = replace(body, skeleton=str(file.absolute()), frames=len(seen), coverage=float(seen.mean()))
    reason = NO_TRUNK if skeleton.points.any() else NO_BODY
    return found if seen.any() else replace(found, reason=reason)


def frames_with_body(skeleton: Skeleton) -> np.ndarray:
    """(N frames,) bool: two of a person's shoulders and hips are inside the frame and reliable (see MIN_SCORE)."""
    trunk = skeleton.points[:, :, [LAYOUTS[skeleton.layout].names.index(name) for name in TRUNK]]
    low, high = -0.5, np.array([skeleton.width or np.inf, skeleton.height or np.inf]) - 0.5
    inside = ((trunk[..., :2] >= low) & (trunk[..., :2] <= high)).all(axis=-1)
    shown: np.ndarray = np.any((inside & (trunk[..., 2] >= MIN_SCORE)).sum(axis=-1) >= LEAST_TRUNK, axis=-1)
    return shown


def _key(maker: Maker, path: str) -> str:
    """Cache key, from the detector's origin and the content of the video and of the detector's files."""
    digests = [_digest(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in maker.inputs(path)]
    return hashlib.sha256("\n".join([str(VERSION), maker.origin, *digests]).encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def _digest(path: str, _size: int, _modified: int) -> str:
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise DecodeError(path, f"cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _age(file: Path) -> float:
    return file.stat().st_mtime
