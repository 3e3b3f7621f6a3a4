"""Frames of a clip and clips of an epoch, as pure functions of numbers and seeds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transm3e.config.schema import choices

STRIDE, LINSPACE, SEGMENTS = choices("DATA.FRAME_INDICES")
HOLD, LOOP = choices("DATA.SHORT_CLIPS")


@dataclass(frozen=True)
class Span:
    """The frames of a clip, relative to its first one.

    Attributes:
        length: T, frames of the clip.
        stride: step between them.
        indices: "stride": start + stride * i, over (T - 1) * stride + 1 frames; "linspace": PySlowFast's, T numbers
            spread evenly over T * stride frames and rounded down, so most are later than start + stride * i; "segments":
            one frame of each of T equal parts of the video, whatever the stride.
        short: how a video shorter than that continues: "hold" repeats its last frame, "loop" starts again.
    """

    length: int
    stride: int
    indices: str = field(default=STRIDE, kw_only=True)
    short: str = field(default=HOLD, kw_only=True)

    @property
    def frames(self) -> int:
        """Frames of the video from the clip's first to its last."""
        return self.length * self.stride if self.indices == LINSPACE else (self.length - 1) * self.stride + 1

    def last_start(self, num_frames: int) -> int:
        """The last start from which a clip fits into the video; 0 for a shorter video."""
        return max(0, num_frames - self.frames)

    def at(self, start: int, num_frames: int) -> np.ndarray:
        """(T,) int64 frame numbers of the clip from `start` on, in 0..num_frames-1."""
        if self.indices == LINSPACE:
            numbers = np.linspace(start, start + self.frames - 1, self.length).astype(np.int64)
        else:
            numbers = start + self.stride * np.arange(self.length)
        return numbers % num_frames if self.short == LOOP else np.minimum(numbers, num_frames - 1)

    def segments(self, num_frames: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """(T,) int64 frame numbers, one of each of T equal parts of the video: drawn, or without `rng` the middle one."""
        edges = np.rint(np.arange(self.length + 1) * ((num_frames - 1) / self.length)).astype(np.int64)
        return (edges[:-1] + edges[1:]) // 2 if rng is None else rng.integers(edges[:-1], edges[1:] + 1)

    def warped(
        self, num_frames: int, tempo: tuple[float, float], pauses: float, rng: np.random.Generator
    ) -> np.ndarray:
        """(T,) int64 frame numbers of a clip at another tempo, from a random start; the video is played back and forth.

        Args:
            tempo: range of the factor of the stride, log-uniform for the clip; single steps vary by a fifth.
            pauses: share of the steps that are 0, in runs of up to a quarter of the clip.
        """
        steps = self.stride * np.exp(rng.uniform(*np.log(tempo)) + rng.normal(0, 0.2, self.length))
        longest = max(1, self.length // 4)
        for start in np.flatnonzero(rng.random(self.length) < 2 * pauses / longest):
            steps[start : start + int(rng.integers(1, longest + 1))] = 0
        last = max(1, num_frames - 1)
        position = (rng.uniform(0, 2 * last) + np.cumsum(steps)) % (2 * last)
        return np.minimum(np.rint(last - np.abs(position - last)), num_frames - 1).astype(np.int64)


def clip_rng(seed: int, epoch: int, row: int, sample: int) -> np.random.Generator:
    """The generator of one augmented clip; the same for any order, worker or resumed run. All arguments >= 0."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, row, sample)))


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """(size,) int64 permutation of 0..size-1, the order of the videos in one epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(size)


def batch_rng(seed: int, epoch: int, step: int, rank: int) -> np.random.Generator:
    """The generator for mixing one batch. All arguments >= 0."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, step, rank, 0, 0)))


def replacement(seed: int, epoch: int, item: int, attempt: int, size: int) -> int:
    """The item in 0..size-1 that replaces one that cannot be read, drawn independently for each attempt (from 1).

    It does not depend on the number of processes. If the epoch contains it elsewhere, its augmentation is the same there.
    """
    return int(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, item, attempt, 0))).integers(size))


def train_start(num_frames: int, span: Span, rng: np.random.Generator) -> int:
    """The first frame of a training clip, drawn uniformly. `num_frames` >= 1."""
    return int(rng.integers(span.last_start(num_frames) + 1))


def start_near(start: int, distance: int, num_frames: int, span: Span, rng: np.random.Generator) -> int:
    """A second start, drawn uniformly within `distance` frames of `start` and within the video."""
    low, high = max(0, start - distance), min(span.last_start(num_frames), start + distance)
    return int(rng.integers(low, high + 1))


def view_start(
    num_frames: int, span: Span, view: int, num_views: int, views_from: str = "spread", offset: bool = False
) -> int:
    """The first frame of temporal view `view` of `num_views`, deterministic.

    Args:
        views_from: "spread": starts spread evenly from the first frame to the last possible start, one view alone is
            the centre; "start": one view, from the first frame; "shares": PySlowFast's, at view / num_views of the last
            possible start.
        offset: "shares" are multiples of its (num_views - 1)th part, rounded down, one view alone is the centre.
    """
    assert 0 <= view < num_views, f"view {view} of {num_views}"
    if views_from == "start":
        assert num_views == 1, f"{num_views} views from the start would be the same"
        return 0
    last = span.last_start(num_frames)
    if views_from == "shares" and not offset:
        return last * view // num_views
    if views_from == "shares" and num_views > 1:
        return last // (num_views - 1) * view
    return last // 2 if num_views == 1 else round(last * view / (num_views - 1))


def at_rate(seconds: np.ndarray, rate: float) -> np.ndarray:
    """Resample a video to another frame rate: at each time the nearest frame, the earlier one in case of a tie.

    Args:
        seconds: (N,) increasing display times of its frames.
        rate: target frames per second, above 0.

    Returns:
        (M,) int64 non-decreasing frame numbers, M >= 1; frames repeat where the video's own rate is lower.
    """
    if len(seconds) == 1:
        return np.zeros(1, np.int64)
    # The last frame is shown for the median distance of frames.
    length = seconds[-1] - seconds[0] + float(np.median(np.diff(seconds)))
    played = seconds[0] + np.arange(max(1, round(length * rate))) / rate
    return np.searchsorted((seconds[1:] + seconds[:-1]) / 2, played, side="left").astype(np.int64)
