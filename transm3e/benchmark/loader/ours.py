"""This package's own loader as a contestant."""

from __future__ import annotations

import os
from collections.abc import Callable

from transm3e.benchmark.loader.stopwatch import AUGMENT, COLLATE, CROP, OPEN, Watched
from transm3e.benchmark.loader.task import BATCH_SIZE, EpochLoader, Task
from transm3e.data.annotations import Clip, table_from_clips
from transm3e.data.backends import open_source
from transm3e.data.dataset import ClipDataset
from transm3e.data.decode import Video
from transm3e.data.loader import ClipLoader
from transm3e.data.transforms import apply_to_clip, apply_to_frame
from transm3e.data.types import BatchBuilder

NAME = "transm3e"


class Ours:
    """The loader that training uses, with its defaults. See Pipeline."""

    name = NAME

    def __init__(self, task: Task) -> None:
        root = os.path.commonpath([film.path.absolute().parent for film in task.films])
        clips = [Clip(os.path.relpath(film.path, root), "train", "", ()) for film in task.rows]
        self.stride = task.shape.stride
        self.dataset = ClipDataset(
            table_from_clips(clips),
            root,
            task.shape,
            augmentation=task.augmentation,
            samples=task.views,
            seed=task.seed,
        )

    def loader(self, workers: int) -> EpochLoader:
        """See Pipeline."""
        return ClipLoader(self.dataset, BATCH_SIZE, num_workers=workers)

    def watched(self) -> Watched:
        """See Pipeline."""
        stages: dict[Callable, str] = {
            open_source: OPEN,
            apply_to_frame: CROP,
            apply_to_clip: AUGMENT,
            BatchBuilder.add: COLLATE,
            BatchBuilder.build: COLLATE,
        }
        return Watched(stages, {Video.read: self.stride})

    def approach(self, epoch: int) -> float | None:
        """See Pipeline; frames come one by one, so watching tells."""
        return None
