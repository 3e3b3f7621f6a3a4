"""Result files of AlphaPose and OpenPose: JSON, pixels of the video's own frames, no frame count.

Layouts of AlphaPose: one list over all frames and persons (default); {image: {"bodies": [{"joints"}]}} (--format
cmu); {image: {"people": [{"pose_keypoints_2d"}]}} (--format open); {image: [{"keypoints"}]} (as PoseFlow reads it).
OpenPose itself writes one {"people": ...} file per frame, with 25 joints by default, of which the 18 are taken.
Frames without people may have no entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.sequence import Skeleton, clean_joints, layout_of
from transm3e.files import read_bytes
from transm3e.foreign.json_text import parse_json

LAYOUTS_ALLOWED = "allowed: AlphaPose's default list, or its cmu, open or PoseFlow layout, of one video"
OPENPOSE_ENDING = "_keypoints.json"
# Of OpenPose's BODY_25 model: its middle hip and feet are left out.
BODY_25 = 25
OPENPOSE_18_OF_25 = (*range(8), *range(9, 19))
SUFFIX = re.compile(r"\.[A-Za-z]\w*$")
# Frames x persons of about five hours of film; beyond it the numbers are identities of pictures, not frames.
MAX_SLOTS = 2**20
MAX_DIGITS = 18  # of an int64


def read_alphapose(text: str | bytes, path: str) -> Skeleton:
    """A JSON file of one video -> Skeleton.

    Numbers of frames come from image_id: the last digits of a file name, or the number itself. Whether they begin
    with 0 or 1 is decided once per file by the smallest: 0 and 1 speak for themselves; a larger one means that
    nobody was seen at first, and then unpadded names ("7.jpg", AlphaPose's own for a video) count from 0, all others
    ("000007.png", 7) from 1. Where that guess is wrong the joints are one frame off.

    Raises:
        DecodeError: not JSON, another layout, no person at all, NaN, an unknown or changing number of joints, or
            image_ids that are no frame numbers of one video.
    """
    return _assemble(list(_persons(_parse(text, path), path)), path)


def read_openpose_folder(folder: Path, path: str) -> Skeleton:
    """OpenPose's `<video>_<frame>_keypoints.json` files, one per frame -> Skeleton.

    Raises:
        DecodeError: no such file in the folder; otherwise as read_alphapose.
    """
    files = sorted(folder.glob(f"*{OPENPOSE_ENDING}"))
    if not files:
        raise DecodeError(path, f"the folder holds no *{OPENPOSE_ENDING}")
    frames = {file.name.removesuffix(OPENPOSE_ENDING): _parse(_bytes(file), str(file)) for file in files}
    return _assemble(list(_persons(frames, path)), path)


def _bytes(file: Path) -> bytes:
    try:
        return read_bytes(file)
    except OSError as error:
        raise DecodeError(str(file), f"cannot be read: {error.strerror}") from error


def _parse(text: str | bytes, path: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DecodeError(path, f"not JSON, or cut off: {error}") from error


def _persons(content: Any, path: str) -> Iterator[tuple[Any, Any, Any]]:
    """(image_id, flat numbers, track or None) of every person."""
    if isinstance(content, Mapping) and all(isinstance(frame, list | Mapping) for frame in content.values()):
        for image, frame in content.items():
            entries = frame if isinstance(frame, list) else frame.get("people", frame.get("bodies"))
            for entry in _entries(entries, path):
                yield image, _numbers(entry, path), entry.get("idx")
    else:
        for entry in _entries(content, path):
            if "image_id" not in entry:
                raise DecodeError(path, f"an entry has no image_id; {LAYOUTS_ALLOWED}")
            yield entry["image_id"], _numbers(entry, path), entry.get("idx")


def _entries(entries: Any, path: str) -> list[Mapping[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise DecodeError(path, f"JSON of another layout; {LAYOUTS_ALLOWED}")
    return entries


def _numbers(entry: Mapping[str, Any], path: str) -> np.ndarray:
    """(K, 3) float64 of one person."""
    numbers = next((entry[key] for key in ("keypoints", "pose_keypoints_2d", "joints") if key in entry), None)
    try:
        flat = np.asarray(numbers, np.float64)
    except (TypeError, ValueError, OverflowError):
        flat = np.empty(0)
    if flat.ndim != 1 or not flat.size or flat.size % 3:
        raise DecodeError(path, f"a person without a flat list of x, y, score; {LAYOUTS_ALLOWED}")
    joints = flat.reshape(-1, 3)
    from_25 = "pose_keypoints_2d" in entry and len(joints) == BODY_25
    return joints[list(OPENPOSE_18_OF_25)] if from_25 else joints


def _assemble(persons: list[tuple[Any, Any, Any]], path: str) -> Skeleton:
    if not persons:
        raise DecodeError(path, "holds no person in any frame; leave the clip's skeleton empty or run another detector")
    frames = _frame_numbers([image for image, _, _ in persons], path)
    counts = {len(numbers) for _, numbers, _ in persons}
    if len(counts) > 1:
        raise DecodeError(path, f"persons with {' and '.join(map(str, sorted(counts)))} joints in one file")
    slots = _slots(frames)
    num_frames, num_slots = int(frames.max()) + 1, int(slots.max()) + 1
    if num_frames * num_slots > MAX_SLOTS:
        raise DecodeError(path, f"frame numbers up to {num_frames - 1}: these are not the frames of one video")
    layout = layout_of(counts.pop(), path)
    joints = clean_joints(np.stack([numbers for _, numbers, _ in persons]), layout, path)
    points = np.zeros((num_frames, num_slots, *joints.shape[1:]), np.float32)
    points[frames, slots] = joints
    tracks = _tracks([track for _, _, track in persons], path)
    if tracks is not None:
        spread = np.full(points.shape[:2], -1, np.int64)
        spread[frames, slots] = tracks
        tracks = spread
    return Skeleton(points, layout, tracks=tracks, open_ended=True)


def _frame_numbers(images: list[Any], path: str) -> np.ndarray:
    """image_id of each person -> (D,) int64 frame number from 0."""
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
    """image_id -> what stands before its last digits, and the digits."""
    if isinstance(image, int) and image >= 0:
        name = str(int(image))
    else:
        name = SUFFIX.sub("", image) if isinstance(image, str) else ""
    runs = re.findall(r"[0-9]+", name)
    if not runs or len(runs[-1]) > MAX_DIGITS:
        raise DecodeError(path, f"image_id {str(image)[:80]!r} has no frame number; needs 12, 12.jpg or frame_0012.png")
    return name[: name.rindex(runs[-1])], runs[-1]


def _slots(frames: np.ndarray) -> np.ndarray:
    """How many persons of the same frame stand before each: (D,) int64."""
    order = np.argsort(frames, kind="stable")
    starts = np.searchsorted(frames[order], frames[order])
    slots = np.empty(len(frames), np.int64)
    slots[order] = np.arange(len(frames)) - starts
    return slots


def _tracks(tracks: list[Any], path: str) -> np.ndarray | None:
    """idx of each person (a number, or a list of one) -> (D,) int64, or None where any has none."""
    firsts = [track[0] if isinstance(track, list) and track else track for track in tracks]
    if any(track is None or track == [] for track in firsts):
        return None
    if not all(isinstance(track, int | float) and track % 1 == 0 and abs(track) < 2**31 for track in firsts):
        raise DecodeError(path, "an idx (track number) is not a whole number; run the tracker anew")
    return np.array(firsts, np.int64)
