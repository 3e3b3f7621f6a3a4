"""Scores of every clip of a split: views averaged, each clip once, whatever the number of processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from fvcore.common.config import CfgNode

from transm3e.data.loader import ClipLoader, build_loader
from transm3e.data.types import Batch, FailedClip
from transm3e.engine.distributed import gather, is_main, rank, world_size
from transm3e.progress import track
from transm3e.tasks import Classify

logger = logging.getLogger(__name__)


@dataclass
class Predictions:
    """N clips of a split, by rising row of the clip table.

    Attributes:
        rows: (N,) int64.
        paths: N video files.
        scores: (N, C) float32 in [0, 1], the mean over views.
        labels: (N, C) uint8 of 0 and 1.
        failed: clips that could not be decoded, each once; they are in none of the above.
    """

    rows: np.ndarray
    paths: list[str]
    scores: np.ndarray
    labels: np.ndarray
    failed: list[FailedClip] = field(default_factory=list)


class Evaluator:
    """Scores splits with a task, again and again.

    Args:
        loaders: split -> its loader in evaluation mode.
        device: where the task's model is.
    """

    def __init__(self, loaders: dict[str, ClipLoader], device: torch.device) -> None:
        self.loaders, self.device = loaders, device
        self._named: set[str] = set()

    @classmethod
    def from_cfg(
        cls, cfg: CfgNode, splits: Sequence[str], device: torch.device, single_view: bool = False
    ) -> Evaluator:
        """Loaders of this process's share; `single_view`: one view per clip, as a quick look while training."""
        share = {"rank": rank(), "world_size": world_size()}
        return cls({s: build_loader(cfg, s, **share, single_view=single_view) for s in splits}, device)

    def __call__(self, task: Classify) -> dict[str, Predictions]:
        """Split -> predictions, the same on every process. The log names clips that cannot be read, once."""
        predictions = {
            split: predict(task, loader.epoch(0), self.device, split, len(loader))
            for split, loader in self.loaders.items()
        }
        for split, found in predictions.items():
            for clip in found.failed:
                if clip.path not in self._named and is_main():
                    logger.warning("%s: left out of the scores: %s: %s", split, clip.path, clip.reason)
                self._named.add(clip.path)
        return predictions


def predict(
    task: Classify, batches: Iterable[Batch], device: torch.device, title: str, num_batches: int
) -> Predictions:
    """Run a task over all views of a split.

    Args:
        task: its `predict` gives scores (B, C).
        batches: this process's share of the split.
        title, num_batches: for the progress bar.
    """
    rows, paths, scores, labels, failed = [], [], [], [], []
    for batch in track(batches, title, num_batches, "batches") if is_main() else batches:
        failed += batch.failed
        if len(batch):
            on_device = batch.to(device)
            scores.append(task.predict(on_device).cpu().numpy())
            labels.append(batch.labels.numpy())
            rows.append(batch.rows.numpy())
            paths += batch.paths
    shares = gather((rows, paths, scores, labels, failed))
    return average_views(*(list(chain.from_iterable(part)) for part in zip(*shares, strict=True)))


def average_views(
    rows: list[np.ndarray],
    paths: list[str],
    scores: list[np.ndarray],
    labels: list[np.ndarray],
    failed: list[FailedClip],
) -> Predictions:
    """Mean of the scores of each clip's views; a clip of which any view failed is failed as a whole."""
    once = {clip.row: clip for clip in failed}
    unique_failed = [once[row] for row in sorted(once)]
    if not rows:
        return Predictions(
            np.empty(0, np.int64), [], np.empty((0, 0), np.float32), np.empty((0, 0), np.uint8), unique_failed
        )
    all_rows, all_scores, all_labels = np.concatenate(rows), np.concatenate(scores), np.concatenate(labels)
    keep, first, clip_of_view = np.unique(all_rows, return_index=True, return_inverse=True)
    total = np.zeros((len(keep), all_scores.shape[1]))
    np.add.at(total, clip_of_view, all_scores.astype(np.float64))
    mean = (total / np.bincount(clip_of_view)[:, None]).astype(np.float32)
    whole = ~np.isin(keep, list(once))
    return Predictions(
        rows=keep[whole],
        paths=[paths[i] for i in first[whole]],
        scores=mean[whole],
        labels=all_labels[first][whole].astype(np.uint8),
        failed=unique_failed,
    )
