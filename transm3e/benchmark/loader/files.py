"""The files of the loader benchmark: generated, the user's own, and either of them re-encoded ahead of time.

Noise costs an encoder and a decoder far more than filmed frames, flat or still frames far less. So a wide textured
background is panned and zoomed, as by a hand-held camera, and textured ellipses move, turn and cover each other in front of
it, under a little grain. H.264 at x264's default quality then takes about 0.9 Mbit/s at 340x256 and 5 Mbit/s at 1280x720.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path

import av
import cv2
import numpy as np
from av import VideoFrame

from transm3e.data.build import folder_table
from transm3e.data.decode import DecodeError, count_frames
from transm3e.data.encode import write_frames
from transm3e.errors import UserError
from transm3e.files import make_folder
from transm3e.prepare.resize import ResizeSettings, resize_video
from transm3e.progress import track

SECONDS, FPS = 10, 30
# x264's defaults, as in most files, but with keyframes exactly every 250 frames (its default maximum), also at scene cuts.
OPTIONS = {"crf": "23", "preset": "medium", "g": "250", "sc_threshold": "0", "threads": "1"}
MARGIN = 1.5  # of the background over the frame, so that panning does not run out of it
NUM_BLOBS = 10
# As in photographs, fine detail is fainter than coarse, and colour contrast weaker than that of brightness.
FALL, COLOUR = 0.3, 0.4
GRAIN, GRAIN_SHIFT = 4.0, 64  # standard deviation in grey levels; its largest shift between frames in pixels


@dataclass(frozen=True)
class Film:
    """A video file: pixels as coded, frames counted, frames per second, bytes, frames between keyframes at most."""

    path: Path
    width: int
    height: int
    num_frames: int
    rate: Fraction
    size_bytes: int
    keyframe_every: int

    @property
    def megabits_per_second(self) -> float:
        return self.size_bytes * 8e-6 * float(self.rate) / self.num_frames


@dataclass(frozen=True)
class FileSet:
    """Files of one kind; `original` is the name of the set these were re-encoded from, "" if they were not."""

    name: str
    films: tuple[Film, ...]
    original: str = ""


def made_files(folder: Path, width: int, height: int, count: int, seconds: int = SECONDS) -> FileSet:
    """H.264 files with moving textured content; files that are already in the folder are kept.

    Raises:
        UserError: a file cannot be written.
    """

    def write(number: int, path: Path) -> None:
        if not path.exists():
            images = moving_frames(number, width, height, seconds * FPS)
            write_frames(path, (VideoFrame.from_ndarray(one, format="rgb24") for one in images), FPS, OPTIONS)

    name = f"{width}x{height}"
    return FileSet(name, _make(folder / name, name, [f"{number:03d}.mp4" for number in range(count)], write))


def source_files(folder: Path, count: int) -> FileSet:
    """The first `count` video files of a folder, by name.

    Raises:
        UserError: no video files, or one that cannot be read.
    """
    table, root = folder_table(folder)
    return FileSet(f"source {root.absolute().name}", tuple(read_film(root / str(path)) for path in table.paths[:count]))


def resized_files(original: FileSet, folder: Path) -> FileSet:
    """The files as datasets/resize_videos.py re-encodes them by default; files already in the folder are kept.

    Raises:
        UserError: a file cannot be read or written.
    """

    def write(number: int, path: Path) -> None:
        resize_video(original.films[number].path, path, ResizeSettings())

    name = f"{original.name} resized"
    # Files of several folders may have the same name.
    names = [f"{number:03d}_{film.path.stem}.mp4" for number, film in enumerate(original.films)]
    return FileSet(name, _make(folder / name.replace(" ", "_"), name, names, write), original.name)


def read_film(path: Path) -> Film:
    """Read the properties of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        count = count_frames(path)
    except DecodeError as error:
        raise _unreadable(error) from error
    with av.open(str(path.absolute())) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        gap = max((after - before for before, after in pairwise([*keys, count])), default=count)
        rate, size = stream.average_rate or Fraction(FPS), path.stat().st_size
        return Film(path, stream.width, stream.height, count, rate, size, gap)


