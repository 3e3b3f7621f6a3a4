from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transm3e.data.draws import ClipShape, TrainDraw
from transm3e.data.sampling import (
    Span,
    at_rate,
    clip_rng,
    epoch_order,
    replacement,
    start_near,
    train_start,
    view_start,
)
from transm3e.data.transforms import Augmentation


def train_indices(frames: int, t: int, stride: int, rng: np.random.Generator) -> np.ndarray:
    span = Span(t, stride)
    return span.at(train_start(frames, span, rng), frames)


def view_indices(frames: int, t: int, stride: int, view: int, views: int, views_from: str = "spread") -> np.ndarray:
    span = Span(t, stride)
    return span.at(view_start(frames, span, view, views, views_from), frames)


SIZES = given(st.integers(1, 400), st.integers(1, 32), st.integers(1, 8), st.integers(0, 2**32))


@SIZES
def test_a_clip_is_start_plus_stride_times_i_and_holds_the_last_frame(
    frames: int, t: int, stride: int, seed: int
) -> None:
    found = train_indices(frames, t, stride, np.random.default_rng(seed))
    expected = [min(found[0] + stride * i, frames - 1) for i in range(t)]
    assert found.tolist() == expected
    if frames >= (t - 1) * stride + 1:
        assert found[-1] == found[0] + stride * (t - 1) < frames
    else:
        assert found[0] == 0


def test_every_start_is_drawn_alike() -> None:
    starts = [train_indices(70, 16, 4, np.random.default_rng(seed))[0] for seed in range(5000)]
    counts = np.bincount(starts)
    assert len(counts) == 70 - 61 + 1
    assert counts.min() > 400  # 500 expected, sigma 21


def test_views_run_from_the_first_frame_to_the_last() -> None:
    starts = [view_indices(101, 16, 4, view, 5)[0] for view in range(5)]
    assert starts == [0, 10, 20, 30, 40]
    assert view_indices(101, 16, 4, 4, 5)[-1] == 100
    assert view_indices(101, 16, 4, 0, 1)[0] == 20


@SIZES
def test_a_view_from_the_start_begins_with_the_first_frame(frames: int, t: int, stride: int, seed: int) -> None:
    found = view_indices(frames, t, stride, 0, 1, "start")
    assert found.tolist() == [min(stride * i, frames - 1) for i in range(t)]
    centred = view_indices(frames, t, stride, 0, 1)
    assert (centred[0] > 0) == (frames > (t - 1) * stride + 2)


@SIZES
def test_views_are_inside_and_in_order(frames: int, t: int, stride: int, seed: int) -> None:
    views = 1 + seed % 7
    clips = [view_indices(frames, t, stride, view, views) for view in range(views)]
    assert all(0 <= clip.min() <= clip.max() < frames for clip in clips)
    starts = [clip[0] for clip in clips]
    assert starts == sorted(starts)
    gaps = np.diff(starts)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1 + 1e-9  # evenly, up to rounding


def test_no_such_view() -> None:
    with pytest.raises(AssertionError):
        view_indices(100, 16, 4, 5, 5)
    with pytest.raises(AssertionError, match="the same"):
        view_indices(100, 16, 4, 0, 5, "start")


def test_generators_differ_in_every_part_of_the_key() -> None:
    keys = [(s, e, r, n) for s in range(3) for e in range(3) for r in range(3) for n in range(2)]
    draws = [clip_rng(*key).integers(2**62) for key in keys]
    draws += [
        np.random.default_rng(np.random.SeedSequence(s, spawn_key=(e,))).integers(2**62) for s, e in [(0, 0), (1, 0)]
    ]
    assert len(set(draws)) == len(draws)
    assert clip_rng(1, 2, 3, 0).integers(2**62) == clip_rng(1, 2, 3, 0).integers(2**62)


