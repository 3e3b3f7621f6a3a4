"""Average precision per muscle, and the mean over muscles (the paper's mAP).

Legend: N clips, C muscles.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from transm3e.errors import UserError


def average_precision(scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor) -> np.ndarray:
    """Average precision of each muscle over the clips of a split.

    AP = sum over thresholds of (recall_n - recall_{n-1}) * precision_n, clips of equal score counted
    at one threshold, as in scikit-learn's `average_precision_score`. Only the order of the
    scores within a muscle matters.

    Args:
        scores: (N, C) real numbers, array or tensor on any device; the higher, the more activated.
        labels: (N, C) of 0 and 1 (or bool).

    Returns:
        (C,) float64 in [0, 1]; NaN for a muscle that no clip carries.

    Raises:
        ValueError: shapes differ or are not (N, C), or labels hold something besides 0 and 1.
        UserError: there is no clip, or a score is NaN or infinite (a diverged model).
    """
    # Imported here: scikit-learn takes seconds to import, and training needs it only at its end.
    from sklearn.metrics import average_precision_score

    scores_NC, labels_NC = _checked(scores, labels)
    ap_C = np.full(labels_NC.shape[1], np.nan)
    for c in np.flatnonzero(labels_NC.any(axis=0)):
        ap_C[c] = average_precision_score(labels_NC[:, c], scores_NC[:, c])
    return ap_C


def mean_average_precision(scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor) -> float:
    """Mean of `average_precision` over the muscles that at least one clip carries, in [0, 1].

    Raises:
        ValueError: as average_precision.
        UserError: as average_precision, or no clip carries any muscle.
    """
    ap_C = average_precision(scores, labels)
    if np.isnan(ap_C).all():
        raise UserError(
            "no clip carries any muscle, so mAP is not defined; "
            "a split needs at least one positive label, see the clip table's column muscles"
        )
    return float(np.nanmean(ap_C))


def _checked(scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    scores_NC, labels_NC = to_float64(scores), to_float64(labels)
    if scores_NC.ndim != 2 or scores_NC.shape != labels_NC.shape:
        raise ValueError(
            f"scores {scores_NC.shape} and labels {labels_NC.shape} must have one shape (clips, muscles); "
            "concatenate the clips of a split first"
        )
    if not len(scores_NC):
        raise UserError("average precision of a split without clips is not defined; leave the split out or add clips")
    if not np.isin(labels_NC, (0, 1)).all():
        raise ValueError("labels hold values besides 0 and 1; allowed: 0, 1 or bool, one column per muscle")
    bad = np.argwhere(~np.isfinite(scores_NC))
    if len(bad):
        raise UserError(
            f"{len(bad)} of {scores_NC.size} scores are NaN or infinite, the first at clip {bad[0, 0]}, "
            f"muscle {bad[0, 1]}; the model has diverged, train with a lower SOLVER.BASE_LR"
        )
    return scores_NC, labels_NC.astype(np.uint8)


def to_float64(values: ArrayLike | torch.Tensor) -> np.ndarray:
    """An array of any kind, or a tensor on any device, as a float64 array of the same shape."""
    # numpy has no bfloat16, so a tensor is widened (exactly) before it leaves torch.
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().to(torch.float64).numpy()
    return np.asarray(values, dtype=np.float64)
