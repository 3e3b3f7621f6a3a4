"""Resample the clips of a split, or swap them between two rows, with the same draws for every row of a table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from transm3e.data.annotations import SPLITS, read_clip_table
from transm3e.errors import UserError
from transm3e.metrics.bootstrap import bootstrap_map, centred, draw_counts, draw_swaps, swapped_differences
from transm3e.prepare.jobs import cores
from transm3e.progress import map_with_progress
from transm3e.report.ensemble import PREDICTIONS
from transm3e.report.scores import read_predictions
from transm3e.runs.folder import RESULTS
from transm3e.runs.plan import Run

# First parts of the generators' keys, so that a table comes out the same every time.
BOOTSTRAP, PERMUTATION = 0, 1
FEWEST = 2  # clips, or activities, to draw from
SAME = 1e-6  # mAP of one set of scores, computed twice


@dataclass(frozen=True)
class ClipScores:
    """Scores of N clips for C muscles, clips by rising path.

    Attributes:
        file: of the predictions.
        split: their split.
        mAP: of these scores, in [0, 1].
        clips: (N,) str array, paths in the clip table.
        scores: (N, C) float32.
        labels: (N, C) uint8 of 0 and 1.
        activities: of each clip; None if they were not read.
    """

    file: Path
    split: str
    mAP: float
    clips: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    activities: tuple[str, ...] | None = None


def read_clip_scores(run: Run, split: str, expected: float, with_activities: bool) -> ClipScores:
    """Read the predictions of a split behind a run's results.

    Args:
        expected: the mAP in results.json, in [0, 1].
        with_activities: look up the clips' activities in the clip table.

    Raises:
        UserError: the file is missing, damaged or not the one that was scored, or clips are not in the clip table.
    """
    file = run.folder / PREDICTIONS / f"{split}.npz"
    found = read_predictions(file)
    order = np.argsort(found.clips, kind="stable")
    clips, scores, labels = found.clips[order], found.scores[order], found.labels[order]
    mean = float(bootstrap_map(scores, labels, np.ones((1, len(clips)), np.uint8))[0]) if len(clips) else np.nan
    if found.split != split or not abs(mean - expected) < SAME:
        raise UserError(
            f"{file} is not what {RESULTS} was made from (mAP {mean:.6f} of {found.split}, there {expected:.6f}); "
            f"delete {RESULTS} and run the test again"
        )
    activities = None
    if with_activities:
        known, table = _activity_of(run.cfg.DATA.PATH_TO_DATA_DIR), run.cfg.DATA.PATH_TO_DATA_DIR
        missing = next((clip for clip in clips.tolist() if clip not in known), None)
        if missing is not None:
            raise UserError(f"{file}: the clip table in {table} has no clip {missing}")
        activities = tuple(known[clip] for clip in clips.tolist())
    return ClipScores(file, split, mean, clips, scores, labels, activities)


@cache
def _activity_of(table: str) -> dict[str, str]:
    clips = read_clip_table(table)
    return dict(zip(clips.paths.tolist(), clips.activities.tolist(), strict=True))


class Draws:
    """Draws of the clips of each split, of whole activities where the scores have them.

    Args:
        resamples: how many.
    """

    def __init__(self, resamples: int) -> None:
        self.resamples = resamples
        self._drawn: dict[Hashable, np.ndarray] = {}

    def bootstrap(self, scores: ClipScores) -> np.ndarray:
        """(R,) mAP in percent of the resamples, centred on the score.

        Raises:
            UserError: there are too few clips or activities to draw from.
        """
        samples = bootstrap_map(scores.scores, scores.labels, self._draw(draw_counts, BOOTSTRAP, scores))
        return 100 * centred(samples, scores.mAP)

    def permutation(self, first: ClipScores, second: ClipScores) -> np.ndarray:
        """(R,) differences in percentage points under the assumption that both are alike.

        Raises:
            UserError: they were not scored on the same clips.
        """
        if not np.array_equal(first.clips, second.clips) or not np.array_equal(first.labels, second.labels):
            raise UserError(
                f"{first.file} and {second.file} hold different clips or labels; evaluate both on one clip table "
                "(missing_clips.csv beside results.json names clips that a run could not read)"
            )
        swaps = self._draw(draw_swaps, PERMUTATION, first)
        return 100 * swapped_differences(first.scores, second.scores, first.labels, swaps)

    def _draw(self, draw: Callable[..., np.ndarray], purpose: int, scores: ClipScores) -> np.ndarray:
        groups, clips = scores.activities, len(scores.clips)
        unit, number = ("clip", clips) if groups is None else ("activity", len(set(groups)))
        if number < FEWEST:
            raise UserError(f"{scores.file}: {scores.split} has one {unit} only, so nothing can be drawn from it")
        kind = (purpose, scores.split, clips, groups)
        # Two threads may both draw; they draw the same.
        if kind not in self._drawn:
            self._drawn[kind] = draw(clips, self.resamples, (purpose, SPLITS.index(scores.split)), groups)
        return self._drawn[kind]


def each(jobs: Mapping[tuple, Callable[[], np.ndarray]], title: str) -> dict[tuple, np.ndarray | UserError]:
    """Run jobs in threads, with progress -> their results or errors."""

    def run(job: Callable[[], np.ndarray]) -> np.ndarray | UserError:
        try:
            return job()
        except UserError as error:
            return error

    return dict(zip(jobs, map_with_progress(run, list(jobs.values()), cores(), title, "it"), strict=True))
