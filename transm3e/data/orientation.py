"""How decoded frames must be rotated and mirrored for display, from the display matrix that phones and editors write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

# Tolerated deviation from a multiple of 90 degrees.
TOLERANCE = 1.0


@dataclass(frozen=True)
class Orientation:
    """Anticlockwise quarter turns, 0 to 3, then optionally an upside-down flip."""

    turns: int = 0
    flipped: bool = False

    def apply(self, image: np.ndarray, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
        """A view of an array of any shape whose `axes` are rows and columns."""
        turned = np.rot90(image, self.turns, axes) if self.turns else image
        return np.flip(turned, axes[0]) if self.flipped else turned


UPRIGHT = Orientation()


def orientation(frame: av.VideoFrame) -> Orientation:
    """The rotation and flip that FFmpeg's programs apply before display (ffmpeg_filter.c, autorotate).

    Raises:
        ValueError: the file asks for an angle that is not a multiple of 90 degrees.
    """
    side_data: Any = frame.side_data
    data = side_data.get(Type.DISPLAYMATRIX)
    matrix = None if data is None else np.frombuffer(bytes(data), np.int32)
    if matrix is None or len(matrix) < 5:
        return UPRIGHT
    a, b, c, d = (float(matrix[i]) for i in (0, 1, 3, 4))  # 16.16 fixed point; its last column is perspective
    if not (math.hypot(a, c) and math.hypot(b, d)):
        return UPRIGHT
    angle = math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c))) % 360
    quarter = round(angle / 90) % 4  # clockwise
    if min(abs(angle - 90 * quarter), 360 - abs(angle - 90 * quarter)) > TOLERANCE:
        raise ValueError(f"asks for a rotation by {angle:.0f} degrees; allowed: multiples of 90; re-encode it")
    mirrored = {0: d < 0, 1: c > 0, 2: d > 0, 3: c < 0}[quarter]
    return Orientation((quarter if mirrored else -quarter) % 4, mirrored)
