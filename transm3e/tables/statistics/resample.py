"""Clips of a split drawn anew, or swapped between two rows: the same draws for every row of a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from transm3e.data.annotations import SPLITS
from transm3e.errors import UserError
from transm3e.metrics.bootstrap import bootstrap_map, centred, draw_counts
from transm3e.metrics.permutation import draw_swaps, swapped_differences
from transm3e.progress import track
from transm3e.tables.statistics.clip_scores import ClipScores, check_same_clips

# First parts of the generators' keys, so that a table comes out the same every time.
BOOTSTRAP, PERMUTATION = 0, 1
FEWEST = 2  # clips, or activities, to draw from

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Draws:
    """Draws of the clips of each split.

    Args:
        resamples: how many.
        by_clip: draw single clips instead of whole activities.
    """

    def __init__(self, resamples: int, by_clip: bool) -> None:
        self.resamples, self.by_clip = resamples, by_clip
        self._drawn: dict[Hashable, np.ndarray] = {}

    def bootstrap(self, scores: ClipScores) -> np.ndarray:
        """(R,) mAP in percent of resamples, centred on the figure.

        Raises:
            UserError: there is too little to draw from.
        """
        samples = bootstrap_map(scores.scores, scores.labels, self._draw(draw_counts, BOOTSTRAP, scores))
        return 100 * centred(samples, scores.mAP)

    def permutation(self, first: ClipScores, second: ClipScores) -> np.ndarray:
        """(R,) differences in percentage points under the assumption that both are alike.

        Raises:
            UserError: they were not scored on the same clips.
        """
        check_same_clips(first, second)
        swaps = self._draw(draw_swaps, PERMUTATION, first)
        return 100 * swapped_differences(first.scores, second.scores, first.labels, swaps)

    def _draw(self, draw: Callable[..., np.ndarray], purpose: int, scores: ClipScores) -> np.ndarray:
        groups = self._groups(scores)
        kind = (purpose, scores.split, len(scores.clips), groups)
        # Two threads may both draw: what they draw is the same.
        if kind not in self._drawn:
            key = (purpose, SPLITS.index(scores.split))
            self._drawn[kind] = draw(len(scores.clips), self.resamples, key, groups)
        return self._drawn[kind]

    def _groups(self, scores: ClipScores) -> tuple[str, ...] | None:
        groups = None if scores.activities is None else tuple(scores.activities.tolist())
        unit, number = ("clip", len(scores.clips)) if groups is None else ("activity", len(set(groups)))
        if number < FEWEST:
            raise UserError(f"{scores.file}: {scores.split} has one {unit} only, so nothing can be drawn from it")
        return groups


def each(jobs: Mapping[Key, Callable[[], Value]], title: str) -> tuple[dict[Key, Value], dict[Key, str]]:
    """Results of jobs, and why some have none, a UserError's message; run in threads, with progress."""

    def run(job: Callable[[], Value]) -> Value | UserError:
        try:
            return job()
        except UserError as error:
            return error

    # numpy lets go of the interpreter while it computes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ended = list(zip(jobs, track(pool.map(run, jobs.values()), title, len(jobs)), strict=True))
    errors = {key: str(result) for key, result in ended if isinstance(result, UserError)}
    return {key: result for key, result in ended if not isinstance(result, UserError)}, errors
