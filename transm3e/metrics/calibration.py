"""Calibration of scores as probabilities: expected calibration error, and Platt scaling.

Legend: N clips, C muscles.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

BINS = 10
# Larger logits belong to scores that float32 cannot distinguish from 0 or 1.
LARGEST_LOGIT = 16.0


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance between scores and the share of positives, over ten bins of equal width, all muscles together.

    As Naeini et al., AAAI 2015, but for binary decisions instead of the most probable class.

    Args:
        scores: (N, C) in [0, 1].
        labels: (N, C) of 0 and 1.
    """
    p, y = scores.ravel().astype(float), labels.ravel().astype(float)
    off = np.bincount(bins_of(p), p - y, minlength=BINS)
    return float(np.abs(off).sum() / len(p))


def bins_of(scores: np.ndarray) -> np.ndarray:
    """The bin of each score in [0, 1], 0 to BINS - 1, flat."""
    found: np.ndarray = np.minimum((scores.ravel().astype(float) * BINS).astype(int), BINS - 1)
    return found


def logits(scores: np.ndarray) -> np.ndarray:
    """Logits of scores in [0, 1], clipped to +-LARGEST_LOGIT."""
    found: np.ndarray = np.clip(logit(scores.astype(float)), -LARGEST_LOGIT, LARGEST_LOGIT)
    return found


def fit_platt(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Platt scaling (Platt 1999): p = sigmoid(slope * logit + bias), one slope for all muscles and a bias for each.

    A slope per muscle would be fitted to the few positives of a rare one. A muscle without positives keeps the bias 0.

    Args:
        scores, labels: as expected_calibration_error; of clips that the model was not trained on.

    Returns:
        The slope, and the biases (C,).
    """
    columns = np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0))
    x, y = logits(scores[:, columns]), labels[:, columns]
    which = np.tile(np.eye(len(columns)), (len(x), 1))
    fitted = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000)
    fitted.fit(np.column_stack([x.ravel(), which]), y.ravel())
    biases = np.zeros(labels.shape[1])
    biases[columns] = fitted.coef_[0, 1:]
    return float(fitted.coef_[0, 0]), biases


def apply_platt(scores: np.ndarray, slope: float, biases: np.ndarray) -> np.ndarray:
    """(N, C) scores -> (N, C) probabilities."""
    p: np.ndarray = expit(slope * logits(scores) + biases)
    return p
