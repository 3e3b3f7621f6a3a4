"""Turned squares of a frame: cut out for a network, and its points back into the frame.

Coordinates of a frame are in pixels, 0 to its width and height; those of a square are shares of it, 0 to 1. A pixel is
taken where its number says, in the frame as in what is cut out, and not half a pixel further: so does MediaPipe's code for
CPUs, whose landmarks ours are then three times nearer to.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

# A person's square is so much larger than what the two points span.
MARGIN = 1.25


class Region(NamedTuple):
    """A square in a frame: its centre and side in pixels, and how it is turned in radians, clockwise as it is seen."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3) float64 that takes (u, v, 1), shares of the square, into the frame."""
        turn = self.side * rotation(self.angle)
        return np.column_stack([turn, np.array([self.x, self.y]) - turn @ [0.5, 0.5]])

    @property
    def points(self) -> np.ndarray:
        """(2, 2) the points that `around` made it of."""
        return self.to_frame(np.array([[0.5, 0.5], [0.5, 0.5 - 0.5 / MARGIN]]))

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) shares of the square -> pixels of the frame."""
        matrix = self.matrix
        return points @ matrix[:, :2].T + matrix[:, 2]

    def cut(self, frame: np.ndarray, size: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        """The square as (size, size, 3) uint8; outside of the frame it is black, or as OpenCV's `border` says."""
        matrix = self.matrix
        inverse = np.column_stack([matrix[:, :2] / size, matrix[:, 2]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, inverse, (size, size), flags=flags, borderMode=border)


def rotation(angle: float) -> np.ndarray:
    """(2, 2) float64 that turns (x, y), y down, clockwise as it is seen."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def whole(height: int, width: int) -> Region:
    """The smallest upright square around a frame."""
    return Region(width / 2, height / 2, max(height, width))


def around(centre: np.ndarray, scale: np.ndarray) -> Region:
    """The square of a person, turned so that `scale` lies above `centre`: (2,) pixels each; the second lies on the circle
    around the body."""
    across, up = float(scale[0] - centre[0]), float(centre[1] - scale[1])
    angle = math.remainder(math.pi / 2 - math.atan2(up, across), 2 * math.pi)
    return Region(float(centre[0]), float(centre[1]), 2 * MARGIN * math.hypot(across, up), angle)
