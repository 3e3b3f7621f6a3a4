"""Average precision of clips that count several times or not at all, for thousands of such weightings at once.

Legend: N clips, R weightings (resamples), C muscles, G thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 16  # rows summed one after the other: with counts up to 15 in one byte
CHUNK = 1_600_000  # counts worked on at once


@dataclass(frozen=True)
class SortedMuscle:
    """The clips of one muscle by falling score, sorted once for all weightings.

    Clips of equal score share a threshold; thresholds at which no clip carries the muscle add nothing and are left out.

    Attributes:
        order: clips down to the last threshold.
        positives: those of them that carry the muscle, in the same order.
        ends: (G,) the last place in `order` of each threshold.
        positive_ends: (G,) the last place in `positives` of each threshold.
    """

    order: np.ndarray
    positives: np.ndarray
    ends: np.ndarray
    positive_ends: np.ndarray


def sort_muscles(scores: np.ndarray, labels: np.ndarray) -> list[SortedMuscle]:
    """Scores and labels (N, C) -> the muscles that at least one clip carries."""
    return [_sorted(scores[:, c], labels[:, c]) for c in np.flatnonzero(labels.any(axis=0))]


def _sorted(scores: np.ndarray, labels: np.ndarray) -> SortedMuscle:
    order = np.argsort(-scores, kind="stable")
    falling, carried = scores[order], labels[order] > 0
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    hits = np.cumsum(carried)[ends]
    counts = np.diff(hits, prepend=0) > 0
    last = ends[counts][-1] + 1
    return SortedMuscle(order[:last], order[carried], ends[counts], hits[counts] - 1)


def seen_and_hits(muscle: SortedMuscle, counts: np.ndarray, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """How many clips are at or above each threshold, and how many of them carry the muscle.

    Args:
        counts: (N, R) of an unsigned type that holds BLOCK of them.
        kind: an unsigned type that holds the sum of a column.

    Returns:
        Two arrays (G, R) of that kind.
    """
    seen = _sums_to(counts.take(muscle.order, axis=0), muscle.ends, kind)
    hits = _sums_to(counts.take(muscle.positives, axis=0), muscle.positive_ends, kind)
    return seen, hits


def average_precisions(seen: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """(R,) float64 from what seen_and_hits gives; NaN where no clip that counts carries the muscle."""
    precision = np.divide(hits, np.maximum(seen, 1), dtype=np.float64)
    precision[1:] *= hits[1:] - hits[:-1]
    precision[0] *= hits[0]
    total = hits[-1].astype(np.float64)
    return np.divide(precision.sum(axis=0), total, out=np.full(len(total), np.nan), where=total > 0)


def mean_over_muscles(ap_CR: np.ndarray) -> np.ndarray:
    """(C, R) -> (R,) over the muscles with a value, as mean_average_precision does; NaN where none has one."""
    there = ~np.isnan(ap_CR)
    number = there.sum(axis=0)
    total = np.where(there, ap_CR, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)


def columns(counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.dtype]]:
    """Counts (R, N) -> pieces (N, R') in order, small enough to work on, and the kind of seen_and_hits; N fits it too."""
    width = max(1, CHUNK // max(1, counts.shape[1]))
    small = np.min_scalar_type(BLOCK * int(counts.max(initial=0)))
    kind = np.min_scalar_type(int(counts.sum(axis=1, dtype=np.int64).max(initial=counts.shape[1])))
    for begin in range(0, len(counts), width):
        yield np.ascontiguousarray(counts[begin : begin + width].T, dtype=small), kind


def _sums_to(rows: np.ndarray, places: np.ndarray, kind: np.dtype) -> np.ndarray:
    """np.cumsum(rows, axis=0, dtype=kind)[places], many times as fast; overwrites `rows`.

    Whole rows are added, within blocks in the small type of the counts; what is before a block comes on top where it is
    asked for.
    """
    for place in range(1, BLOCK):
        below = rows[place::BLOCK]
        below += rows[place - 1 :: BLOCK][: len(below)]
    blocks = rows[BLOCK - 1 :: BLOCK]
    before = np.zeros((len(blocks) + 1, rows.shape[1]), kind)
    before[1:] = blocks
    for number in range(2, len(before)):
        before[number] += before[number - 1]
    sums = before[places // BLOCK]
    sums += rows[places]
    return sums
