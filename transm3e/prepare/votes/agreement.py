"""How far the sources of one activity agree. Both figures take (N, 20) ballots of 0 and 1, one row per source."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def mean_jaccard(ballots: np.ndarray) -> float | None:
    """Mean over all pairs of sources of (regions both name) / (regions either names), in [0, 1].

    Two sources that name no region at all agree: 1. None for fewer than two sources.
    """
    pairs = [_jaccard(a, b) for a, b in combinations(ballots.astype(bool), 2)]
    return float(np.mean(pairs)) if pairs else None


def fleiss_kappa(ballots: np.ndarray) -> float | None:
    """Fleiss' kappa of N sources that put each region into "named" or "not named", at most 1; 0 is chance.

    With n_i votes for region i of R and p = sum(n_i) / (N R): the observed agreement is the mean over the regions of
    (n_i (n_i - 1) + (N - n_i) (N - n_i - 1)) / (N (N - 1)), that of chance p^2 + (1 - p)^2, and kappa =
    (observed - chance) / (1 - chance) (Fleiss, Psychological Bulletin 76, 1971). None for fewer than two sources,
    and where all of them name all regions or none.
    """
    sources, regions = ballots.shape
    if sources < 2:
        return None
    votes = ballots.sum(0, dtype=np.float64)
    share = votes.sum() / (sources * regions)
    chance = share**2 + (1 - share) ** 2
    if chance == 1:
        return None
    against = sources - votes
    observed = np.mean(votes * (votes - 1) + against * (against - 1)) / (sources * (sources - 1))
    return float((observed - chance) / (1 - chance))


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0
