from dataclasses import FrozenInstanceError
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.data.transforms import (
    LUMA,
    Augmentation,
    Box,
    Erase,
    Jitter,
    ViewParams,
    apply,
    crop_and_resize,
    draw_crop,
    draw_train,
    eval_params,
)

ALL = Augmentation(color_jitter=0.4, erase_prob=1.0)


def noise(t: int = 3, h: int = 60, w: int = 80, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (t, h, w, 3), dtype=np.uint8)


def inside(box: Box, height: int, width: int) -> bool:
    vertical = box.top >= 0 and box.height > 0 and box.top + box.height <= height
    return vertical and box.left >= 0 and box.width > 0 and box.left + box.width <= width


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 256), st.integers(0, 2**32))
def test_what_is_drawn_lies_inside(height: int, width: int, size: int, seed: int) -> None:
    params = draw_train(np.random.default_rng(seed), height, width, size, ALL)
    assert inside(params.crop, height, width)
    assert params.erase is not None
    assert inside(params.erase.box, size, size)
    assert params.jitter is not None
    assert all(0.6 <= factor <= 1.4 for factor in vars(params.jitter).values())
    assert params == draw_train(np.random.default_rng(seed), height, width, size, ALL)


def test_crops_are_distributed_as_torchvision_draws_them() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    area, aspect, count = (0.08, 1.0), (0.75, 1.3333), 4000
    rng = np.random.default_rng(0)
    ours = [draw_crop(rng, 256, 340, area, aspect) for _ in range(count)]
    torch.manual_seed(0)
    image = torch.empty(3, 256, 340)
    theirs = [Box(*transforms.RandomResizedCrop.get_params(image, area, aspect)) for _ in range(count)]

    def table(boxes: list[Box]) -> np.ndarray:
        rows = [(b.height * b.width / 256 / 340, log(b.width / b.height), b.top / 256, b.left / 340) for b in boxes]
        return np.sort(np.array(rows), axis=0)

    # Kolmogorov-Smirnov at 1 in 10,000: 2.2 * sqrt(2 / n) in probability; compared as the quantiles' ranks.
    a, b = table(ours), table(theirs)
    for column in range(4):
        ranks = np.searchsorted(a[:, column], b[:, column], side="right") / count
        ties = np.searchsorted(a[:, column], b[:, column], side="left") / count
        own_right = np.searchsorted(b[:, column], b[:, column], side="right") / count
        own_left = np.searchsorted(b[:, column], b[:, column], side="left") / count
        assert max(np.abs(ranks - own_right).max(), np.abs(ties - own_left).max()) < 2.2 * (2 / count) ** 0.5


def test_a_frame_too_narrow_for_any_crop_gives_the_largest_centred_one() -> None:
    assert draw_crop(np.random.default_rng(0), 10, 400, (1.0, 1.0), (0.75, 1.3333)) == Box(0, 193, 10, 13)
    assert draw_crop(np.random.default_rng(0), 400, 10, (1.0, 1.0), (0.75, 1.3333)) == Box(193, 0, 13, 10)


def test_flips_and_erasing_happen_as_often_as_asked() -> None:
    aug = Augmentation(erase_prob=0.25)
    drawn = [draw_train(np.random.default_rng(seed), 60, 80, 32, aug) for seed in range(2000)]
    assert 0.46 < np.mean([params.flip for params in drawn]) < 0.54
    assert 0.21 < np.mean([params.erase is not None for params in drawn]) < 0.29
    assert all(params.jitter is None for params in drawn)
    never = Augmentation(flip=False)
    assert not any(draw_train(np.random.default_rng(s), 60, 80, 32, never).flip for s in range(50))


def test_parameters_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ViewParams(Box(0, 0, 1, 1)).flip = True  # type: ignore[misc]


