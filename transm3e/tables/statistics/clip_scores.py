"""What a run predicted for each clip of a split, in an order that all runs share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from transm3e.data.annotations import read_clip_table
from transm3e.errors import UserError
from transm3e.metrics.bootstrap import bootstrap_map
from transm3e.report.ensemble import PREDICTIONS
from transm3e.report.scores import read_predictions
from transm3e.runs.folder import RESULTS
from transm3e.runs.plan import Run

SAME = 1e-6  # mAP of one set of scores, computed twice


@dataclass(frozen=True)
class ClipScores:
    """Scores of N clips for C muscles, clips by rising path.

    Attributes:
        file: where they stand.
        split: which split.
        mAP: of these scores, in [0, 1].
        clips: (N,) str array, paths in the clip table.
        scores: (N, C) float32.
        labels: (N, C) uint8 of 0 and 1.
        activities: (N,) str array; None where they were not asked for.
    """

    file: Path
    split: str
    mAP: float
    clips: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    activities: np.ndarray | None = None


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
    activities = _activities(run, clips, file) if with_activities else None
    return ClipScores(file, split, mean, clips, scores, labels, activities)


def check_same_clips(first: ClipScores, second: ClipScores) -> None:
    """Whether two runs were scored on the same clips.

    Raises:
        UserError: clips or labels differ.
    """
    if not np.array_equal(first.clips, second.clips) or not np.array_equal(first.labels, second.labels):
        raise UserError(
            f"{first.file} and {second.file} hold different clips or labels; evaluate both on one clip table "
            "(missing_clips.csv beside results.json names clips that a run could not read)"
        )


def _activities(run: Run, clips: np.ndarray, file: Path) -> np.ndarray:
    known = _activity_of(run.cfg.DATA.PATH_TO_DATA_DIR)
    missing = next((clip for clip in clips.tolist() if clip not in known), None)
    if missing is not None:
        raise UserError(f"{file}: the clip table in {run.cfg.DATA.PATH_TO_DATA_DIR} has no clip {missing}")
    return np.array([known[clip] for clip in clips.tolist()])


@cache
def _activity_of(table: str) -> dict[str, str]:
    clips = read_clip_table(table)
    return dict(zip(clips.paths.tolist(), clips.activities.tolist(), strict=True))
