"""Muscles decided by a threshold on their scores: precision, recall, F1, and which are named for which.

Legend: N clips, C muscles or activities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

# Logits beyond these are not told apart by float32 scores.
SMALLEST = 1e-7


class Decisions(NamedTuple):
    """Of each muscle, (C,) float64 in [0, 1]; NaN where it is undefined: precision of a muscle that is never predicted,
    recall of one without clips, F1 of one with neither, all of one whose threshold is NaN."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def decisions(scores: np.ndarray, labels: np.ndarray, threshold: float | np.ndarray) -> Decisions:
    """Precision, recall and F1 of each muscle, by scikit-learn.

    Args:
        scores: (N, C) finite; a muscle is predicted where its score is at least the threshold.
        labels: (N, C) of 0 and 1.
        threshold: of all muscles, or (C,).
    """
    if not len(scores):
        return Decisions(*np.full((3, scores.shape[1]), np.nan))
    found = precision_recall_fscore_support(labels.astype(int), scores >= threshold, average=None, zero_division=np.nan)
    return Decisions(*(np.where(np.isnan(threshold), np.nan, values) for values in found[:3]))


def co_activation(given: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N, C) and (N, C) of 0 and 1 -> (C, C): the share of the clips given muscle i that are seen to have j; NaN without
    clips."""
    pairs, clips = given.astype(float).T @ seen.astype(float), given.sum(axis=0, dtype=float)[:, None]
    return np.divide(pairs, clips, out=np.full(pairs.shape, np.nan), where=clips > 0)


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) mean binary cross-entropy of each clip's scores in [0, 1], at most 16 per muscle."""
    p = scores.astype(float).clip(SMALLEST, 1 - SMALLEST)
    loss: np.ndarray = -np.where(labels == 1, np.log(p), np.log1p(-p)).mean(axis=1)
    return loss
