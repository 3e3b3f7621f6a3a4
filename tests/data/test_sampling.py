import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transm3e.data.sampling import clip_rng, epoch_order, train_indices, view_indices

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
