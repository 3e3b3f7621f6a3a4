"""A baseline from two poses: scikit-learn's logistic regression per muscle, to compare networks with.

Its only input are the 3D joints of a clip's first and middle frames; it is deterministic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from transm3e.data.annotations import SPLITS, ClipTable, read_clip_table
from transm3e.data.skeleton import read_skeleton
from transm3e.data.skeleton.clip import mirror_order, to_layout
from transm3e.data.skeleton.streams import normalize
from transm3e.errors import UserError
from transm3e.metrics import average_precision
from transm3e.prepare.free_exercise.poses import FOLDS
from transm3e.runs.results import split_result

LAYOUT = "body23"
# Inverse penalty strengths; cross-validation over the activities of train selects one.
STRENGTHS = (1e-2, 1e-1, 1.0, 10.0)
TRAIN = "train"


def logistic_splits(root: Path) -> tuple[dict[str, Any], float]:
    """Fit on the clips of train, mirrored ones too, and score the other splits.

    Args:
        root: what prepare_poses made.

    Returns:
        Split -> split_result of the scores; and the strength taken, of STRENGTHS.

    Raises:
        UserError: the table is wrong, or train is empty or too small to be divided.
    """
    table = read_clip_table(root)
    poses = np.stack([_two_poses(root, cell) for cell in table.skeletons])
    views = _features(poses), _features(_mirrored(poses))
    train = table.splits == TRAIN
    if len(set(table.activities[train])) < FOLDS:
        raise UserError(f"{root}: train has too few activities for {FOLDS} folds; leave out --logistic")
    strength = max(STRENGTHS, key=lambda each: _cross_validated(views, table, train, each))
    scores = _scores(views, table.labels, train, np.ones(len(train), bool), strength)
    rows = {split: table.splits == split for split in SPLITS if split != TRAIN}
    return {split: split_result(scores[row], table.labels[row]) for split, row in rows.items() if row.any()}, strength


def _two_poses(root: Path, cell: str) -> np.ndarray:
    """(2, V, 4) x, y, z in metres and score."""
    skeleton = read_skeleton(str(root / cell))
    frames = [0, skeleton.num_frames // 2]
    joints = np.concatenate([skeleton.joints(frames), skeleton.world_joints(frames)], axis=-1)[:, 0]
    return to_layout(joints, skeleton.layout, LAYOUT)[..., [3, 4, 5, 2]]


def _mirrored(poses: np.ndarray) -> np.ndarray:
    other: np.ndarray = poses[:, :, mirror_order(LAYOUT)] * np.array([-1, 1, 1, 1], poses.dtype)
    return other


def _features(poses: np.ndarray) -> np.ndarray:
    """(N, 2, V, 4) -> (N, F): both poses, seen from the front, and how far each joint comes."""
    clips = torch.as_tensor(poses, dtype=torch.float32).permute(0, 3, 1, 2)[..., None]
    seen = normalize(clips, "body", LAYOUT)[:, :3, ..., 0].numpy()
    start, end = seen[:, :, 0].reshape(len(seen), -1), seen[:, :, 1].reshape(len(seen), -1)
    return np.concatenate([start, end, np.abs(end - start)], axis=1)


def _cross_validated(
    views: tuple[np.ndarray, np.ndarray], table: ClipTable, train: np.ndarray, strength: float
) -> float:
    """Mean average precision over folds of activities, which are never divided."""
    from sklearn.model_selection import GroupKFold

    numbers = np.flatnonzero(train)
    scores = np.zeros(table.labels.shape)
    for fitted, left_out in GroupKFold(FOLDS).split(numbers, groups=table.activities[numbers]):
        chosen, asked = np.zeros(len(train), bool), np.zeros(len(train), bool)
        chosen[numbers[fitted]], asked[numbers[left_out]] = True, True
        scores[asked] = _scores(views, table.labels, chosen, asked, strength)
    return float(np.nanmean(average_precision(scores[train], table.labels[train])))


def _scores(
    views: tuple[np.ndarray, np.ndarray], labels: np.ndarray, train: np.ndarray, asked: np.ndarray, strength: float
) -> np.ndarray:
    """(asked clips, 20) decision values, the mean of both views; 0 for a muscle without examples on both sides."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    examples = np.concatenate([view[train] for view in views])
    scores = np.zeros((int(asked.sum()), labels.shape[1]))
    for muscle, truth in enumerate(labels[train].T):
        if 0 < truth.sum() < len(truth):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
            model.fit(examples, np.tile(truth, len(views)))
            scores[:, muscle] = np.mean([model.decision_function(view[asked]) for view in views], axis=0)
    return scores