def test_a_crop_of_the_clips_size_is_the_crop() -> None:
    frames = noise()
    before = frames.copy()
    got = apply(frames, ViewParams(Box(5, 7, 32, 32)), 32)
    np.testing.assert_array_equal(got, frames[:, 5:37, 7:39])
    flipped = apply(frames, ViewParams(Box(5, 7, 32, 32), flip=True), 32)
    np.testing.assert_array_equal(flipped, frames[:, 5:37, 7:39][:, :, ::-1])
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("box", [Box(3, 4, 41, 37), Box(0, 0, 20, 24), Box(0, 0, 60, 80)])
def test_resizing_is_bilinear_with_half_pixel_centres(box: Box) -> None:
    frames = noise()
    got = crop_and_resize(frames, ViewParams(box), 32)
    cropped = frames[:, box.top : box.top + box.height, box.left : box.left + box.width].copy()
    images = torch.from_numpy(cropped).permute(0, 3, 1, 2).double()
    expected = torch.nn.functional.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    assert (torch.from_numpy(got).permute(0, 3, 1, 2) - expected).abs().max() < 1.01


def test_a_large_reduction_averages_every_pixel() -> None:
    frames = noise(2, 96, 96)
    got = crop_and_resize(frames, ViewParams(Box(0, 0, 96, 96)), 32)
    means = frames.reshape(2, 32, 3, 32, 3, 3).mean(axis=(2, 4))
    assert np.abs(got - means).max() <= 0.51


def test_two_channels_too() -> None:
    flow = noise()[..., :2]
    got = crop_and_resize(flow, ViewParams(Box(5, 7, 32, 32), flip=True), 32)
    np.testing.assert_array_equal(got, flow[:, 5:37, 7:39][:, :, ::-1])


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (48, 48), (49, 64)])
def test_eval_crops_are_squares_of_the_short_side_along_the_long_one(height: int, width: int) -> None:
    boxes = [eval_params(height, width, i, 3).crop for i in range(3)]
    side = min(height, width)
    assert all((box.height, box.width) == (side, side) and inside(box, height, width) for box in boxes)
    ends = [(box.top if height > width else box.left) for box in boxes]
    assert ends[0] == 0
    assert ends[2] == max(height, width) - side
    assert boxes[1] == eval_params(height, width, 0, 1).crop
    assert abs(ends[1] - ends[2] / 2) <= 0.5
    assert not eval_params(height, width, 0, 1).flip


def test_no_such_eval_crop() -> None:
    for index, crops in ((1, 1), (3, 3), (0, 2)):
        with pytest.raises(AssertionError):
            eval_params(48, 64, index, crops)


@pytest.mark.parametrize(
    "jitter", [Jitter(1, 1, 1), Jitter(0.7, 1, 1), Jitter(1, 0.6, 1), Jitter(1, 1, 0.0), Jitter(0.8, 0.7, 1.3)]
)
def test_jitter_equals_its_three_steps_in_float64(jitter: Jitter) -> None:
    frames = noise(2, 32, 32) // 2 + 60  # far from 0 and 255, where the steps would cut and one map does not
    x = frames.astype(np.float64) * jitter.brightness
    x = jitter.contrast * x + (1 - jitter.contrast) * (x @ LUMA).mean()
    x = jitter.saturation * x + (1 - jitter.saturation) * (x @ LUMA)[..., None]
    got = apply(frames, ViewParams(Box(0, 0, 32, 32), jitter=jitter), 32)
    assert np.abs(got - x.clip(0, 255)).max() <= 0.65  # rounding, and OpenCV's fixed-point factors


def test_jitter_cuts_at_black_and_white() -> None:
    frames = np.stack([np.full((32, 32, 3), 10, np.uint8), np.full((32, 32, 3), 245, np.uint8)])
    got = apply(frames, ViewParams(Box(0, 0, 32, 32), jitter=Jitter(1.4, 1.4, 1)), 32)
    assert got[1].min() == 255
    assert got[0].max() == 0


def test_erasing_fills_one_box_with_the_same_noise_in_every_frame() -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    box = Box(4, 6, 10, 12)
    got = apply(frames, ViewParams(Box(0, 0, 32, 32), erase=Erase(box, seed=3)), 32)
    erased = got[:, 4:14, 6:18].copy()
    assert 100 < erased.mean() < 155
    assert (erased == erased[0]).all()
    got[:, 4:14, 6:18] = 0
    assert not got.any()
    assert not frames.any()


def test_one_draw_serves_two_modalities_alike() -> None:
    frames = noise()
    for seed in range(5):
        params = draw_train(np.random.default_rng(seed), 60, 80, 32, Augmentation())
        np.testing.assert_array_equal(apply(frames, params, 32), crop_and_resize(frames, params, 32))