def test_the_order_is_a_permutation_of_its_own_per_epoch() -> None:
    orders = [epoch_order(0, epoch, 50) for epoch in range(4)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(0, 3, 50).tolist() == orders[3].tolist()


@SIZES
def test_linspace_is_pyslowfasts_reading(frames: int, t: int, stride: int, seed: int) -> None:
    span = Span(t, stride, indices="linspace")
    start = train_start(frames, span, np.random.default_rng(seed))
    assert 0 <= start <= max(0, frames - t * stride)
    # Its decoder's formula: torch.linspace(start, end, T) cut to the video and to whole numbers.
    exact = [start + (t * stride - 1) * i / max(1, t - 1) for i in range(t)]
    assert np.abs(span.at(start, frames) - np.clip(np.floor(np.array(exact) + 1e-9), 0, frames - 1)).max() <= 1
    assert len(span.at(start, frames)) == t


def test_linspace_differs_from_the_stride_in_ten_of_sixteen_frames() -> None:
    even, linspace = Span(16, 4).at(0, 300), Span(16, 4, indices="linspace").at(0, 300)
    assert linspace.tolist() == [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63]
    assert (even != linspace).sum() == 11


@SIZES
def test_a_short_video_is_looped(frames: int, t: int, stride: int, seed: int) -> None:
    found = Span(t, stride, short="loop").at(0, frames)
    assert found.tolist() == [stride * i % frames for i in range(t)]


@SIZES
def test_a_start_near_another_one(frames: int, t: int, stride: int, seed: int) -> None:
    span, rng, distance = Span(t, stride), np.random.default_rng(seed), seed % 9
    start = train_start(frames, span, rng)
    near = start_near(start, distance, frames, span, rng)
    assert abs(near - start) <= distance
    assert 0 <= near <= span.last_start(frames)


@given(
    st.integers(1, 200),
    st.sampled_from([10.0, 15.0, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0]),
    st.sampled_from([15.0, 30.0]),
)
def test_playing_at_another_rate(frames: int, fps: float, rate: float) -> None:
    shown = at_rate(np.arange(frames) / fps, rate)
    assert abs(len(shown) - frames / fps * rate) <= 0.5 + 1e-6 or len(shown) == 1
    assert shown[0] == 0
    assert (np.diff(shown) >= 0).all()
    assert shown[-1] <= frames - 1
    # Never farther than half a frame from the moment it stands for.
    assert np.abs(shown / fps - np.arange(len(shown)) / rate)[shown < frames - 1].max(initial=0) <= 0.5 / fps + 1e-9
    if fps == rate:
        assert shown.tolist() == list(range(frames))


def test_stamps_in_whole_milliseconds_are_no_other_rate() -> None:
    assert at_rate(np.round(np.arange(300) / 30, 3), 30).tolist() == list(range(300))
    assert at_rate(np.arange(10) / 60, 30).tolist() == [0, 2, 4, 6, 8]
    assert at_rate(np.arange(4) / 15, 30).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    uneven = at_rate(np.array([0.0, 0.1, 0.5, 0.6]), 10)  # a still for four tenths
    assert uneven.tolist() == [0, 1, 1, 1, 2, 2, 3]


def test_a_replacement_depends_on_the_place_and_the_attempt_alone() -> None:
    drawn = [replacement(0, 1, 2, attempt, 1000) for attempt in (1, 2, 3)]
    assert len(set(drawn)) == 3
    assert drawn == [replacement(0, 1, 2, attempt, 1000) for attempt in (1, 2, 3)]
    assert drawn[0] != replacement(0, 1, 3, 1, 1000)


@pytest.mark.parametrize("frames", [64, 90, 301])
@pytest.mark.parametrize("views", [1, 3, 10])
def test_views_by_shares_are_pyslowfasts(frames: int, views: int) -> None:
    """Its rule, in whole frames: i / n of the free length; with offsets i times its (n - 1)th part, one view at the centre."""
    span, free = Span(16, 4, indices="linspace"), frames - 64
    starts = [view_start(frames, span, view, views, "shares") for view in range(views)]
    assert starts == [int(free * view / views) for view in range(views)]
    offsets = [view_start(frames, span, view, views, "shares", offset=True) for view in range(views)]
    assert offsets == ([free // 2] if views == 1 else [view * int(free / (views - 1)) for view in range(views)])


@pytest.mark.parametrize("frames", [1, 7, 16, 50])
def test_segments_are_equal_parts_with_a_drawn_or_the_middle_frame(frames: int) -> None:
    span = Span(8, 4, indices="segments")
    edges = [int(np.round((frames - 1) / 8 * i)) for i in range(9)]
    parts = list(pairwise(edges))
    assert span.segments(frames).tolist() == [(low + high) // 2 for low, high in parts]
    drawn = np.array([span.segments(frames, np.random.default_rng(seed)) for seed in range(300)])
    assert drawn.min(0).tolist() == [low for low, _ in parts]
    assert drawn.max(0).tolist() == [high for _, high in parts]


def test_segments_of_a_videos_second_clip_are_the_same_at_distance_0() -> None:
    shape, aug = ClipShape(8, 1, 32, indices="segments"), Augmentation()
    first = TrainDraw(np.random.default_rng(0), shape, aug)
    same, other = (TrainDraw(np.random.default_rng(1), shape, aug, first, distance) for distance in (0, 5))
    frames = first.frames(200).tolist()
    assert same.frames(200).tolist() == frames
    assert other.frames(200).tolist() != frames
