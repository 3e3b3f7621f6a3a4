"""Batches of a split in a fixed order: any step of any epoch, on any rank, with any number of workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from transm3e.config.node import CfgNode
from transm3e.data.dataset import ClipDataset, build_dataset, build_folder_dataset
from transm3e.data.sampling import epoch_order
from transm3e.data.types import Batch, collate
from transm3e.errors import UserError

FAILED_SHOWN = 3
# Seconds that a loading process goes on after SIGTERM.
GRACE_S = 10


class EpochBatches:
    """Batch sampler: the (epoch, item) keys of one rank's batches; they carry the epoch into the workers.

    Training: all ranks share one permutation per epoch, cut into global batches; what does not fill one is left
    out (another remainder each epoch). Evaluation: items in order, rank r takes items r, r + world_size, ...;
    nothing is repeated to even out the ranks, so they may differ by one batch.

    Args:
        size: items of the dataset.
        batch_size: items per batch of this rank.
        shuffle: training.
        seed: of the permutations.
        rank, world_size: which share of the items.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int) -> None:
        assert 0 <= rank < world_size
        assert batch_size > 0
        self.size, self.batch_size, self.shuffle, self.seed = size, batch_size, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start_step = 0

    def __len__(self) -> int:
        if self.shuffle:
            return self.size // (self.batch_size * self.world_size)
        return -(-len(range(self.rank, self.size, self.world_size)) // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.seed, self.epoch, self.size) if self.shuffle else np.arange(self.size)
        mine = order[self.rank :: self.world_size]
        for step in range(self.start_step, len(self)):
            items = mine[step * self.batch_size : (step + 1) * self.batch_size]
            yield [(self.epoch, int(item)) for item in items]


class ClipLoader:
    """Batches of a dataset; len() is the number of steps per epoch (of this rank).

    Args:
        dataset: training or evaluation clips.
        batch_size: videos (training) or views (evaluation) per batch of this process.
        rank, world_size: this process's share.
        num_workers: processes that load, 0 = this one; order and content do not depend on it.
        pin_memory: hand out batches in page-locked memory; ignored without a GPU.

    Raises:
        UserError: fewer training clips than one global batch.
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
    ) -> None:
        self.dataset = dataset
        self.training = dataset.augmentation is not None
        self._batches = EpochBatches(len(dataset), batch_size, self.training, dataset.seed, rank, world_size)
        if self.training and not len(self._batches):
            raise UserError(
                f"the train split has {len(dataset)} clips, fewer than one global batch of {batch_size * world_size}; "
                "lower TRAIN.BATCH_SIZE (or NUM_GPUS, NUM_SHARDS), or point DATA.PATH_TO_DATA_DIR at more clips"
            )
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._batches,
            collate_fn=partial(collate, samples=dataset.samples, clip_shapes=dataset.clip_shapes),
            num_workers=num_workers,
            # Evaluation has a loader per split; their workers would wait beside each other.
            persistent_workers=num_workers > 0 and self.training,
            worker_init_fn=_start_worker,
            pin_memory=pin_memory and torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: starting an epoch leaves the training's random numbers alone
        )

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Batches start_step, start_step + 1, ... of an epoch; those before are not decoded. One epoch at a time.

        Raises:
            UserError: a training batch in which no clip could be decoded, or a worker that died.
        """
        self._batches.epoch, self._batches.start_step = epoch, start_step
        try:
            for batch in self._loader:
                if self.training and not len(batch):
                    raise UserError(_all_failed(batch))
                yield batch
        except RuntimeError as error:
            if "DataLoader worker (pid" not in str(error):
                raise
            raise UserError(
                f"a data loading process died ({str(error).splitlines()[0]}), mostly for lack of memory; "
                "lower DATA_LOADER.NUM_WORKERS or the batch size, or find the file with DATA_LOADER.NUM_WORKERS 0"
            ) from error


def build_loader(
    cfg: CfgNode, split: str, *, rank: int = 0, world_size: int = 1, single_view: bool = False
) -> ClipLoader:
    """Loader of one split. The batch size keys are per machine: one process gets its NUM_GPUS-th part.

    Args:
        single_view: in evaluation, one view per clip whatever TEST.* says.

    Raises:
        UserError: as build_dataset and ClipLoader.
    """
    per_machine = cfg.TRAIN.BATCH_SIZE // cfg.TRAIN.ACCUM_STEPS if split == "train" else cfg.TEST.BATCH_SIZE
    return _loader_from_cfg(cfg, build_dataset(cfg, split, single_view), per_machine, rank, world_size)


def build_folder_loader(cfg: CfgNode, folder: str | Path) -> ClipLoader:
    """Evaluation loader over the videos of a folder (or one file), labels zero; rows count the sorted files.

    Raises:
        UserError: as folder_table.
    """
    return _loader_from_cfg(cfg, build_folder_dataset(cfg, folder), cfg.TEST.BATCH_SIZE, 0, 1)


def _loader_from_cfg(cfg: CfgNode, dataset: ClipDataset, per_machine: int, rank: int, world_size: int) -> ClipLoader:
    return ClipLoader(
        dataset,
        max(1, per_machine // max(1, cfg.NUM_GPUS)),
        rank=rank,
        world_size=world_size,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY,
    )


def _start_worker(worker: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach the whole group, but the training process decides when to stop: it gets
    # time to end its step, and no worker outlives that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_S))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    cv2.setNumThreads(0)  # workers are the parallelism; and OpenCV's threads do not survive a fork


def _all_failed(batch: Batch) -> str:
    shown = "; ".join(f"{clip.path}: {clip.reason}" for clip in batch.failed[:FAILED_SHOWN])
    more = f" and {len(batch.failed) - FAILED_SHOWN} more" if len(batch.failed) > FAILED_SHOWN else ""
    return f"no clip of a training batch could be decoded: {shown}{more}; mend or remove them, or raise DATA.DECODE_TIMEOUT"
