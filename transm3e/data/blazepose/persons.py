"""Output of the detection network: persons in a frame, as points in the square around the frame."""

from __future__ import annotations

import numpy as np

from transm3e.data.blazepose.landmarks import sigmoid

INPUT = 224
# Each entry adds two anchors for each cell of its stride's grid.
STRIDES = (8, 16, 32, 32, 32)
PER_CELL = 2
MIN_SCORE = 0.5
# Boxes with a larger intersection over union are one person.
SAME_PERSON = 0.3


def anchors() -> np.ndarray:
    """(2254, 2) float64 centres of the anchors, shares of the input: by stride, row, column."""
    grids = []
    for stride in sorted(set(STRIDES)):
        cells = INPUT // stride
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        centres = (np.stack([columns, rows], axis=1) + 0.5) / cells
        grids.append(np.repeat(centres, PER_CELL * STRIDES.count(stride), axis=0))
    return np.concatenate(grids)


def decode(raw: np.ndarray, logits: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network's output -> (D, 6, 2) points and (D,) scores of at least MIN_SCORE.

    A detection's points are two opposite corners of the face's box, the middle of the hips, the point that gives size and
    rotation of the body, and the same two of the upper body; in shares of the input.

    Args:
        raw: (A, 12) centre and sides of the box and four points, x and y of each, in pixels relative to the anchor.
        logits: (A,).
        centres: (A, 2), see anchors.
    """
    scores = sigmoid(logits.astype(np.float64))
    keep = scores >= MIN_SCORE
    pairs = raw[keep].reshape(-1, 6, 2).astype(np.float64) / INPUT
    middle, half = pairs[:, :1] + centres[keep][:, None], pairs[:, 1:2] / 2
    points = pairs[:, 2:] + centres[keep][:, None]
    return np.concatenate([middle - half, middle + half, points], axis=1), scores[keep]


def merge(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the detections of each person, weighted by score: the best one and those that overlap it, then the next.

    Args:
        points, scores: (D, K, 2) and (D,); the first two points are corners of the boxes.

    Returns:
        (P, K, 2) and (P,) the best score of each, the best first.
    """
    merged, best = [], []
    order = np.argsort(-scores, kind="stable")
    while len(order):
        same = _overlap(points[order[0]], points[order]) > SAME_PERSON
        same[0] = True
        merged.append(np.average(points[order[same]], axis=0, weights=scores[order[same]]))
        best.append(scores[order[0]])
        order = order[~same]
    return np.array(merged).reshape(-1, *points.shape[1:]), np.array(best)


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(D,) intersection over union of the boxes whose corners are the first two points."""
    low, high = np.maximum(box[0], boxes[:, 0]), np.minimum(box[1], boxes[:, 1])
    shared = (high - low).clip(0).prod(axis=1)
    union = (box[1] - box[0]).prod() + (boxes[:, 1] - boxes[:, 0]).prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
