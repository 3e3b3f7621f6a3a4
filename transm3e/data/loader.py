"""Batches of a split in a fixed order: any step of any epoch, on any rank, with any number of workers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode

from transm3e.config.targets import ACTIVITY_TARGET, trained_target
from transm3e.data.annotations import ClipTable
from transm3e.data.build import build_dataset, build_folder_dataset
from transm3e.data.dataset import ClipDataset
from transm3e.data.forking import warm_up
from transm3e.data.mixup import Mix, Mixing, draw_mix
from transm3e.data.sampling import batch_rng, epoch_order, replacement
from transm3e.data.types import Batch, BatchBuilder, FailedClip, Sample
from transm3e.data.workers import Serial, SlotPlan, Task, WorkerPool
from transm3e.errors import UserError

FAILED_SHOWN = 3
# Replacements drawn for a video that cannot be read before training ends with an error.
MAX_REPLACED = 10
# Batches loaded ahead of the requested one.
PREFETCHED_BATCHES = 2


class EpochItems:
    """Which items a rank loads in an epoch, in order.

    Training: all ranks share one permutation per epoch, cut into global batches; an incomplete last batch is dropped
    (different items each epoch). Evaluation: items in order, rank r takes items r, r + world_size, ...; nothing is
    repeated to even out the ranks, so they may differ by one item.

    Args:
        size: items of the dataset.
        batch_size: items per batch of this rank, in training.
        shuffle: True in training.
        seed: of the permutations.
        rank, world_size: this rank's share of the items.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int) -> None:
        assert 0 <= rank < world_size
        assert batch_size > 0
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        if self.shuffle:
            return self.size // (self.batch_size * self.world_size) * self.batch_size
        return len(range(self.rank, self.size, self.world_size))

    def of(self, epoch: int) -> np.ndarray:
        """(len(self),) int64 item numbers, in the order of loading."""
        order = epoch_order(self.seed, epoch, self.size) if self.shuffle else np.arange(self.size)
        return order[self.rank :: self.world_size][: len(self)]


