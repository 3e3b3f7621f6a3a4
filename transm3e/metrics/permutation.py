"""Paired permutation test of two models that scored the same clips.

Legend: N clips, R permutations, C muscles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from transm3e.metrics.average_precision import _checked
from transm3e.metrics.weighted import average_precisions, columns, mean_over_muscles, seen_and_hits, sort_muscles

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
    muscles = sort_muscles(np.concatenate([_ranks(first_NC), _ranks(second_NC)]), np.concatenate([labels_NC] * 2))
    if not muscles:
        raise ValueError("no clip carries any muscle, so there is no mAP to compare")
    # Each clip is there twice, as the first model and as the second ranks it; one of the two counts.
    stays = np.concatenate([~swaps, swaps], axis=1).view(np.uint8)
    differences = []
    for piece, kind in columns(stays):
        ours, theirs = [], []
        for muscle in muscles:
            seen, hits = seen_and_hits(muscle, piece, kind)
            ours.append(average_precisions(seen, hits))
            # What does not count for one side counts for the other.
            all_seen, all_hits = ((places + 1).astype(kind)[:, None] for places in (muscle.ends, muscle.positive_ends))
            theirs.append(average_precisions(all_seen - seen, all_hits - hits))
        differences.append(mean_over_muscles(np.stack(ours)) - mean_over_muscles(np.stack(theirs)))
    return np.concatenate(differences)


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


def _ranks(scores: np.ndarray) -> np.ndarray:
    """(N, C) from 1 for the lowest; equal scores get their mean rank."""
    ranks = np.empty(scores.shape)
    for c in range(scores.shape[1]):
        _, places, counts = np.unique(scores[:, c], return_inverse=True, return_counts=True)
        ranks[:, c] = (np.cumsum(counts) - (counts - 1) / 2)[places.ravel()]
    return ranks
