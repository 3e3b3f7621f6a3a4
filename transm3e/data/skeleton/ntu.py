"""NTU RGB+D's `.skeleton` text files (Shahroudy et al., CVPR 2016): the Kinect's joints, 25 per body.

Number of frames; per frame: number of bodies; per body: its id and nine more numbers, number of joints; per joint twelve
numbers, of which x and y in the colour video (1920x1080 pixels) and the tracking state are read.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.assemble import Person, assemble
from transm3e.data.skeleton.sequence import AMBIGUOUS_JOINTS, Skeleton
from transm3e.files import read_bytes

# Number of frames, and number of bodies in the first: other text files do not begin like this.
START = re.compile(rb"\s*[0-9]{1,7}\s*\n\s*([0-9]{1,2}\s*(\n|$)|$)")
HEIGHT, WIDTH = 1080, 1920
BODY, JOINT = 10, 12  # numbers of each
COLOUR_X, COLOUR_Y, STATE = 5, 6, 11
INFERRED, TRACKED = 1, 2  # states; 0 is not tracked
JOINTS = AMBIGUOUS_JOINTS


def read_ntu(file: Path, path: str) -> Skeleton:
    """A `.skeleton` file -> Skeleton of NTU-25 in pixels of 1920x1080, a track per body.

    Scores are 1 for tracked joints, 0.5 for inferred ones, 0 for others and for joints without colour coordinates.

    Raises:
        DecodeError: truncated, an unexpected content, or no person in any frame.
        OSError: it cannot be read.
    """
    words = read_bytes(file).split()
    try:
        persons, frames = _persons(words)
    except (ValueError, IndexError, OverflowError):
        raise DecodeError(path, "not a .skeleton file of NTU RGB+D, or truncated; copy it again") from None
    return assemble(persons, frames, path, "ntu25", height=HEIGHT, width=WIDTH)


def _persons(words: list[bytes]) -> tuple[list[Person], int]:
    """Bodies in the order of the file, and the number of frames."""
    frames, at = int(words[0]), 1
    tracks: dict[bytes, int] = {}
    persons = []
    for frame in range(min(frames, len(words))):
        bodies, at = int(words[at]), at + 1
        for _ in range(bodies):
            body, joints, at = words[at], int(words[at + BODY]), at + BODY + 1
            if joints != JOINTS:
                raise ValueError(joints)
            numbers = np.array(words[at : at + JOINTS * JOINT], np.float64).reshape(JOINTS, JOINT)
            at += JOINTS * JOINT
            persons.append(Person(frame, _joints(numbers), tracks.setdefault(body, len(tracks))))
    if frames > len(words) or at != len(words):
        raise ValueError("more or less than it says")
    return persons, frames


def _joints(numbers: np.ndarray) -> np.ndarray:
    """(25, 12) -> (25, 3)."""
    joints = numbers[:, [COLOUR_X, COLOUR_Y, STATE]]
    joints[:, 2] = np.where(np.isin(joints[:, 2], (INFERRED, TRACKED)), joints[:, 2] / TRACKED, 0)
    joints[~np.isfinite(joints).all(axis=1)] = 0
    return joints
