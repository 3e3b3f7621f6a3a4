"""What this package returns: one item of a dataset, one batch of a loader, one clip that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from mmap import mmap

import torch
from torch import Tensor

from transm3e.data.annotations import MUSCLES
from transm3e.data.mixup import Mix, mix


@dataclass(frozen=True)
class FailedClip:
    """A clip that could not be decoded and is therefore in no batch.

    Attributes:
        row: its clip-table row.
        path: its video as in the clip table, relative to the data root; the same on every host.
        reason: what is wrong with the file, one line.
    """

    row: int
    path: str
    reason: str


@dataclass(frozen=True)
class ClipSpec:
    """Shape and memory layout of a clip of one modality.

    Attributes:
        shape: of pixels (C, T, H, W), of joints (C, T, V, M).
        dtype: of its values.
        channels_last: stored as (T, H, W, C), the layout of decoded frames and of fast convolutions on GPUs.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.uint8
    channels_last: bool = True

    def nbytes(self, count: int) -> int:
        """Bytes of `count` clips."""
        return count * prod(self.shape) * self.dtype.itemsize

    def empty(self, count: int, pin_memory: bool = False, file: int | None = None) -> Tensor:
        """Uninitialised memory for `count` clips, (count, *shape).

        Args:
            pin_memory: page-locked, so that copies to a GPU overlap with computation there.
            file: file descriptor of nbytes(count) to map, shared with other processes.
        """
        size = (count, *self.shape[1:], self.shape[0]) if self.channels_last else (count, *self.shape)
        if file is not None:
            clips = torch.frombuffer(mmap(file, self.nbytes(count)), dtype=self.dtype).view(size)
        else:
            clips = torch.empty(size, dtype=self.dtype, pin_memory=pin_memory)
        return clips.movedim(-1, 1) if self.channels_last else clips


@dataclass
class Sample:
    """One item of a dataset: S augmented clips of a video (training), or its S views (evaluation).

    Attributes:
        clips: modality -> (S, *ClipSpec.shape); {} where they were written into the loader's memory.
        label: (C,) float32 of 0 and 1: 20 muscles, or the activities, of which one is 1, or none (not in train).
        row: clip-table row.
        views: view number of each of the S clips; in training the sample number 0..S-1.
        path: the video as in the clip table, relative to the data root.
    """

    clips: dict[str, Tensor]
    label: Tensor
    row: int
    views: tuple[int, ...]
    path: str


@dataclass
class Batch:
    """Clips of one step. B runs video by video: video 0 sample 0, video 0 sample 1, video 1 sample 0, ...

    A video that cannot be decoded is listed in `failed`. In training it is replaced; in evaluation it is left out of B,
    which may then be smaller than the batch size, even 0.

    Attributes:
        clips: modality -> (B, *ClipSpec.shape): pixels (B, C, T, H, W) uint8, joints (B, C, T, V, M) float32.
        labels: (B, C) float32 of 0 and 1, muscles or activities; without clips (0, 20).
        rows: (B,) int64 clip-table rows.
        views: (B,) int64 view numbers, temporal view * spatial crops + crop; in training the sample number.
        paths: B videos as in the clip table, relative to the data root; the same on every host.
        failed: the clips that could not be decoded.
        samples: augmented clips per video; B is a multiple of it.
        mix: how mixup or CutMix mixes the clips on the device, or None.
    """

    clips: dict[str, Tensor]
    labels: Tensor
    rows: Tensor
    views: Tensor
    paths: list[str] = field(default_factory=list)
    failed: list[FailedClip] = field(default_factory=list)
    samples: int = 1
    mix: Mix | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device | str) -> Batch:
        """A copy on `device`; from pinned memory the copy overlaps with computation there."""
        return replace(
            self,
            clips={name: clip.to(device, non_blocking=True) for name, clip in self.clips.items()},
            labels=self.labels.to(device, non_blocking=True),
            rows=self.rows.to(device, non_blocking=True),
            views=self.views.to(device, non_blocking=True),
        )


def numbers_on(device: torch.device, numbers: Sequence[int]) -> Tensor:
    """Whole numbers as an index on a device, (len(numbers),) int64; the processor does not wait for a GPU, as it does
    where a tensor is indexed by a list."""
    return torch.tensor(numbers, dtype=torch.int64).to(device, non_blocking=True)


def mixed(batch: Batch) -> Batch:
    """The batch after its `mix` is applied, on its device; `mix` is then None."""
    if batch.mix is None:
        return batch
    clips, labels = mix(batch.clips, batch.labels, batch.mix, batch.samples)
    return replace(batch, clips=clips, labels=labels, mix=None)


class BatchBuilder:
    """Fills a batch clip by clip, in its own memory.

    Args:
        specs: modality -> ClipSpec.
        capacity: maximum number of clips.
        pin_memory: page-locked memory, from which copies to a GPU overlap with computation there.
    """

    def __init__(self, specs: Mapping[str, ClipSpec], capacity: int, pin_memory: bool = False) -> None:
        self.capacity, self._pin_memory = capacity, pin_memory
        self._from: list[tuple[Sample, int]] = []
        self._clips = {name: spec.empty(capacity, pin_memory) for name, spec in specs.items()}
        self.failed: list[FailedClip] = []

    def __len__(self) -> int:
        return len(self._from)

    @property
    def full(self) -> bool:
        return len(self) == self.capacity

    def add(self, sample: Sample, first: int = 0) -> int:
        """Copy a sample's clips from number `first` on, as many as fit; returns how many."""
        begin, count = len(self), min(len(sample.views) - first, self.capacity - len(self))
        for name, clips in sample.clips.items():
            self._clips[name][begin : begin + count].copy_(clips[first : first + count])
        self._from += [(sample, number) for number in range(first, first + count)]
        return count

    def build(self, samples: int = 1, mix: Mix | None = None) -> Batch:
        """The batch of all clips added; call it once."""
        labels = torch.stack([s.label for s, _ in self._from]) if self._from else torch.empty(0, len(MUSCLES))
        rows = torch.tensor([sample.row for sample, _ in self._from], dtype=torch.int64)
        views = torch.tensor([sample.views[number] for sample, number in self._from], dtype=torch.int64)
        if self._pin_memory:
            labels, rows, views = labels.pin_memory(), rows.pin_memory(), views.pin_memory()
        return Batch(
            clips={name: clips[: len(self)] for name, clips in self._clips.items()},
            labels=labels,
            rows=rows,
            views=views,
            paths=[sample.path for sample, _ in self._from],
            failed=self.failed,
            samples=samples,
            mix=mix,
        )
