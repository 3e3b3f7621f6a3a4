"""Scores of every clip of a split: views are averaged, each clip counts once with any number of processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from fvcore.common.config import CfgNode

from transm3e.config.targets import MUSCLE_TARGET
from transm3e.data.annotations import MUSCLES
from transm3e.data.loader import ClipLoader, build_loader
from transm3e.data.types import Batch, FailedClip
from transm3e.engine.precision import Precision
from transm3e.engine.processes.distributed import gather, highest, is_main, local_size, note, rank, world_size
from transm3e.engine.processes.signals import stop_request
from transm3e.errors import RESUMES, ExitRequest
from transm3e.progress import track
from transm3e.tasks import Classify

logger = logging.getLogger(__name__)
# DATA.ENSEMBLE_METHOD -> how the scores of a clip's views are combined; a sum is divided by their number.
ENSEMBLES = {"sum": np.add, "max": np.maximum}


@dataclass
class ScoredSplit:
    """N clips of a split, sorted by row of the clip table.

    Attributes:
        rows: (N,) int64.
        paths: N video files.
        scores: (N, C) float32 in [0, 1], views combined.
        labels: (N, C) uint8 of 0 and 1.
        failed: clips that could not be decoded, each once; not among the N.
        target: what is predicted, "muscles" or "activity".
        columns: names of the C muscles or activities.
        loss: mean classification loss of the views, None if the labels are of other classes than those that are trained.
    """

    rows: np.ndarray
    paths: list[str]
    scores: np.ndarray
    labels: np.ndarray
    failed: list[FailedClip] = field(default_factory=list)
    target: str = MUSCLE_TARGET
    columns: tuple[str, ...] = MUSCLES
    loss: float | None = None


class Evaluator:
    """Scores splits with a task; can be called repeatedly.

    Args:
        loaders: split -> its loader in evaluation mode.
        device: where the task's model is.
        ensemble: how views are combined, a key of ENSEMBLES.
        precision: of the model's computation; None = fp32.
    """

    def __init__(
        self,
        loaders: dict[str, ClipLoader],
        device: torch.device,
        ensemble: str = "sum",
        precision: Precision | None = None,
    ) -> None:
        self.loaders, self.device, self.ensemble, self.precision = loaders, device, ensemble, precision
        self._named: set[str] = set()

    @classmethod
    def from_cfg(
        cls, cfg: CfgNode, splits: Sequence[str], device: torch.device, single_view: bool = False
    ) -> Evaluator:
        """Loaders of this process's share; `single_view`: one view per clip, for quick validation while training."""
        share = {"rank": rank(), "world_size": world_size(), "local_size": local_size()}
        return cls(
            {s: build_loader(cfg, s, **share, single_view=single_view) for s in splits},
            device,
            cfg.DATA.ENSEMBLE_METHOD,
            # Validation is part of training, which must not depend on TEST.
            Precision.from_cfg(cfg, device, testing=not single_view),
        )

    def __call__(self, task: Classify) -> dict[str, ScoredSplit]:
        """Split -> predictions, the same on every process. The log names clips that cannot be read, once."""
        predictions = {
            split: predict(task, loader.epoch(0), self.device, split, len(loader), self.ensemble, self.precision)
            for split, loader in self.loaders.items()
        }
        for split, found in predictions.items():
            for clip in found.failed:
                if clip.path not in self._named and is_main():
                    logger.warning("%s: left out of the scores: %s: %s", split, clip.path, clip.reason)
                self._named.add(clip.path)
        return predictions


def predict(
    task: Classify,
    batches: Iterable[Batch],
    device: torch.device,
    title: str,
    num_batches: int,
    ensemble: str,
    precision: Precision | None = None,
) -> ScoredSplit:
    """Run a task over all views of a split.

    Args:
        task: `score` gives scores (B, C) of views and their loss, `conclude` those of clips.
        batches: this process's share of the split.
        title, num_batches: for the progress bar.
        ensemble: how views are combined, a key of ENSEMBLES.
        precision: of the model's computation; None = fp32.

    Raises:
        ExitRequest: a process received a signal to stop; all stop between two batches.
    """
    rows, paths, scores, labels, failed, losses = [], [], [], [], [], []
    for batch in _together(track(batches, title, num_batches, "batches") if is_main() else batches, title, device):
        failed += batch.failed
        if len(batch):
            on_device = batch.to(device)
            with precision.autocast() if precision else nullcontext():
                found, loss = task.score(on_device)
            scores.append(found.cpu().numpy())
            losses += [] if loss is None else [(loss.item(), len(batch))]
            labels.append(batch.labels.numpy())
            rows.append(batch.rows.numpy())
            paths += batch.paths
    shares = gather((rows, paths, scores, labels, failed, losses))
    rows, paths, scores, labels, failed, losses = (
        list(chain.from_iterable(part)) for part in zip(*shares, strict=True)
    )
    whole = join_views(rows, paths, scores, labels, failed, ensemble)
    if len(whole.rows):
        whole.scores = task.conclude(torch.from_numpy(whole.scores)).numpy()
    views = sum(count for _, count in losses)
    mean = sum(each * count for each, count in losses) / views if views else None
    return replace(whole, target=task.target, columns=task.columns, loss=mean)


def _together(batches: Iterable[Batch], title: str, device: torch.device) -> Iterator[Batch]:
    """This process's batches; all processes iterate until none has a batch left, so that they can stop together."""
    share, number, more = iter(batches), 0, 1
    with stop_request() as request:
        while more:
            batch = next(share, None)
            told, more = highest([request.signal_number, batch is not None], device)
            request.agree(told)
            if request.agreed:
                raise ExitRequest(f"stopped while scoring {title}; {RESUMES} there", request.exit_status)
            if batch is not None:
                number += 1
                note(f"batch {number} of {title}")
                yield batch


def join_views(
    rows: list[np.ndarray],
    paths: list[str],
    scores: list[np.ndarray],
    labels: list[np.ndarray],
    failed: list[FailedClip],
    ensemble: str = "sum",
) -> ScoredSplit:
    """Mean (or, class by class, maximum) of the scores of each clip's views.

    A clip fails if any of its views failed.
    """
    once = {clip.row: clip for clip in failed}
    unique_failed = [once[row] for row in sorted(once)]
    if not rows:
        return ScoredSplit(
            np.empty(0, np.int64), [], np.empty((0, 0), np.float32), np.empty((0, 0), np.uint8), unique_failed
        )
    all_rows, all_scores, all_labels = np.concatenate(rows), np.concatenate(scores), np.concatenate(labels)
    keep, first, clip_of_view = np.unique(all_rows, return_index=True, return_inverse=True)
    # Scores are 0 or more, so zeros change neither a sum nor a maximum.
    joined = np.zeros((len(keep), all_scores.shape[1]))
    ENSEMBLES[ensemble].at(joined, clip_of_view, all_scores.astype(np.float64))
    if ensemble == "sum":
        joined /= np.bincount(clip_of_view)[:, None]
    whole = ~np.isin(keep, list(once))
    return ScoredSplit(
        rows=keep[whole],
        paths=[paths[i] for i in first[whole]],
        scores=joined[whole].astype(np.float32),
        labels=all_labels[first][whole].astype(np.uint8),
        failed=unique_failed,
    )
