"""Which frames make a clip, and which clips make an epoch: pure functions of numbers and seeds."""

from __future__ import annotations

import numpy as np


def clip_rng(seed: int, epoch: int, row: int, sample: int) -> np.random.Generator:
    """The generator of one augmented clip; the same for any order, worker or resumed run. All arguments >= 0."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, row, sample)))


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """(size,) int64 permutation of 0..size-1, the order of the videos in one epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(size)


def train_indices(num_frames: int, length: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    """A clip at a start drawn uniformly: start + stride * i.

    Args:
        num_frames: frames of the video, >= 1.
        length: T, frames of the clip.
        stride: step between them.
        rng: source of the start.

    Returns:
        (T,) int64 frame numbers; a video shorter than the span starts at 0 and holds its last frame.
    """
    return _clip(int(rng.integers(_last_start(num_frames, length, stride) + 1)), num_frames, length, stride)


def view_indices(
    num_frames: int, length: int, stride: int, view: int, num_views: int, views_from: str = "spread"
) -> np.ndarray:
    """Temporal view `view` of `num_views`, deterministic; otherwise as train_indices.

    Args:
        views_from: "spread": starts spread evenly from the first frame to the last possible start, one view alone is
            the centre; "start": one view, from the first frame.
    """
    assert 0 <= view < num_views, f"view {view} of {num_views}"
    if views_from == "start":
        assert num_views == 1, f"{num_views} views from the start would be the same"
        return _clip(0, num_frames, length, stride)
    last = _last_start(num_frames, length, stride)
    start = last // 2 if num_views == 1 else round(last * view / (num_views - 1))
    return _clip(start, num_frames, length, stride)


def _last_start(num_frames: int, length: int, stride: int) -> int:
    return max(0, num_frames - ((length - 1) * stride + 1))


def _clip(start: int, num_frames: int, length: int, stride: int) -> np.ndarray:
    return np.minimum(start + stride * np.arange(length), num_frames - 1)
