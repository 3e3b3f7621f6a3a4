"""Top-k accuracy of mutually exclusive classes, such as activities."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from transm3e.metrics.average_precision import to_float64


def top_k_accuracy(scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor, k: int) -> float:
    """Share of clips whose class is among the k classes with the highest scores; ties go to the lower class number.

    Equals scikit-learn's top_k_accuracy_score where no scores are equal.

    Args:
        scores: (N, C) finite real numbers, N >= 1.
        labels: (N, C) of 0 and 1, exactly one 1 in each row.
        k: at least 1.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: shapes, labels or k are not as described above.
    """
    scores_NC, labels_NC = to_float64(scores), to_float64(labels)
    if scores_NC.ndim != 2 or scores_NC.shape != labels_NC.shape or not len(scores_NC):
        raise ValueError(f"scores have shape {scores_NC.shape}, labels {labels_NC.shape}; allowed: both (N, C), N >= 1")
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    if not np.isin(labels_NC, (0, 1)).all() or (labels_NC.sum(axis=1) != 1).any():
        raise ValueError("labels must hold exactly one 1 in each row, else 0")
    best_Nk = np.argsort(-scores_NC, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(labels_NC, best_Nk, axis=1).sum(axis=1).mean())
