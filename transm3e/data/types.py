"""What the data room hands out: one item of a dataset, one batch of a loader, one clip that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from transm3e.data.annotations import MUSCLES


@dataclass(frozen=True)
class FailedClip:
    """A clip that could not be decoded and is therefore in no batch.

    Attributes:
        row: its clip-table row.
        path: its video as the clip table names it, relative to the data's folder; the same on every machine.
        reason: what is wrong with the file, one line.
    """

    row: int
    path: str
    reason: str


@dataclass
class Sample:
    """One item of a dataset: S augmented clips of a video (training) or one view of it (evaluation, S = 1).

    Attributes:
        clips: modality -> (S, C, T, H, W) uint8.
        label: (20,) float32 of 0 and 1.
        row: clip-table row.
        views: view number of each of the S clips; in training the sample number 0..S-1.
        path: the video as the clip table names it, relative to the data's folder.
    """

    clips: dict[str, Tensor]
    label: Tensor
    row: int
    views: tuple[int, ...]
    path: str


@dataclass
class Batch:
    """Clips of one step. B runs video by video: video 0 sample 0, video 0 sample 1, video 1 sample 0, ...

    A video that cannot be decoded takes no place in B (so B may be smaller than asked for, in evaluation even 0)
    and stands in `failed`; in evaluation once per view that was asked for.

    Attributes:
        clips: modality -> (B, C, T, H, W) uint8.
        labels: (B, 20) float32 of 0 and 1.
        rows: (B,) int64 clip-table rows.
        views: (B,) int64 view numbers, temporal view * spatial crops + crop; in training the sample number.
        paths: B videos as the clip table names them, relative to the data's folder; the same on every machine.
        failed: the clips that were left out.
        samples: augmented clips per video; B is a multiple of it.
    """

    clips: dict[str, Tensor]
    labels: Tensor
    rows: Tensor
    views: Tensor
    paths: list[str] = field(default_factory=list)
    failed: list[FailedClip] = field(default_factory=list)
    samples: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; torch's loader calls this."""
        return replace(
            self,
            clips={name: clip.pin_memory() for name, clip in self.clips.items()},
            labels=self.labels.pin_memory(),
            rows=self.rows.pin_memory(),
            views=self.views.pin_memory(),
        )

    def to(self, device: torch.device | str) -> Batch:
        """A copy on `device`; from pinned memory the copy overlaps with what runs there."""
        return replace(
            self,
            clips={name: clip.to(device, non_blocking=True) for name, clip in self.clips.items()},
            labels=self.labels.to(device, non_blocking=True),
            rows=self.rows.to(device, non_blocking=True),
            views=self.views.to(device, non_blocking=True),
        )


def collate(items: Sequence[Sample | FailedClip], samples: int, clip_shapes: dict[str, tuple[int, ...]]) -> Batch:
    """Items in order -> Batch.

    Args:
        items: what a dataset returned.
        samples: S, clips per item.
        clip_shapes: modality -> (C, T, H, W), the shape of an empty batch.
    """
    good = [item for item in items if isinstance(item, Sample)]
    failed = [item for item in items if isinstance(item, FailedClip)]
    # From an empty start, so that a batch without clips keeps its shapes and types.
    return Batch(
        clips={
            name: torch.cat([torch.empty(0, *shape, dtype=torch.uint8), *(item.clips[name] for item in good)])
            for name, shape in clip_shapes.items()
        },
        labels=torch.stack([item.label for item in good for _ in item.views]) if good else torch.empty(0, len(MUSCLES)),
        rows=torch.tensor([item.row for item in good for _ in item.views], dtype=torch.int64),
        views=torch.tensor([view for item in good for view in item.views], dtype=torch.int64),
        paths=[item.path for item in good for _ in item.views],
        failed=failed,
        samples=samples,
    )
