"""Rotated squares of a frame: cut out as input of a network, whose points are mapped back into the frame.

Coordinates of a frame are in pixels, 0 to its width and height; those of a square are shares of it, 0 to 1. A pixel's
coordinate is its index, in the frame and in the cut-out, without an offset of half a pixel: MediaPipe's CPU code does the
same, and our landmarks are three times closer to its landmarks this way.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

# Factor by which a person's square is larger than the circle through the two points.
MARGIN = 1.25


class Region(NamedTuple):
    """A square in a frame: its centre and side in pixels, and its rotation in radians, clockwise on the screen."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3) float64: (u, v, 1) in shares of the square -> pixels of the frame."""
        turn = self.side * rotation(self.angle)
        return np.column_stack([turn, np.array([self.x, self.y]) - turn @ [0.5, 0.5]])

    @property
    def points(self) -> np.ndarray:
        """(2, 2) the points from which `around` made it."""
        return self.to_frame(np.array([[0.5, 0.5], [0.5, 0.5 - 0.5 / MARGIN]]))

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) shares of the square -> pixels of the frame."""
        matrix = self.matrix
        return points @ matrix[:, :2].T + matrix[:, 2]

    def cut(self, frame: np.ndarray, size: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        """The square as (size, size, 3) uint8; black outside the frame, or by OpenCV's `border` mode."""
        matrix = self.matrix
        inverse = np.column_stack([matrix[:, :2] / size, matrix[:, 2]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, inverse, (size, size), flags=flags, borderMode=border)


def rotation(angle: float) -> np.ndarray:
    """(2, 2) float64 rotation of (x, y), y down, clockwise on the screen."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def whole(height: int, width: int) -> Region:
    """The smallest upright square around a frame."""
    return Region(width / 2, height / 2, max(height, width))


def around(centre: np.ndarray, scale: np.ndarray) -> Region:
    """The square of a person, rotated so that `scale` is above `centre`; (2,) pixels each, `scale` on the circle around
    the body."""
    across, up = float(scale[0] - centre[0]), float(centre[1] - scale[1])
    angle = math.remainder(math.pi / 2 - math.atan2(up, across), 2 * math.pi)
    return Region(float(centre[0]), float(centre[1]), 2 * MARGIN * math.hypot(across, up), angle)
