"""Average precision of random scores, over many draws, as single draws vary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def random_average_precision(labels: ArrayLike, draws: int, key: Sequence[int]) -> np.ndarray:
    """Average precision of each muscle under independent random scores, for each draw.

    Only the order of scores matters, and all orders are equally likely, so each muscle's labels are permuted. The
    mean over all orders is (H + (p - 1) (N - H) / (N - 1)) / N for p of N clips, H = 1 + 1/2 + ... + 1/N (Bestgen, Exact
    expected average precision of the random baseline for system evaluation, 2015).

    Args:
        labels: (N, C) of 0 and 1.
        draws: R.
        key: of the generator, non-negative numbers.

    Returns:
        (R, C) float64 in [0, 1]; NaN for a muscle that no clip carries.
    """
    labels_NC = np.asarray(labels, np.float64)
    generator, ranks = np.random.default_rng(list(key)), np.arange(1, len(labels_NC) + 1)[:, None]
    positives = np.where(labels_NC.any(axis=0), labels_NC.sum(axis=0), np.nan)
    ap_RC = np.empty((draws, labels_NC.shape[1]))
    for ap_C in ap_RC:
        hits = generator.permuted(labels_NC, axis=0)
        ap_C[:] = (hits * hits.cumsum(axis=0) / ranks).sum(axis=0) / positives
    return ap_RC
