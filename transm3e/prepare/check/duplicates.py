"""Duplicate clips: equal byte for byte, or near-duplicates by their fingerprints.

All pairs are compared exactly, as products of blocks of +-1 matrices; no sorting or hashing can miss a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from transm3e.data.annotations import ClipTable
from transm3e.prepare.check.finding import DUPLICATE, Finding
from transm3e.prepare.check.fingerprint import MAX_MOVED, MAX_SCENE, MAX_STILL, MOVED_BITS, unpack
from transm3e.prepare.check.video import VideoFacts

BLOCK = 512  # rows compared at once: about 30 MB per 15,000 clips
# (a clip's row, rows of others that show the same, bits of movement that differ)
Copies = tuple[int, np.ndarray, np.ndarray]


def duplicate_findings(table: ClipTable, videos: Sequence[VideoFacts]) -> tuple[list[Finding], list[Finding]]:
    """Clips that occur twice.

    Each clip is named once, with its nearest copy and the number of the others.

    Args:
        table: N clips.
        videos: N, the facts about each; faulty videos are left out.

    Returns:
        (problems: clips of evaluation splits that are also in train; notes: clips that occur twice within train or
        within the evaluation splits), in the table's order.
    """
    train = table.splits == "train"
    problems: dict[int, Finding] = {}
    notes: dict[int, Finding] = {}
    for row, others, distances in chain(_equal(videos), _similar(videos)):
        leaks = ~train[row] & train[others]
        if row not in problems and leaks.any():
            problems[row] = _finding(table, row, others[leaks], distances[leaks])
        within = (train[row] == train[others]) & (others < row)
        if row not in notes and within.any():
            notes[row] = _finding(table, row, others[within], distances[within])
    return [problems[row] for row in sorted(problems)], [notes[row] for row in sorted(notes)]


def _finding(table: ClipTable, row: int, others: np.ndarray, distances: np.ndarray) -> Finding:
    nearest = int(np.argmin(distances))
    other, apart = others[nearest], int(distances[nearest])
    how = "duplicate: the same bytes as" if apart < 0 else f"near-duplicate ({apart} of {MOVED_BITS} bits differ) of"
    more = f" and of {len(others) - 1} more" if len(others) > 1 else ""
    reason = f"{how} {table.paths[other]} in {table.splits[other]}{more}"
    return Finding(str(table.splits[row]), str(table.paths[row]), reason, DUPLICATE)


def _equal(videos: Sequence[VideoFacts]) -> Iterator[Copies]:
    """Clips with the same bytes; their distance is -1."""
    groups: dict[str, list[int]] = {}
    for row, facts in enumerate(videos):
        if facts.content and not facts.fault:
            groups.setdefault(facts.content, []).append(row)
    for rows in groups.values():
        for row in rows if len(rows) > 1 else ():
            others = np.array([other for other in rows if other != row])
            yield row, others, np.full(len(others), -1)


def _similar(videos: Sequence[VideoFacts]) -> Iterator[Copies]:
    """Clips whose fingerprints are near each other, row by row."""
    rows = np.array([row for row, facts in enumerate(videos) if facts.fingerprint and not facts.fault], dtype=int)
    if len(rows) < 2:
        return
    scenes, movement = unpack([videos[row].fingerprint for row in rows])
    still = np.equal(movement.max(axis=1), 0)
    signs = [2.0 * bits.astype(np.float32) - 1.0 for bits in (movement, scenes)]
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        moved, scene = (_differing(bits[block], bits) for bits in signs)
        allowed = np.where(still[block, None] & still[None], MAX_STILL, MAX_SCENE)
        same = np.logical_and(moved <= MAX_MOVED, scene <= allowed)
        same[np.arange(len(same)), np.arange(start, start + len(same))] = False
        for i in np.flatnonzero(same.any(axis=1)):
            others = np.flatnonzero(same[i])
            yield int(rows[start + i]), rows[others], moved[i, others]


def _differing(some: np.ndarray, every: np.ndarray) -> np.ndarray:
    """(n, bits) and (N, bits) of +-1 -> (n, N) numbers of bits that differ; exact, as float32 counts to 2^24."""
    return (every.shape[1] - some @ every.T) / 2
