"""Clip table row -> clips: connects the clip table, draws and reading."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tokenize import TokenError

import av
import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from transm3e.data.annotations import ClipTable
from transm3e.data.decode import DecodeError
from transm3e.data.draws import ClipShape, Draw, EvalDraw, TrainDraw
from transm3e.data.reading import WHOLE, ClipReader, Decoding, Persons
from transm3e.data.sampling import SEGMENTS, clip_rng
from transm3e.data.transforms import Augmentation
from transm3e.data.types import ClipSpec, FailedClip, Sample

# What libraries raise for unforeseen faults of files.
FILE_FAULTS = (UnicodeError, MemoryError, TokenError, cv2.error, av.FFmpegError)


class ClipDataset(Dataset):
    """Clips of one split. An item is a video: its augmented clips in training, all its views in evaluation.

    Views are numbered by time, then by crop: view = temporal view * crops + crop.

    Args:
        table: the clips, at least one.
        root: folder that the table's paths are relative to.
        shape: of every clip.
        modalities: to read, keys of transm3e.modalities.STORED.
        augmentation: for training; None = evaluation.
        samples: augmented clips per video in training.
        sample_distance: maximum distance in frames between the starts of a video's samples; -1 = independent starts.
        views: temporal views per video in evaluation, if spread.
        views_from, offset: where they are, see view_start; "start", and a shape of "segments", have a single view.
        crops: spatial crops per view in evaluation, 1 or 3.
        resizing, scale: of crops in evaluation, see eval_params; in training the augmentation's applies.
        seed: all randomness is a function of (seed, epoch, row, sample).
        decoding, persons: how files are read.
        windows: (len(table), 2) float64, first second and end of the part of each video that an item is; None = all of it.
    """

    def __init__(
        self,
        table: ClipTable,
        root: str | Path,
        shape: ClipShape,
        *,
        modalities: Sequence[str] = ("rgb",),
        augmentation: Augmentation | None = None,
        samples: int = 1,
        sample_distance: int = -1,
        views: int = 1,
        views_from: str = "spread",
        crops: int = 1,
        offset: bool = False,
        resizing: str = "mipmap",
        scale: int = 0,
        seed: int = 0,
        decoding: Decoding = Decoding(),  # noqa: B008 (frozen)
        persons: Persons = Persons(),  # noqa: B008 (frozen)
        windows: np.ndarray | None = None,
    ) -> None:
        self.table, self.shape, self.augmentation, self.seed = table, shape, augmentation, seed
        self.windows, self.drawing = windows, (resizing, scale, offset)
        self.reader = ClipReader(root, shape, modalities, decoding, persons)
        self.sample_distance, self.views_from, self.crops, self.epoch = sample_distance, views_from, crops, 0
        # Other views would be the same.
        self.views = 1 if views_from == "start" or shape.indices == SEGMENTS else views
        self.samples = samples if augmentation else self.views * crops

    def __len__(self) -> int:
        return len(self.table)

    @property
    def specs(self) -> dict[str, ClipSpec]:
        """Modality -> ClipSpec."""
        return self.reader.specs

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of items requested by number alone; a loader's keys are (epoch, item)."""
        self.epoch = epoch

    def __getitem__(self, key: int | tuple[int, int]) -> Sample | FailedClip:
        """Item number, or (epoch, item number) -> clips, or the reason why they cannot be read."""
        clips = {name: spec.empty(self.samples) for name, spec in self.specs.items()}
        sample = self.load(key if isinstance(key, tuple) else (self.epoch, key), clips)
        return replace(sample, clips=clips) if isinstance(sample, Sample) else sample

    def load(self, key: tuple[int, int], clips: Mapping[str, torch.Tensor]) -> Sample | FailedClip:
        """The same, written into `clips`, modality -> (S, *ClipSpec.shape); the returned sample holds no clips."""
        epoch, item = key
        row, path = int(self.table.rows[item]), str(self.table.paths[item])
        files = {column: str(names[item]) for column, names in self.table.files.items()}
        draws = self._train_draws(epoch, row) if self.augmentation else self._eval_draws()
        try:
            window = WHOLE if self.windows is None else (float(self.windows[item, 0]), float(self.windows[item, 1]))
            self.reader.read(files, draws, {name: clip.numpy() for name, clip in clips.items()}, window)
        except DecodeError as error:
            return FailedClip(row, path, self._where(error.path, path) + error.reason)
        except FILE_FAULTS as error:
            return FailedClip(row, path, f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())}")
        label = torch.from_numpy(self.table.labels[item].astype(np.float32))
        return Sample({}, label, row, tuple(range(self.samples)), path)

    def failed(self, key: tuple[int, int], reason: str) -> FailedClip:
        """The record of an item that could not be loaded for a reason outside of load()."""
        return FailedClip(int(self.table.rows[key[1]]), str(self.table.paths[key[1]]), reason)

    def _where(self, faulty: str, path: str) -> str:
        """ "flow/a/x_00012.jpg: " for a file other than the clip's video, else ""."""
        where = faulty.removeprefix(os.path.join(self.reader.root, ""))
        return "" if where in ("", path) else f"{where}: "

    def _train_draws(self, epoch: int, row: int) -> list[Draw]:
        assert self.augmentation is not None
        draws: list[TrainDraw] = []
        for sample in range(self.samples):
            near = draws[0] if draws and self.sample_distance >= 0 else None
            rng = clip_rng(self.seed, epoch, row, sample)
            draws.append(TrainDraw(rng, self.shape, self.augmentation, near, self.sample_distance))
        return list(draws)

    def _eval_draws(self) -> list[Draw]:
        return [
            EvalDraw(self.shape, view, self.views, self.views_from, crop, self.crops, *self.drawing)
            for view, crop in product(range(self.views), range(self.crops))
        ]
