"""Folders with a file per frame: OpenPose's, AlphaPose's sep-json, MMPose's of images, Ultralytics' JSON and txt.

A folder with one video is given by its path; one of several videos in a folder as FOLDER/HEAD*TAIL, where file names are
HEAD, a number, TAIL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.assemble import Person, assemble, frame_numbers
from transm3e.data.skeleton.people_json import PER_VIDEO, Frames, parse_text, read_frames
from transm3e.data.skeleton.sequence import LAYOUT_OF_JOINTS, Skeleton
from transm3e.data.skeleton.units import SHARES
from transm3e.files import read_bytes

OPENPOSE_ENDING = "_keypoints.json"
# HEAD, number, TAIL.
FRAME_FILE = re.compile(r"(?P<head>.*?)(?P<number>[0-9]+)(?P<tail>(_keypoints)?\.(json|txt))", re.DOTALL)
STAR = "*"
# Numbers before the joints in Ultralytics' txt: class and box.
BOX = 5


class FrameFile(NamedTuple):
    """A file's name in parts: head + number + tail."""

    head: str
    number: str
    tail: str


def split_name(name: str) -> FrameFile | None:
    """The parts of a frame file's name, or None."""
    found = FRAME_FILE.fullmatch(name)
    return FrameFile(found["head"], found["number"], found["tail"]) if found else None


def read_folder(pattern: Path, path: str) -> Skeleton:
    """The frame files of one video, in a folder or FOLDER/HEAD*TAIL -> Skeleton, with coordinates and scores as in the files.

    Raises:
        DecodeError: no such file; files of several formats or videos; otherwise as read_json.
    """
    folder, (head, _, tail) = (
        (pattern, ("", "", "")) if pattern.is_dir() else (pattern.parent, pattern.name.partition(STAR))
    )
    try:
        listed = sorted(file.name for file in folder.iterdir())
    except OSError as error:
        raise DecodeError(path, f"cannot be read: {error.strerror}") from error
    parts = {name: part for name in listed if name.startswith(head) and (part := split_name(name))}
    chosen = {n: p for n, p in parts.items() if pattern == folder or (p.head, p.tail) == (head, tail)}
    tails = sorted({part.tail for part in chosen.values()})
    if not chosen:
        raise DecodeError(
            path,
            "the folder holds no files of frames; allowed: NUMBER.json, NAME_NUMBER_keypoints.json, NAME_NUMBER.txt",
        )
    if len(tails) > 1:
        raise DecodeError(
            path, f"files of several kinds ({', '.join(tails)}); name one, as FOLDER/NAME_{STAR}{tails[0]}"
        )
    read = [_bytes(folder / name) for name in chosen]
    names = [part.head + part.number for part in chosen.values()]
    if tails[0].endswith(".txt"):
        return _read_yolo(names, read, path)
    shown = [parse_text(content, f"{folder / name}") for name, content in zip(chosen, read, strict=True)]
    for name, content in zip(chosen, shown, strict=True):
        if content and PER_VIDEO.matches(content):
            raise DecodeError(path, f"{name} lists persons by image_id, as a file of a whole video; name that file")
    return read_frames(Frames(names, shown), path)


def _bytes(file: Path) -> bytes:
    try:
        return read_bytes(file)
    except OSError as error:
        raise DecodeError(str(file), f"cannot be read: {error.strerror}") from error


def _read_yolo(names: Sequence[str], contents: Sequence[bytes], path: str) -> Skeleton:
    """Ultralytics' save_txt: per person one line of class, box, and joints of x, y and optionally confidence, in shares of
    the frame; then optionally the box's confidence and the track. A frame without people has no file."""
    numbers = frame_numbers(names, path)
    rows = [
        (number, _numbers(line, path))
        for number, content in zip(numbers.tolist(), contents, strict=True)
        for line in content.splitlines()
        if line.strip()
    ]
    lengths = sorted({len(row) for _, row in rows})
    if len(lengths) > 1 and lengths != [lengths[0], lengths[0] + 1]:
        raise DecodeError(path, f"lines of {' and '.join(map(str, lengths))} numbers; predict the video again")
    joints, dims, more = _shape(lengths[0], path) if lengths else (0, 0, 0)
    # The track is missing where the tracker had none, so lines that have it are longer. A single extra number in all lines
    # is a confidence, or a track if it is always an integer.
    tracked = more == 2 or (more == 1 and all(row[-1] % 1 == 0 for _, row in rows))
    persons = []
    for number, row in rows:
        points = row[BOX : BOX + joints * dims].reshape(joints, dims)
        score = points[:, 2:] if dims == 3 else np.ones((joints, 1))
        has_track = tracked if len(lengths) == 1 else len(row) > lengths[0]
        persons.append(Person(number, np.hstack([points[:, :2], score]), float(row[-1]) if has_track else None))
    return assemble(persons, int(numbers.max()) + 1, path, units=SHARES, open_ended=True)


def _numbers(line: bytes, path: str) -> np.ndarray:
    try:
        return np.array(line.split(), np.float64)
    except ValueError:
        raise DecodeError(
            path, "one of its files has a line that is not numbers; allowed: Ultralytics' save_txt of poses"
        ) from None


def _shape(length: int, path: str) -> tuple[int, int, int]:
    """(joints, numbers per joint, numbers after the joints) of a line's length."""
    for joints in LAYOUT_OF_JOINTS:
        for dims in (3, 2):
            more = length - BOX - joints * dims
            if 0 <= more <= 2:
                return joints, dims, more
    raise DecodeError(
        path,
        f"lines of {length} numbers; Ultralytics' poses have 56 (class, box, 17 joints of x, y, score), or up to two more",
    )
