"""The job that every loader is given: which clips of which files, augmented how, in which batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from transm3e.benchmark.loader.files import Film
from transm3e.benchmark.loader.stopwatch import Watched
from transm3e.data.draws import ClipShape, TrainDraw
from transm3e.data.randaugment import parse_policy
from transm3e.data.sampling import clip_rng
from transm3e.data.transforms import Augmentation

# The paper's: 16 frames, stride 4, 224x224 (section 4).
SHAPE = ClipShape(16, 4, 224)
AUGMENTATION = Augmentation(color_jitter=0.4, erase_prob=0.25, rand_augment=parse_policy("rand-m7-n4-mstd0.5-inc1"))
# Videos in a batch, and times that an epoch shows each, at other places: batches are full for any number of files.
BATCH_SIZE, PASSES = 2, 2


@dataclass(frozen=True)
class Task:
    """What is loaded.

    Attributes:
        films: the videos; row r of an epoch is a place in film r % len(films).
        views: augmented clips per video.
        shape, augmentation: of the clips.
        seed: of the frames that are drawn, the same for every loader.
    """

    films: tuple[Film, ...]
    views: int = 2
    shape: ClipShape = SHAPE
    augmentation: Augmentation = AUGMENTATION
    seed: int = 0

    @property
    def rows(self) -> list[Film]:
        """The videos of an epoch; their number is a multiple of BATCH_SIZE."""
        return list(self.films) * PASSES

    @property
    def clips(self) -> int:
        """Clips of an epoch."""
        return len(self.films) * PASSES * self.views

    def draws(self, epoch: int, row: int) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
        """For each view the frame numbers, (T,) int64, and the generator that drew them."""
        for view in range(self.views):
            rng = clip_rng(self.seed, epoch, row, view)
            draw = TrainDraw(rng, self.shape, self.augmentation)
            yield draw.frames(self.films[row % len(self.films)].num_frames), rng


class EpochLoader(Protocol):
    """Batches of one epoch after the other."""

    def epoch(self, epoch: int) -> Iterable[Any]:
        """The batches; len() is a batch's number of clips, failed are those that could not be read."""

    def close(self) -> None:
        """End its processes."""


class Pipeline(Protocol):
    """One way of doing the job.

    Attributes:
        name: shown in tables.
    """

    name: str

    def loader(self, workers: int) -> EpochLoader:
        """Loader with so many processes; 0 = this one."""

    def watched(self) -> Watched:
        """What a Stopwatch watches: functions of this pipeline, by stage."""

    def approach(self, epoch: int) -> float | None:
        """Seconds that reaching the first frame of every clip of an epoch took, where watching cannot tell."""
