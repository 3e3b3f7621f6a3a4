"""What is drawn for a clip: its frames, its crop and its augmentation.

A draw is called twice: frames() once the video's length is known, then params() once its frame size is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from transm3e.data.sampling import SEGMENTS, Span, start_near, train_start, view_start
from transm3e.data.transforms import Augmentation, ViewParams, draw_train, eval_params


@dataclass(frozen=True)
class ClipShape(Span):
    """Shape of every clip of a dataset.

    Attributes:
        size: side in pixels.
    """

    size: int


class Draw(Protocol):
    """The frames of one clip, their crop and their augmentation."""

    def frames(self, num_frames: int) -> np.ndarray:
        """(T,) int64 frame numbers in 0..num_frames-1."""

    def params(self, height: int, width: int) -> ViewParams:
        """Crop and augmentation of frames of this size."""


@dataclass
class TrainDraw:
    """A random clip.

    Attributes:
        rng: its generator.
        shape, augmentation: what is drawn from.
        near: another clip of the same video, drawn before, to whose start this one's is close; None = anywhere.
        distance: maximum distance in frames between those starts.
        start: the first frame, set by frames().
        parts: the frames of "segments", set by frames().
    """

    rng: np.random.Generator
    shape: ClipShape
    augmentation: Augmentation
    near: TrainDraw | None = None
    distance: int = 0
    start: int = field(default=0, init=False)
    parts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), init=False)

    def frames(self, num_frames: int) -> np.ndarray:
        """See Draw."""
        if self.shape.indices == SEGMENTS:
            near = None if self.distance else self.near
            self.parts = near.parts if near else self.shape.segments(num_frames, self.rng)
            return self.parts
        if self.near is None:
            self.start = train_start(num_frames, self.shape, self.rng)
        else:
            self.start = start_near(self.near.start, self.distance, num_frames, self.shape, self.rng)
        aug = self.augmentation
        if aug.tempo == (1.0, 1.0) and not aug.pauses:
            return self.shape.at(self.start, num_frames)
        return self.shape.warped(num_frames, aug.tempo, aug.pauses, self.rng)

    def params(self, height: int, width: int) -> ViewParams:
        """See Draw."""
        return draw_train(self.rng, height, width, self.shape.size, self.augmentation)


@dataclass(frozen=True)
class EvalDraw:
    """One view of a video: temporal view `view` of `views` (see view_start for `views_from`), and crop `crop` of `crops`,
    resized by `resizing` (a name of geometry.RESIZINGS), of frames whose short side is `scale` (see eval_params)."""

    shape: ClipShape
    view: int
    views: int
    views_from: str
    crop: int
    crops: int
    resizing: str
    scale: int = 0
    offset: bool = False

    def frames(self, num_frames: int) -> np.ndarray:
        """See Draw."""
        if self.shape.indices == SEGMENTS:
            return self.shape.segments(num_frames)
        start = view_start(num_frames, self.shape, self.view, self.views, self.views_from, self.offset)
        return self.shape.at(start, num_frames)

    def params(self, height: int, width: int) -> ViewParams:
        """See Draw."""
        return eval_params(height, width, self.crop, self.crops, self.resizing, self.shape.size, self.scale)
