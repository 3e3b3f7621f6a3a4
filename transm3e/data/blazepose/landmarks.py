"""Output of the landmark network: landmarks of the person in a square, refined by heat maps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

INPUT = 256
JOINTS = 33
# After the joints: the middle of the hips, the point of size and rotation, and four that are not used.
ALL_MARKS = 39
CENTRE, SCALE = 33, 34
# Cells of the heat map to each side of a landmark (a kernel of 7), and the least peak in them for a refinement.
REACH = 3
SURE = 0.5


class Marks(NamedTuple):
    """Landmarks of one square.

    Attributes:
        xy: (39, 2) float64 shares of the square.
        score: (39,) visibility x presence, in [0, 1].
        world: (33, 3) float64 metres from the middle of the hips, x and y along the square's sides, z away from the
            camera.
    """

    xy: np.ndarray
    score: np.ndarray
    world: np.ndarray


def read_marks(values: np.ndarray, heat: np.ndarray, world: np.ndarray) -> Marks:
    """The network's output -> Marks.

    Args:
        values: 39 x (x, y, z in pixels of the input, logits of visibility and presence).
        heat: (H, W, 39) logits.
        world: 39 x (x, y, z) metres.
    """
    marks = values.reshape(ALL_MARKS, 5).astype(np.float64)
    visible, present = sigmoid(marks[:, 3]), sigmoid(marks[:, 4])
    metres = world.reshape(ALL_MARKS, 3)[:JOINTS].astype(np.float64)
    return Marks(refine(marks[:, :2] / INPUT, heat), visible * present, metres)


def refine(xy: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Replace each landmark by the mean of the cells around it, weighted by the sigmoid of its heat map, if one is SURE.

    Args:
        xy: (K, 2) shares of the square; landmarks outside it are unchanged.
        heat: (H, W, K) logits.
    """
    height, width, _ = heat.shape
    refined = xy.copy()
    cells = np.floor(xy * [width, height]).astype(int)
    inside = ((cells >= 0) & (cells < [width, height])).all(axis=1)
    for mark in np.flatnonzero(inside):
        column, row = cells[mark]
        columns = np.arange(max(0, column - REACH), min(width, column + REACH + 1))
        rows = np.arange(max(0, row - REACH), min(height, row + REACH + 1))
        weights = sigmoid(heat[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, mark].astype(np.float64))
        if weights.max() >= SURE:
            middle = np.array([weights.sum(axis=0) @ columns, weights.sum(axis=1) @ rows]) / weights.sum()
            refined[mark] = middle / [width, height]
    return refined


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Logits -> probabilities; logits are clipped to +-100."""
    return 1 / (1 + np.exp(-np.clip(values, -100, 100)))
