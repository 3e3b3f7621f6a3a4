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