class ClipLoader:
    """Batches of a dataset; len() is the number of steps per epoch (of this rank).

    A training video that cannot be read is listed in its batch's `failed` and replaced by another one, drawn from (seed,
    epoch, item), so batches are always full. In evaluation it is not replaced.

    Args:
        dataset: training or evaluation clips.
        batch_size: videos (training) or views (evaluation) per batch of this process.
        rank, world_size: this process's share.
        num_workers: data-loading workers, 0 = load in this process; order and content of batches do not depend on it.
        pin_memory: return batches in page-locked memory; ignored without a GPU.
        mixing: mixup and CutMix of training batches, or None.

    Raises:
        UserError: fewer training clips than one global batch, or workers on a system without fork.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        mixing: Mixing | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.num_workers, self.mixing = dataset, batch_size, num_workers, mixing
        self.training, self.rank = dataset.augmentation is not None, rank
        self._items = EpochItems(len(dataset), batch_size, self.training, dataset.seed, rank, world_size)
        self._pin_memory = pin_memory and torch.cuda.is_available()
        self._loading: Serial | WorkerPool | None = None
        if self.training and not len(self):
            raise UserError(
                f"the train split has {len(dataset)} clips, fewer than one global batch of {batch_size * world_size}; "
                "lower TRAIN.BATCH_SIZE (or NUM_GPUS, NUM_SHARDS), or point DATA.PATH_TO_DATA_DIR at more clips"
            )
        if num_workers:
            if not hasattr(os, "fork"):
                raise UserError("DATA_LOADER.NUM_WORKERS: processes cannot be forked on this system; set it to 0")
            warm_up()  # its imports run while nothing is requested yet
        # Videos in flight: enough for the next batches, and for every worker to have one waiting.
        videos = batch_size if self.training else -(-batch_size // dataset.samples)
        self._prefetched = (
            min(max(1, len(self._items)), PREFETCHED_BATCHES * max(videos, num_workers)) if num_workers else 1
        )

    def __len__(self) -> int:
        if self.training:
            return len(self._items) // self.batch_size
        return -(-len(self._items) * self.dataset.samples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0, or of the dataset's epoch (set_epoch) in training."""
        return self.epoch(self.dataset.epoch)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Batches start_step, start_step + 1, ... of an epoch; earlier ones are not decoded. One epoch at a time.

        Raises:
            UserError: a training video and all its replacements cannot be read, or workers die repeatedly.
        """
        return self._train(epoch, start_step) if self.training else self._evaluate(epoch, start_step)

    def close(self) -> None:
        """Stop the workers; the next epoch starts new ones."""
        if self._loading is not None:
            self._loading.close()
            self._loading = None

    def _train(self, epoch: int, start_step: int) -> Iterator[Batch]:
        clips = self.batch_size * self.dataset.samples
        batch = self._builder(clips)
        for sample, failed in self._loaded(epoch, start_step * self.batch_size):
            batch.failed += failed
            assert sample is not None, "replacements are drawn until one can be read"
            batch.add(sample)
            if batch.full:
                full, batch = batch, self._builder(clips)
                yield full.build(self.dataset.samples, self._mix(epoch, start_step))
                start_step += 1

    def _evaluate(self, epoch: int, start_step: int) -> Iterator[Batch]:
        # A batch may begin in the middle of a video's views.
        first, skipped = divmod(start_step * self.batch_size, self.dataset.samples)
        batch = self._builder(self.batch_size)
        for sample, failed in self._loaded(epoch, first):
            batch.failed += failed
            while sample and skipped < len(sample.views):
                skipped += batch.add(sample, skipped)
                if batch.full:
                    full, batch = batch, self._builder(self.batch_size)
                    yield full.build()
            skipped = 0
        if len(batch) or batch.failed:
            yield batch.build()
        # Between evaluations there is time to restart workers, but not the memory to keep those of every split.
        self.close()

    def _builder(self, capacity: int) -> BatchBuilder:
        return BatchBuilder(self.dataset.specs, capacity, self._pin_memory)

    def _mix(self, epoch: int, step: int) -> Mix | None:
        if self.mixing is None:
            return None
        size = self.dataset.shape.size
        return draw_mix(batch_rng(self.dataset.seed, epoch, step, self.rank), self.mixing, size, size)

    def _loaded(self, epoch: int, first: int) -> Iterator[tuple[Sample | None, list[FailedClip]]]:
        """(sample, failed clips) of the epoch's items from number `first` on, in order; in training failed items are replaced.

        A sample is valid until the next one is requested.
        """
        loading = self._start()
        keys = iter([(epoch, int(item)) for item in self._items.of(epoch)[first:]])
        waiting: deque[Task] = deque()
        done: dict[int, Sample | FailedClip] = {}
        free, ticket = deque(range(len(loading.slots))), 0
        while True:
            while free and (key := next(keys, None)) is not None:
                waiting.append(Task(ticket, key, free.popleft()))
                loading.submit(waiting[-1])
                ticket += 1
            if not waiting:
                return
            task = waiting.popleft()
            sample, failed = self._wait_for(loading, task, done)
            yield sample and replace(sample, clips=dict(loading.slots[task.slot])), failed
            free.append(task.slot)

    def _wait_for(
        self, loading: Serial | WorkerPool, task: Task, done: dict[int, Sample | FailedClip]
    ) -> tuple[Sample | None, list[FailedClip]]:
        """The result of a task, in training that of its replacement if it failed. `done` keeps results of later tasks."""
        epoch, item = task.key
        failed: list[FailedClip] = []
        while True:
            while task.ticket not in done:
                ticket, result = loading.result()
                done[ticket] = result
            result = done.pop(task.ticket)
            if isinstance(result, Sample):
                return result, failed
            failed.append(result)
            if not self.training:
                return None, failed
            if len(failed) > MAX_REPLACED:
                raise UserError(_all_failed(failed))
            drawn = replacement(self.dataset.seed, epoch, item, len(failed), len(self.dataset))
            loading.submit(replace(task, key=(epoch, drawn)))

    def _start(self) -> Serial | WorkerPool:
        """The workers, started when first needed."""
        if self._loading is None:
            plan = SlotPlan(self.dataset.specs, self.dataset.samples, self._prefetched)
            if self.num_workers:
                self._loading = WorkerPool(self.dataset, plan, self.num_workers, self.dataset.reader.seconds)
            else:
                self._loading = Serial(self.dataset, plan)
        self._loading.drain()  # tasks of an epoch that was abandoned
        return self._loading


def build_loader(
    cfg: CfgNode, split: str, *, rank: int = 0, world_size: int = 1, local_size: int = 0, single_view: bool = False
) -> ClipLoader:
    """Loader of one split. The batch sizes in the config are per host, divided among its processes.

    Args:
        rank, world_size: this process's share of all clips.
        local_size: processes on this host; 0 = one per GPU (NUM_GPUS), or one.
        single_view: in evaluation, one view per clip regardless of TEST.*.

    Raises:
        UserError: as build_dataset and ClipLoader, or TRAIN.BATCH_SIZE cannot be divided evenly.
    """
    processes = local_size or max(1, cfg.NUM_GPUS)
    dataset = build_dataset(cfg, split, single_view)
    if split != "train":
        return _loader_from_cfg(cfg, dataset, max(1, cfg.TEST.BATCH_SIZE // processes), rank, world_size)
    if cfg.TRAIN.BATCH_SIZE % (processes * cfg.TRAIN.ACCUM_STEPS):
        raise UserError(
            f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} (per host) must be a multiple of the {processes} processes of this host "
            f"x TRAIN.ACCUM_STEPS {cfg.TRAIN.ACCUM_STEPS}; change one of them"
        )
    return _loader_from_cfg(cfg, dataset, cfg.TRAIN.BATCH_SIZE // cfg.TRAIN.ACCUM_STEPS // processes, rank, world_size)


def build_folder_loader(
    cfg: CfgNode, table: ClipTable, root: Path, local_size: int = 0, windows: np.ndarray | None = None
) -> ClipLoader:
    """Evaluation loader over a whole folder_table, or this process's share of one; see ClipDataset for `windows`."""
    batch_size = max(1, cfg.TEST.BATCH_SIZE // (local_size or max(1, cfg.NUM_GPUS)))
    return _loader_from_cfg(cfg, build_folder_dataset(cfg, table, root, windows), batch_size, 0, 1)


def _loader_from_cfg(cfg: CfgNode, dataset: ClipDataset, batch_size: int, rank: int, world_size: int) -> ClipLoader:
    return ClipLoader(
        dataset,
        batch_size,
        rank=rank,
        world_size=world_size,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY,
        mixing=_mixing_from_cfg(cfg) if dataset.augmentation else None,
    )


def _mixing_from_cfg(cfg: CfgNode) -> Mixing | None:
    if not cfg.MIXUP.ENABLE:
        return None
    keys = (cfg.MIXUP.ALPHA, cfg.MIXUP.CUTMIX_ALPHA, cfg.MIXUP.PROB, cfg.MIXUP.SWITCH_PROB)
    exclusive = trained_target(cfg) == ACTIVITY_TARGET
    return Mixing(*keys, label_smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE, exclusive=exclusive)


def _all_failed(failed: list[FailedClip]) -> str:
    shown = "; ".join(f"{clip.path}: {clip.reason}" for clip in failed[:FAILED_SHOWN])
    return (
        f"{len(failed)} training videos, each drawn to replace the one before, could not be read: {shown} and "
        f"{len(failed) - FAILED_SHOWN} more; fix or remove them, or raise DATA.DECODE_TIMEOUT"
    )