def _make(folder: Path, title: str, names: list[str], write: Callable[[int, Path], None]) -> tuple[Film, ...]:
    make_folder(folder, "--out")
    for number, name in enumerate(track(names, f"making {title}", len(names), "file")):
        try:
            write(number, folder / name)
        except DecodeError as error:
            raise _unreadable(error) from error
    return tuple(read_film(folder / name) for name in names)


def _unreadable(error: DecodeError) -> UserError:
    return UserError(f"{error.path}: {error.reason}; remove it, or measure on other files")


def moving_frames(seed: int, width: int, height: int, num_frames: int) -> Iterator[np.ndarray]:
    """The frames of video number `seed`, (height, width, 3) uint8 RGB; the same on every call."""
    rng = np.random.default_rng(seed)
    wide = _texture(rng, round(width * MARGIN), round(height * MARGIN))
    blobs = [_blob(rng, width, height) for _ in range(NUM_BLOBS)]
    pan, zoom = rng.uniform(0.5, 1.5, 2), rng.uniform(0.05, 0.15)
    grain = rng.normal(0, GRAIN, (height + GRAIN_SHIFT, width + GRAIN_SHIFT, 1)).astype(np.int16).repeat(3, axis=2)
    for number in range(num_frames):
        time = number / num_frames
        scale = 1 + zoom * sin(2 * pi * time)
        free = np.array([wide.shape[1] - width / scale, wide.shape[0] - height / scale])
        left, top = free * [0.5 + 0.45 * sin(2 * pi * time * pan[0]), 0.5 + 0.45 * cos(2 * pi * time * pan[1])]
        matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        frame = cv2.warpAffine(wide, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        for paste in blobs:
            paste(frame, time)
        top, left = rng.integers(0, GRAIN_SHIFT, 2)
        yield cv2.add(frame, grain[top : top + height, left : left + width], dtype=cv2.CV_8U)


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise on every scale: (height, width, 3) uint8."""
    total = np.zeros((height, width, 3), np.float32)
    side = 4
    while side < max(width, height):
        coarse = rng.normal(0, 1, (side, side, 1)) + rng.normal(0, COLOUR, (side, side, 3))
        total += cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) / side**FALL
        side *= 2
    low, high = total.min(), total.max()
    return ((total - low) * (255 / (high - low))).astype(np.uint8)


def _blob(rng: np.random.Generator, width: int, height: int) -> Callable[[np.ndarray, float], None]:
    """A function that paints a moving textured ellipse over a frame, at a time in [0, 1)."""
    side = round(height * rng.uniform(0.25, 0.55))
    mask = np.zeros((side, side), np.uint8)
    axes = (round(side * 0.48), round(side * rng.uniform(0.2, 0.48)))
    cv2.ellipse(mask, (side // 2, side // 2), axes, 0, 0, 360, 255, -1)
    size, texture = np.array([width, height]), _texture(rng, side, side)
    centre, reach = size * rng.uniform(0.2, 0.8, 2), size * rng.uniform(0.05, 0.35, 2)
    cycles, phase = rng.uniform(1.0, 6.0, 3), rng.uniform(0, 2 * pi)  # of its path's x and y, and its own turn
    span = round(side * 1.5)  # a turned square fits into one of 1.5 times its side

    def paste(frame: np.ndarray, time: float) -> None:
        angles = 2 * pi * cycles * time + phase
        corner = centre + reach * [cos(angles[0]), sin(angles[1])] - span / 2
        low = np.clip(corner, 0, size).astype(int)
        high = np.clip(corner + span, 0, size).astype(int)
        if (high <= low).any():
            return
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), float(np.degrees(angles[2])), 1.0)
        matrix[:, 2] += corner + (span - side) / 2 - low
        part = frame[low[1] : high[1], low[0] : high[0]]
        inside = cv2.warpAffine(mask, matrix, part.shape[1::-1], flags=cv2.INTER_NEAREST) > 0
        part[inside] = cv2.warpAffine(texture, matrix, part.shape[1::-1])[inside]

    return paste
