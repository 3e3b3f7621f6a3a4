"""A threshold per muscle, from which a score means that the muscle is predicted: tuned to the highest F1.

Legend: N clips, C muscles.
"""

from __future__ import annotations

import numpy as np


def best_thresholds(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The threshold of each muscle with the highest F1, the highest of equal ones.

    It is halfway between the lowest score that is predicted and the next lower one.

    Args:
        scores: (N, C) finite numbers.
        labels: (N, C) of 0 and 1.

    Returns:
        (C,) float64; NaN for a muscle that no clip has.
    """
    found = np.full(labels.shape[1], np.nan)
    for c in np.flatnonzero(labels.any(axis=0)):
        values, inverse = np.unique(scores[:, c].astype(np.float64), return_inverse=True)
        # By value, falling: true positives and predictions at the threshold that is this value.
        positives = np.cumsum(np.bincount(inverse, labels[:, c], len(values))[::-1])
        predicted = np.cumsum(np.bincount(inverse, minlength=len(values))[::-1])
        best = len(values) - 1 - int(np.argmax(2 * positives / (predicted + positives[-1])))
        found[c] = (values[best] + values[max(best - 1, 0)]) / 2
    return found


def precision_recall_f1(scores: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """ "precision", "recall" and "F1", each (C,) float64 in [0, 1], of the scores that reach the (C,) thresholds.

    NaN where it is not defined: nothing predicted, no clip with the muscle, neither of both, or the threshold is NaN.
    """
    predicted, real = scores.astype(np.float64) >= thresholds, labels.astype(bool)
    hits = (predicted & real).sum(axis=0)
    counts = {"precision": predicted.sum(axis=0), "recall": real.sum(axis=0)}
    counts["F1"] = (counts["precision"] + counts["recall"]) / 2
    with np.errstate(invalid="ignore"):
        return {name: np.where(np.isnan(thresholds), np.nan, hits / count) for name, count in counts.items()}
