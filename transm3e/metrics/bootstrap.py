"""Bootstrap over clips (how much a split's mAP varies with the choice of clips) and a paired permutation test.

Legend: N clips, R resamples or permutations, C muscles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from transm3e.metrics.average_precision import _checked

LEVEL = 0.95
CHUNK = 1_600_000  # counts processed at once
ROUNDING = 1e-12  # differences closer than this count as equal
BLOCK = 16  # rows per cumulative sum, so that counts up to 15 fit into one byte


def draw_counts(clips: int, resamples: int, key: Sequence[int], groups: ArrayLike | None = None) -> np.ndarray:
    """How often each clip is in each resample, drawn with replacement; the same key gives the same draws.

    Rows of a table share a split's draws, so that they can be compared clip by clip. See Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, chapter 6; for groups Field and Welsh, Bootstrapping clustered data, 2007.

    Args:
        clips: N.
        resamples: R.
        key: of the generator, non-negative numbers.
        groups: (N,) names of groups of similar clips; whole groups are drawn, as many as there are. None = each clip is
            its own group.

    Returns:
        (R, N) unsigned integers.
    """
    generator = np.random.default_rng(list(key))
    members, number = _members(clips, groups)
    # Contiguous by clip, as all resamples of a clip are used together.
    drawn = np.empty((number, resamples), np.min_scalar_type(number))
    for resample in range(resamples):
        drawn[:, resample] = np.bincount(generator.integers(number, size=number), minlength=number)
    return drawn[members].T


def _members(clips: int, groups: ArrayLike | None) -> tuple[np.ndarray, int]:
    """(N,) the group of each clip, from 0, and the number of groups."""
    members = np.arange(clips) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    return members, int(members.max(initial=-1)) + 1


def bootstrap_map(scores: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor, counts: np.ndarray) -> np.ndarray:
    """mean_average_precision of each resample.

    Equal to the mAP of the repeated clips: clips of equal score share a threshold, and the mean is over the muscles that a
    clip of the resample carries.

    Args:
        scores: (N, C) real numbers.
        labels: (N, C) of 0 and 1.
        counts: (R, N) non-negative integers, how often each clip is in each resample.

    Returns:
        (R,) float64 in [0, 1]; NaN for a resample in which no clip carries any muscle.

    Raises:
        ValueError, UserError: as average_precision; counts are not (R, N) non-negative integers.
    """
    scores_NC, labels_NC = _checked(scores, labels)
    if counts.ndim != 2 or counts.shape[1] != len(scores_NC) or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(
            f"counts are {counts.dtype} {counts.shape}; allowed: non-negative integers (resamples, {len(scores_NC)} clips)"
        )
    muscles = np.flatnonzero(labels_NC.any(axis=0))
    rows = max(1, CHUNK // len(scores_NC))
    small = np.min_scalar_type(BLOCK * int(counts.max(initial=0)))
    parts = [np.ascontiguousarray(part.T, dtype=small) for part in np.split(counts, range(rows, len(counts), rows))]
    return np.concatenate(
        [
            _mean_over_muscles([_average_precisions(scores_NC[:, c], labels_NC[:, c], part) for c in muscles], part)
            for part in parts
        ]
    )


def _average_precisions(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(N,) scores and labels, (N, R) counts -> (R,) AP; NaN where no clip that counts carries the muscle."""
    order = np.argsort(-scores, kind="stable")
    # The last clip of each threshold, which clips of equal score share; thresholds without a positive add nothing.
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = np.cumsum(labels[order], dtype=np.int64)[ends]
    ends, found = (each[np.diff(found, prepend=0) > 0] for each in (ends, found))
    seen = _sums_to(counts[order[: ends[-1] + 1]], ends)
    hits = _sums_to(counts[order[labels[order] > 0]], found - 1)
    gained = (np.diff(hits, axis=0, prepend=0) * (hits / np.maximum(seen, 1))).sum(axis=0)
    return np.divide(gained, hits[-1], out=np.full(counts.shape[1], np.nan), where=hits[-1] > 0)


def _sums_to(rows: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """np.cumsum(rows, axis=0)[indices], ten times as fast: blockwise in the small type of the counts; overwrites `rows`."""
    for row in range(1, BLOCK):
        below = rows[row::BLOCK]
        below += rows[row - 1 :: BLOCK][: len(below)]
    before = np.zeros((len(rows) // BLOCK + 1, rows.shape[1]), np.int32)
    np.cumsum(rows[BLOCK - 1 :: BLOCK], axis=0, out=before[1:])
    return before[indices // BLOCK] + rows[indices]


def _mean_over_muscles(precisions: Sequence[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """(R,) over the muscles with a value, as mean_average_precision does; NaN where none has one."""
    ap_CR = np.stack([np.full(counts.shape[1], np.nan), *precisions])
    known = (~np.isnan(ap_CR)).sum(axis=0)
    return np.divide(np.nansum(ap_CR, axis=0), known, out=np.full(len(known), np.nan), where=known > 0)


def centred(samples: np.ndarray, observed: float) -> np.ndarray:
    """(R,) resampled values, shifted so that their mean is the observed value; NaN stays.

    A resample repeats clips, which raises average precision: without the shift percentiles are too high (on 120 clips by
    about the standard error). An interval of the shifted values covers the value expected on as many other clips of the
    same kind, not the value of an infinite split.
    """
    known = samples[~np.isnan(samples)]
    return samples - known.mean() + observed if len(known) else samples


def percentile_interval(samples: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of (R,) resampled values (Efron and Tibshirani 1993, chapter 13), NaN ignored.

    Raises:
        ValueError: all are NaN.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        raise ValueError("no resample has a value; an interval needs clips that carry a muscle")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def draw_swaps(clips: int, permutations: int, key: Sequence[int], groups: ArrayLike | None = None) -> np.ndarray:
    """Which clips change sides in each permutation, each with probability 1/2; the same key gives the same draws.

    Args:
        groups: (N,) names; the clips of a group change sides together. None = each clip is its own group.

    Returns:
        (R, N) bool.
    """
    members, number = _members(clips, groups)
    swaps = np.random.default_rng(list(key)).integers(2, size=(number, permutations), dtype=np.uint8)
    return swaps[members].T.astype(bool)


def swapped_differences(
    first: ArrayLike | torch.Tensor,
    second: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    swaps: np.ndarray,
) -> np.ndarray:
    """mAP of the first minus mAP of the second, after the scores of some clips have changed sides.

    If the models are equally good, a clip's scores could as well be the other's, so the observed difference is one of
    these (Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989, approximate
    randomisation). Models score on different scales, and mAP depends on the order of clips only, so a clip's ranks
    within model and muscle are swapped (mean ranks for equal scores).

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
    # Each clip occurs twice, as ranked by the first and by the second model; one of the two counts.
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
    """p-values of one family of tests, adjusted to bound the family-wise error rate: reject those below alpha.

    See Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, test in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[test]))
        adjusted[test] = largest
    return adjusted
