"""Build a Skeleton from persons that a detector lists frame by frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.sequence import Skeleton, layout_of
from transm3e.joints import LAYOUTS

SUFFIX = re.compile(r"\.[A-Za-z]\w*$")
# Frames x persons of about five hours of video; beyond it the numbers are ids of images, not frame numbers.
MAX_SLOTS = 2**20
MAX_DIGITS = 18  # of an int64


class Person(NamedTuple):
    """One person in one frame.

    Attributes:
        frame: its number, from 0.
        joints: (K, 3) x, y, score as in the file.
        track: the person's id in all frames, a number or a list of one; None: the file has none.
    """

    frame: int
    joints: np.ndarray
    track: Any = None


def assemble(persons: Sequence[Person], num_frames: int, path: str, layout: str = "", **more: Any) -> Skeleton:
    """One Skeleton, with coordinates and scores still as in the file: see transm3e.data.skeleton.units.clean.

    Args:
        num_frames: minimum number of frames.
        layout: of the joints, if the file states it.
        more: further fields of Skeleton.

    Raises:
        DecodeError: no person at all, an unknown or changing number of joints, frame numbers of more than one video, or
            tracks that are not numbers.
    """
    if not persons:
        raise DecodeError(path, "holds no person in any frame; leave the clip's skeleton empty or run another detector")
    counts = {len(person.joints) for person in persons}
    if len(counts) > 1:
        raise DecodeError(path, f"persons with {' and '.join(map(str, sorted(counts)))} joints in one file")
    frames = np.array([person.frame for person in persons], np.int64)
    slots = _slots(frames)
    num_frames, num_slots = max(num_frames, int(frames.max()) + 1), int(slots.max()) + 1
    if num_frames * num_slots > MAX_SLOTS:
        raise DecodeError(path, f"frame numbers up to {num_frames - 1}: these are not the frames of one video")
    layout = layout_of(counts.pop(), path, layout)
    with np.errstate(over="ignore"):  # infinite values are refused by clean()
        joints = np.stack([person.joints[: len(LAYOUTS[layout].names)] for person in persons]).astype(np.float32)
    points = np.zeros((num_frames, num_slots, *joints.shape[1:]), np.float32)
    points[frames, slots] = joints
    tracks = _tracks([person.track for person in persons], path)
    if tracks is not None:
        spread = np.full(points.shape[:2], -1, np.int64)
        spread[frames, slots] = tracks
        tracks = spread
    return Skeleton(points, layout, tracks=tracks, **more)


def frame_numbers(images: Sequence[Any], path: str) -> np.ndarray:
    """Names or numbers of a video's images -> (D,) int64 frame numbers from 0.

    The number is the last digits of a name, or the number itself. The smallest decides whether they count from 0 or 1: if
    it is neither, nobody was detected at first, and then unpadded names ("7.jpg", as AlphaPose names a video's frames)
    count from 0, all others ("000007.png", 7) from 1. Where that guess is wrong, joints are one frame off.

    Raises:
        DecodeError: a name has no number, or the names belong to several videos.
    """
    if not images:
        return np.zeros(0, np.int64)
    heads, digits = zip(*(_split_number(image, path) for image in images), strict=True)
    if len(set(heads)) > 1:
        first, second = sorted(set(heads))[:2]
        raise DecodeError(path, f"frames of several videos ({first}..., {second}...); give each video its own file")
    numbers = np.array(digits, np.int64)
    padded = any(len(text) > 1 and text.startswith("0") for text in digits)
    # AlphaPose names the frames it takes from a video "0.jpg", "1.jpg", ...
    from_video = isinstance(images[0], str) and not padded and heads[0].rpartition("/")[2] == ""
    smallest = int(numbers.min())
    return numbers - (1 if smallest == 1 or (smallest > 1 and not from_video) else 0)


def _split_number(image: Any, path: str) -> tuple[str, str]:
    """An image's name -> the text before its last digits, and the digits."""
    if isinstance(image, int) and image >= 0:
        name = str(int(image))
    else:
        name = SUFFIX.sub("", image) if isinstance(image, str) else ""
    runs = re.findall(r"[0-9]+", name)
    if not runs or len(runs[-1]) > MAX_DIGITS:
        raise DecodeError(path, f"image_id {str(image)[:80]!r} has no frame number; needs 12, 12.jpg or frame_0012.png")
    return name[: name.rindex(runs[-1])], runs[-1]


def _slots(frames: np.ndarray) -> np.ndarray:
    """(D,) int64: index of each person among those of its frame."""
    order = np.argsort(frames, kind="stable")
    starts = np.searchsorted(frames[order], frames[order])
    slots = np.empty(len(frames), np.int64)
    slots[order] = np.arange(len(frames)) - starts
    return slots


def _tracks(tracks: list[Any], path: str) -> np.ndarray | None:
    """Track of each person -> (D,) int64, or None if any is missing."""
    firsts = [track[0] if isinstance(track, list) and track else track for track in tracks]
    if any(track is None or track == [] for track in firsts):
        return None
    if not all(isinstance(track, int | float) and track % 1 == 0 and abs(track) < 2**31 for track in firsts):
        raise DecodeError(path, "an idx (track number) is not an integer; run the tracker again")
    return np.array(firsts, np.int64)
