"""Detectors' results of one video in JSON: one file, or a folder with a file per frame.

Two tables define the formats: LISTINGS, how a file lists its frames, and PEOPLE, how a person in a frame is written. A
file per frame holds the same as one frame in a file of all frames. A new format is one more entry. These files do not
contain frame sizes; frames without people may have no entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.assemble import Person, assemble, frame_numbers
from transm3e.data.skeleton.sequence import AMBIGUOUS_JOINTS, LANDMARKS, Skeleton
from transm3e.data.skeleton.units import PIXELS, SHARES
from transm3e.errors import shown
from transm3e.files import read_bytes
from transm3e.foreign.json_text import parse_json

# Bytes: a hundred times an hour of one person.
MAX_JSON = 1 << 30
JSON_ALLOWED = "allowed: results of one video by AlphaPose, OpenPose, MMPose, Ultralytics or MediaPipe"
# Joints of OpenPose's BODY_25 without its middle hip and feet.
OPENPOSE_18_OF_25 = (*range(8), *range(9, 19))
# Keys of a frame's people, and of the landmarks of one or several persons.
PEOPLE_KEYS = ("people", "bodies", "instances", "predictions")
LANDMARK_KEYS = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")
NUMBER_KEYS = ("frame_id", "frame", "frame_idx", "frame_index", "frame_number")
FLAT_KEYS = ("keypoints", "pose_keypoints_2d", "pose_keypoints", "joints")
TRACK_KEYS = ("idx", "track_id")
SCORE_KEYS = ("visibility", "score", "confidence")


class Frames(NamedTuple):
    """The frames that a file lists.

    Attributes:
        names: of images, or their numbers.
        shown: content of each of these frames; names may repeat.
        from_first: names are frame numbers from 0, or from 1 if that is the smallest.
        every: every frame of the video is listed.
    """

    names: Sequence[Any]
    shown: Sequence[Any]
    from_first: bool = False
    every: bool = False


def read_json(file: Path, path: str) -> Skeleton:
    """A JSON file of one video -> Skeleton, with coordinates and scores as in the file.

    Frames are numbered by the names of images (AlphaPose's image_id, see assemble.frame_numbers), by a field of
    NUMBER_KEYS, or by their order.

    Raises:
        DecodeError: not JSON, another layout, no person at all, an unknown or changing number of joints, or image_ids
            that are not frame numbers of one video.
        OSError: it cannot be read.
    """
    content = parse_text(read_bytes(file, MAX_JSON), path)
    listed = next((listing.frames(content) for listing in LISTINGS if listing.matches(content)), None)
    if listed is None:
        raise DecodeError(path, f"JSON of another layout; {JSON_ALLOWED}, frames by image_id, frame_id or in order")
    return read_frames(listed, path)


def read_frames(listed: Frames, path: str) -> Skeleton:
    """Frames of one video -> Skeleton, with coordinates and scores as in the files.

    Raises:
        DecodeError: as read_json.
    """
    people = [list(_people(shown_there, path)) for shown_there in listed.shown]
    numbers = _from_first(listed.names, path) if listed.from_first else frame_numbers(listed.names, path)
    persons = [
        Person(number, joints, track)
        for number, there in zip(numbers.tolist(), people, strict=True)
        for joints, _, track in there
    ]
    units = {unit for there in people for _, unit, _ in there}
    if len(units) > 1:
        raise DecodeError(path, "persons in pixels and in shares of the frame in one file")
    end = int(numbers.max()) + 1 if len(numbers) else 0
    return assemble(persons, end, path, units=units.pop() if units else PIXELS, open_ended=not listed.every)


def parse_text(text: bytes, path: str) -> Any:
    """The document in JSON text.

    Raises:
        DecodeError: not JSON.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        raise DecodeError(path, f"not JSON, or truncated: {error}") from error


# ---------------------------------------------------------------- how a file lists its frames


class Listing(NamedTuple):
    """A way of listing frames: whether a document uses it, and the document's frames."""

    matches: Callable[[Any], bool]
    frames: Callable[[Any], Frames]


def _is_list_with(content: Any, keys: Sequence[str]) -> bool:
    return isinstance(content, list) and all(isinstance(e, Mapping) and any(k in e for k in keys) for e in content)


def _numbered(entries: list[Mapping[str, Any]]) -> Frames:
    numbers = [next(entry[key] for key in NUMBER_KEYS if key in entry) for entry in entries]
    return Frames(numbers, entries, from_first=True, every=all("instances" in entry for entry in entries))


def _within(key: str) -> Listing:
    """Frames under a key, listed in one of the ways of FLAT_LISTINGS."""

    def ways(content: Any) -> Iterator[Listing]:
        inner = content[key] if isinstance(content, Mapping) and key in content else None
        return (way for way in FLAT_LISTINGS if inner is not None and way.matches(inner))

    return Listing(lambda c: any(True for _ in ways(c)), lambda c: next(ways(c)).frames(c[key]))


# AlphaPose's default list with one entry per person; COCO's results.
PER_VIDEO = Listing(
    lambda c: _is_list_with(c, ["image_id"]), lambda c: Frames([e["image_id"] for e in c], [[e] for e in c])
)
FLAT_LISTINGS = (
    PER_VIDEO,
    # MMPose's inferencer, and what people write around MediaPipe: [{"frame_id": 0, "instances": [...]}, ...].
    Listing(lambda c: _is_list_with(c, NUMBER_KEYS), _numbered),
    # One element per frame: lists of people (Ultralytics, MMPose) or of landmarks (MediaPipe), or mappings that hold them.
    Listing(
        lambda c: (
            isinstance(c, list)
            and all(e is None or isinstance(e, list) or _is_list_with([e], PEOPLE_KEYS + LANDMARK_KEYS) for e in c)
        ),
        lambda c: Frames(range(len(c)), c, from_first=True, every=True),
    ),
)
LISTINGS = (
    *(_within(key) for key in ("instance_info", "frames")),  # the former with MMPose's meta_info
    *FLAT_LISTINGS,
    # AlphaPose's cmu and open layouts, and the one that PoseFlow reads: {image: people}.
    Listing(
        lambda c: isinstance(c, Mapping) and all(isinstance(frame, list | Mapping | None) for frame in c.values()),
        lambda c: Frames(list(c), list(c.values())),
    ),
)


def _from_first(numbers: Sequence[Any], path: str) -> np.ndarray:
    for number in numbers:
        if not isinstance(number, int) or not 0 <= number < 2**31:
            raise DecodeError(path, f"a frame's number is {shown(number)}; allowed: integers from 0")
    found = np.array(numbers, np.int64)
    return found - (1 if len(found) and found.min() == 1 else 0)


# ---------------------------------------------------------------- how a person is written

Read = tuple[np.ndarray, str, Any]  # (K, 3) joints, their units, track


class Writing(NamedTuple):
    """A way of writing a person: whether an entry uses it, its joints (K, 3), and their units."""

    matches: Callable[[Mapping[str, Any]], bool]
    joints: Callable[[Mapping[str, Any]], Any]
    units: str = PIXELS


def _columns(points: Any, scores: Any) -> np.ndarray:
    """(K, 2) and (K,) -> (K, 3); scores None: 1."""
    xy = np.asarray(points, np.float64)
    score = np.ones(len(xy)) if scores is None else np.asarray(scores, np.float64)
    return np.column_stack([xy, score]) if xy.ndim == 2 and xy.shape[1] == 2 else np.empty(0)


def _landmarks(marks: Any) -> np.ndarray:
    """MediaPipe's landmarks: mappings of x, y, z and visibility, or 33 rows of the same; fields that are 0 may be absent."""
    if all(isinstance(mark, Mapping) for mark in marks):
        if not all("x" in mark or "y" in mark for mark in marks):
            raise ValueError("no landmarks")
        key = next((key for key in SCORE_KEYS if any(key in mark for mark in marks)), "")
        otherwise = 0.0 if key else 1.0
        return np.array([[m.get("x", 0.0), m.get("y", 0.0), m.get(key, otherwise)] for m in marks], np.float64)
    if len(marks) != LANDMARKS:
        raise ValueError("rows of which the third may be a score")
    rows = np.asarray(marks, np.float64)
    return _columns(rows[:, :2], rows[:, 3] if rows.shape[1] > 3 else None)


def _flat(entry: Mapping[str, Any]) -> np.ndarray:
    key = next(key for key in FLAT_KEYS if key in entry)
    flat = np.asarray(entry[key], np.float64)
    joints = flat.reshape(-1, 3) if flat.ndim == 1 else flat[:0]
    return joints[list(OPENPOSE_18_OF_25)] if key[:5] == "pose_" and len(joints) == AMBIGUOUS_JOINTS else joints


PEOPLE = (
    Writing(lambda e: "keypoint_scores" in e, lambda e: _columns(e["keypoints"], e["keypoint_scores"])),  # MMPose
    Writing(  # Ultralytics: {"x": [...], "y": [...], "visible": [...]}
        lambda e: isinstance(e.get("keypoints"), Mapping),
        lambda e: _columns(np.column_stack([e["keypoints"]["x"], e["keypoints"]["y"]]), e["keypoints"].get("visible")),
    ),
    Writing(
        lambda e: _is_list_with(e.get("keypoints"), ["x"]) and len(e["keypoints"]) > 0,
        lambda e: _landmarks(e["keypoints"]),
        SHARES,
    ),
    Writing(lambda e: "marks" in e, lambda e: _landmarks(e["marks"]), SHARES),  # of _people
    Writing(lambda e: any(key in e for key in FLAT_KEYS), _flat),  # AlphaPose, OpenPose: x, y, score, x, y, score, ...
)


def _people(frame: Any, path: str) -> Iterator[Read]:
    """All persons in one frame."""
    for entry in _entries(frame, path):
        way = next((way for way in PEOPLE if way.matches(entry)), None)
        try:
            joints = np.asarray(way.joints(entry), np.float64) if way else np.empty(0)
        except (TypeError, ValueError, OverflowError, LookupError):
            joints = np.empty(0)
        if way is None or joints.ndim != 2 or not joints.size:
            raise DecodeError(
                path,
                f"a person without a flat list of x, y, score, or MMPose's, Ultralytics' or MediaPipe's; {JSON_ALLOWED}",
            )
        yield joints, way.units, next((entry[key] for key in TRACK_KEYS if key in entry), None)


def _entries(frame: Any, path: str) -> Sequence[Mapping[str, Any]]:
    """A frame's people, one entry each."""
    if isinstance(frame, Mapping):
        key = next((key for key in PEOPLE_KEYS + LANDMARK_KEYS if key in frame), None)
        if key in LANDMARK_KEYS:
            return _landmark_entries(frame[key])
        if key is None and any(key in frame for key in FLAT_KEYS):
            # An empty list or None: a frame of MediaPipe's without a person.
            return [frame] if frame.get("keypoints", True) not in ([], None) else []
        frame = frame[key] if key else frame
    if frame is None:
        return []
    if _is_list_with(frame, ["x"]) or (isinstance(frame, list) and any(isinstance(each, list) for each in frame)):
        return _landmark_entries(frame)
    if not isinstance(frame, list) or not all(isinstance(entry, Mapping) for entry in frame):
        raise DecodeError(path, f"JSON of another layout; {JSON_ALLOWED}")
    return frame


def _landmark_entries(marks: Any) -> Sequence[Mapping[str, Any]]:
    """Landmarks of one person, or of a list of persons."""
    if isinstance(marks, Mapping) and "landmark" in marks:  # MediaPipe's messages converted to JSON
        marks = marks["landmark"]
    if not marks:
        return []
    several = isinstance(marks, list) and all(isinstance(each, list) and each for each in marks)
    if several and not all(isinstance(each[0], int | float) for each in marks):
        return [{"marks": each} for each in marks]
    return [{"marks": marks}]
