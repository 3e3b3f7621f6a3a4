"""Moving pictures that cost an encoder and a decoder about what filmed ones do.

Noise would cost far more, flat or still pictures far less: here a wide textured background is panned and zoomed, as by
a held camera, and textured ellipses move, turn and cover each other in front of it, under a little grain. H.264 at
x264's default quality then takes about 0.9 Mbit/s at 340x256 and 5 Mbit/s at 1280x720 (30 frames per second).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin

import cv2
import numpy as np

# Of the background over the frame, so that panning does not run out of it.
MARGIN = 1.5
NUM_BLOBS = 10
# Detail falls off with its fineness, and colours are fainter than light and dark, as in photographs.
FALL, COLOUR = 0.3, 0.4
GRAIN = 4.0  # standard deviation in grey levels
GRAIN_SHIFT = 64  # pixels that the grain moves at most between frames


@dataclass(frozen=True)
class Blob:
    """A textured ellipse on its way.

    Attributes:
        texture: (S, S, 3) uint8.
        mask: (S, S) uint8, 255 inside.
        centre, reach: (2,) of its path, pixels of the frame.
        cycles: (3,) turns of the path's x and y, and of the blob itself, per video.
        phase: where it starts, radians.
    """

    texture: np.ndarray
    mask: np.ndarray
    centre: np.ndarray
    reach: np.ndarray
    cycles: np.ndarray
    phase: float


def moving_pictures(seed: int, width: int, height: int, num_frames: int) -> Iterator[np.ndarray]:
    """The frames of video number `seed`, (height, width, 3) uint8 RGB; the same on every call."""
    rng = np.random.default_rng(seed)
    wide = texture(rng, round(width * MARGIN), round(height * MARGIN))
    blobs = [_blob(rng, width, height) for _ in range(NUM_BLOBS)]
    pan, zoom = rng.uniform(0.5, 1.5, 2), rng.uniform(0.05, 0.15)
    grain = rng.normal(0, GRAIN, (height + GRAIN_SHIFT, width + GRAIN_SHIFT, 1)).astype(np.int16).repeat(3, axis=2)
    for number in range(num_frames):
        time = number / num_frames
        picture = _camera(wide, width, height, time, pan, zoom)
        for blob in blobs:
            _paste(picture, blob, time)
        top, left = rng.integers(0, GRAIN_SHIFT, 2)
        yield cv2.add(picture, grain[top : top + height, left : left + width], dtype=cv2.CV_8U)


def texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise on every scale: (height, width, 3) uint8."""
    total = np.zeros((height, width, 3), np.float32)
    side = 4
    while side < max(width, height):
        coarse = rng.normal(0, 1, (side, side, 1)) + rng.normal(0, COLOUR, (side, side, 3))
        total += cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) / side**FALL
        side *= 2
    low, high = total.min(), total.max()
    return ((total - low) * (255 / (high - low))).astype(np.uint8)


def _blob(rng: np.random.Generator, width: int, height: int) -> Blob:
    side = round(height * rng.uniform(0.25, 0.55))
    mask = np.zeros((side, side), np.uint8)
    axes = (round(side * 0.48), round(side * rng.uniform(0.2, 0.48)))
    cv2.ellipse(mask, (side // 2, side // 2), axes, 0, 0, 360, 255, -1)
    frame = np.array([width, height])
    return Blob(
        texture(rng, side, side),
        mask,
        frame * rng.uniform(0.2, 0.8, 2),
        frame * rng.uniform(0.05, 0.35, 2),
        rng.uniform(1.0, 6.0, 3),
        rng.uniform(0, 2 * pi),
    )


def _camera(wide: np.ndarray, width: int, height: int, time: float, pan: np.ndarray, zoom: float) -> np.ndarray:
    scale = 1 + zoom * sin(2 * pi * time)
    free = np.array([wide.shape[1] - width / scale, wide.shape[0] - height / scale])
    left, top = free * [0.5 + 0.45 * sin(2 * pi * time * pan[0]), 0.5 + 0.45 * cos(2 * pi * time * pan[1])]
    matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    return cv2.warpAffine(wide, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _paste(picture: np.ndarray, blob: Blob, time: float) -> None:
    """Paint the blob over the part of the picture where it is."""
    angles = 2 * pi * blob.cycles * time + blob.phase
    side = len(blob.mask)
    # A turned square fits into one of 1.5 times its side.
    room = round(side * 1.5)
    corner = blob.centre + blob.reach * [cos(angles[0]), sin(angles[1])] - room / 2
    low = np.clip(corner, 0, picture.shape[1::-1]).astype(int)
    high = np.clip(corner + room, 0, picture.shape[1::-1]).astype(int)
    if (high <= low).any():
        return
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), float(np.degrees(angles[2])), 1.0)
    matrix[:, 2] += corner + (room - side) / 2 - low
    part = picture[low[1] : high[1], low[0] : high[0]]
    inside = cv2.warpAffine(blob.mask, matrix, part.shape[1::-1], flags=cv2.INTER_NEAREST) > 0
    part[inside] = cv2.warpAffine(blob.texture, matrix, part.shape[1::-1])[inside]
