"""Paired permutation test of two models that scored the same clips.

Legend: N clips, R permutations, C muscles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from transm3e.metrics.average_precision import _checked
from transm3e.metrics.bootstrap import bootstrap_map

# Differences that only rounding tells apart count as equal.
ROUNDING = 1e-12


def draw_swaps(clips: int, permutations: int, key: Sequence[int], groups: ArrayLike | None = None) -> np.ndarray:
    """Which clips change sides in each permutation, each with probability 1/2; the same key gives the same draws.

    Args:
        groups: (N,) names; the clips of a group change sides together. None = each clip by itself.

    Returns:
        (R, N) bool.
    """
    members = np.arange(clips) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    number = int(members.max(initial=-1)) + 1
    swaps = np.random.default_rng(list(key)).integers(2, size=(number, permutations), dtype=np.uint8)
    return swaps[members].T.astype(bool)


def swapped_differences(
    first: ArrayLike | torch.Tensor,
    second: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    swaps: np.ndarray,
) -> np.ndarray:
    """mAP of the first minus mAP of the second, after the scores of some clips have changed sides.

    If the models are alike, a clip's scores could as well have come from the other one, so the difference that was
    observed is one of these (Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989, approximate
    randomisation). Models score on scales of their own, and mAP knows the order of clips only: so what is swapped is a
    clip's rank within its model and muscle (the mean one of equal scores).

    Args:
        first, second: (N, C) real numbers, of the same clips in the same order.
        labels: (N, C) of 0 and 1.
        swaps: (R, N) bool.

    Returns:
        (R,) float64 in [-1, 1].

    Raises:
        ValueError, UserError: as average_precision; no clip carries any muscle.
    """
    (first_NC, labels_NC), (second_NC, _) = _checked(first, labels), _checked(second, labels)
    if not labels_NC.any():
        raise ValueError("no clip carries any muscle, so there is no mAP to compare")
    # Each clip is there twice, as the first model and as the second ranks it; one of the two counts.
    ranks = np.concatenate([rankdata(first_NC, axis=0), rankdata(second_NC, axis=0)])
    twice, stays = np.concatenate([labels_NC] * 2), np.concatenate([~swaps, swaps], axis=1)
    ours, theirs = (bootstrap_map(ranks, twice, counts.view(np.uint8)) for counts in (stays, ~stays))
    return ours - theirs


def p_value(observed: float, differences: np.ndarray) -> float:
    """Two-sided, in (0, 1]: the share of differences at least as large, the observed one among them.

    See Phipson and Smyth, Permutation p-values should never be zero, 2010.
    """
    return float(1 + (np.abs(differences) >= abs(observed) - ROUNDING).sum()) / (1 + len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of one family of tests, adjusted so that one below alpha errs with probability alpha in the whole family.

    See Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
