from dataclasses import FrozenInstanceError, replace
from math import log

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from transm3e.data.geometry import RESIZINGS, Box
from transm3e.data.randaugment import Op, RandAugment
from transm3e.data.randaugment_ops import LUMA, augment
from transm3e.data.transforms import (
    Augmentation,
    Erase,
    Jitter,
    ViewParams,
    apply,
    apply_flow,
    apply_points,
    apply_to_clip,
    apply_to_frame,
    crop_and_resize,
    draw_crop,
    draw_train,
    eval_params,
)
from transm3e.errors import UserError

ALL = Augmentation(color_jitter=0.4, erase_prob=1.0)
EVERYTHING = replace(ALL, rand_augment=RandAugment(7, 4, 0.5, True))
WARPS = {"Rotate": 20.0, "ShearX": -0.2, "ShearY": 0.15, "TranslateXRel": 0.1, "TranslateYRel": -0.12}
PINNED = ViewParams(
    Box(top=5, left=44, height=30, width=26),
    jitter=Jitter(brightness=0.6753029137923193, contrast=0.946501552189179, saturation=0.9832410385126671),
    erase=(Erase(Box(top=10, left=3, height=10, width=25), seed=3813179373),),
)
seeds = st.integers(0, 2**32)


def noise(t: int = 3, h: int = 60, w: int = 80, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (t, h, w, 3), dtype=np.uint8)


def inside(box: Box, height: int, width: int) -> bool:
    vertical = box.top >= 0 and box.height > 0 and box.top + box.height <= height
    return vertical and box.left >= 0 and box.width > 0 and box.left + box.width <= width


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 256), st.integers(0, 2**32))
def test_drawn_crops_lie_inside(height: int, width: int, size: int, seed: int) -> None:
    params = draw_train(np.random.default_rng(seed), height, width, size, ALL)
    assert inside(params.crop, height, width)
    assert len(params.erase) == 1
    assert inside(params.erase[0].box, size, size)
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
    assert 0.21 < np.mean([len(params.erase) for params in drawn]) < 0.29
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
    got = crop_and_resize(frames, ViewParams(Box(0, 0, 96, 96), resizing="bilinear"), 32)
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


def test_jitter_clips_at_black_and_white() -> None:
    frames = np.stack([np.full((32, 32, 3), 10, np.uint8), np.full((32, 32, 3), 245, np.uint8)])
    got = apply(frames, ViewParams(Box(0, 0, 32, 32), jitter=Jitter(1.4, 1.4, 1)), 32)
    assert got[1].min() == 255
    assert got[0].max() == 0


def test_erasing_fills_one_box_with_the_same_noise_in_every_frame() -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    box = Box(4, 6, 10, 12)
    got = apply(frames, ViewParams(Box(0, 0, 32, 32), erase=(Erase(box, seed=3),)), 32)
    erased = got[:, 4:14, 6:18].copy()
    assert 100 < erased.mean() < 155
    assert (erased == erased[0]).all()
    got[:, 4:14, 6:18] = 0
    assert not got.any()
    assert not frames.any()


def test_other_fills_and_several_boxes() -> None:
    clip = np.full((2, 32, 32, 3), 9, np.uint8)
    box = Box(4, 6, 10, 12)
    one_colour = apply(clip, ViewParams(Box(0, 0, 32, 32), erase=(Erase(box, 3, "rand"),)), 32)
    assert len(np.unique(one_colour[:, 4:14, 6:18].reshape(-1, 3), axis=0)) == 1
    assert one_colour[0, 5, 7].tolist() != [9, 9, 9]
    grey = apply(clip, ViewParams(Box(0, 0, 32, 32), erase=(Erase(box, 3, "const"),)), 32)
    assert (grey[:, 4:14, 6:18] == 115).all()
    aug = replace(ALL, erase_count=4, erase_mode="rand")
    drawn = [draw_train(np.random.default_rng(seed), 60, 80, 100, aug).erase for seed in range(400)]
    assert np.bincount([len(boxes) for boxes in drawn], minlength=5)[1:] == pytest.approx(np.full(4, 100), abs=35)
    assert all(sum(e.box.height * e.box.width for e in boxes) <= 100 * 100 / 3 * 1.05 for boxes in drawn)
    assert {e.mode for boxes in drawn for e in boxes} == {"rand"}


def test_draws_are_unchanged() -> None:
    # Scores of trained models depend on these.
    params = draw_train(np.random.default_rng(3), 60, 80, 32, ALL)
    assert params == PINNED
    with_ops = draw_train(np.random.default_rng(3), 60, 80, 32, EVERYTHING)
    assert replace(with_ops, ops=()) == params
    assert with_ops.ops


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from(["crop_first", "augment_first"]), st.sampled_from(list(RESIZINGS)))
def test_all_augmentations_together_are_repeatable_and_keep_their_input(seed: int, order: str, how: str) -> None:
    frames = noise(2, 70, 50, seed)
    before = frames.copy()
    params = draw_train(np.random.default_rng(seed), 70, 50, 24, replace(EVERYTHING, order=order, resizing=how))
    clip = apply(frames, params, 24)
    assert (clip.shape, clip.dtype) == ((2, 24, 24, 3), np.uint8)
    np.testing.assert_array_equal(clip, apply(frames, params, 24))
    flow = apply_flow(frames[..., :2], params, 24)
    assert (flow.shape, flow.dtype) == ((2, 24, 24, 2), np.uint8)
    np.testing.assert_array_equal(frames, before)


def test_the_two_orders() -> None:
    frames, box = noise(), Box(5, 7, 32, 40)
    ops = (Op("Equalize"), Op("Rotate", 20.0))
    cropped = crop_and_resize(frames, ViewParams(box), 32)
    augment(cropped, ops, "bilinear")
    np.testing.assert_array_equal(apply(frames, ViewParams(box, ops=ops), 32), cropped)
    whole = frames.copy()
    augment(whole, ops, "bilinear")
    expected = crop_and_resize(whole, ViewParams(box), 32)
    np.testing.assert_array_equal(apply(frames, ViewParams(box, ops=ops, ops_frame=(60, 80)), 32), expected)


def test_frame_by_frame_into_a_batchs_memory() -> None:
    frames = noise(3)
    params = draw_train(np.random.default_rng(1), 60, 80, 32, EVERYTHING)
    batch = np.zeros((2, 3, 32, 32, 3), np.uint8)
    for frame, out in zip(frames, batch[1], strict=True):
        out[:] = apply_to_frame(frame, params, 32)
    before, expected = batch[1].copy(), apply(frames, params, 32)
    apply_to_clip(batch[1], params)
    np.testing.assert_array_equal(batch[1], expected)
    assert not batch[0].any()
    apart = np.moveaxis(np.ascontiguousarray(np.moveaxis(before, -1, 0)), 0, -1)
    np.testing.assert_array_equal(apply_to_clip(apart, params), expected)
    np.testing.assert_array_equal(apart, before)


def test_resizings() -> None:
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 5) for image in noise(2, 160, 120)])
    box = Box(10, 6, 140, 110)
    plain = crop_and_resize(smooth, ViewParams(box), 40)
    for how in RESIZINGS:
        other = crop_and_resize(smooth, ViewParams(box, resizing=how), 40)
        assert np.abs(other.astype(int) - plain).max() <= 4
    means = noise(2, 96, 96).reshape(2, 24, 4, 24, 4, 3).mean(axis=(2, 4))
    for how in ("area", "bilinear", "bicubic"):
        got = crop_and_resize(noise(2, 96, 96), ViewParams(Box(0, 0, 96, 96), resizing=how), 24)
        assert np.abs(got - means).max() <= 0.51
    got = crop_and_resize(noise(2, 96, 96), ViewParams(Box(0, 0, 96, 96), resizing="mipmap"), 24)
    assert np.abs(got - means).max() <= 1.01  # rounded twice: after 2x2 pixels, and after 2x2 of those


def test_invalid_values_name_their_key() -> None:
    changes = {"AUG.INTERPOLATION": {"interpolation": "cubic"}, "AUG.ORDER": {"order": "last"}}
    changes |= {"AUG.RE_MODE": {"erase_mode": "noise"}, "AUG.RE_COUNT": {"erase_count": 0}}
    for key, change in (changes | {"DATA.RESIZE": {"resizing": "cubic"}}).items():
        with pytest.raises(UserError, match=f"^{key} is .*(allowed: |at least 1$)"):
            Augmentation(**change)


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from(["crop_first", "augment_first"]))
def test_points_move_with_their_pixels(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    aug = Augmentation((0.4, 1.0), rand_augment=RandAugment(5, 4, 2.0, True), order=order)
    params = draw_train(rng, 120, 150, 96, aug)
    params = replace(params, ops=tuple(op for op in params.ops if op.name in WARPS))
    point = rng.uniform((60, 45), (90, 75)).astype(np.float32)
    y, x = np.mgrid[:120, :150]
    dot = 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 2.5**2))
    clip = apply(np.repeat(dot[None, ..., None].round().astype(np.uint8), 3, axis=-1), params, 96)
    expected = apply_points(point, params, 96)
    assume(((expected > 8) & (expected < 87)).all())
    weight = clip[0, ..., 0].astype(float) * (clip[0, ..., 0] > 160)
    y, x = np.mgrid[:96, :96]
    found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    assert np.abs(found - expected).max() < 0.5


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from(["crop_first", "augment_first"]))
def test_flow_turns_as_points_move(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    ops = tuple(Op(*pair) for pair in WARPS.items() if rng.random() < 0.5)
    # A crop of the clip's size: resizing would leave the vectors' lengths alone.
    params = ViewParams(Box(9, 12, 64, 64), bool(rng.random() < 0.5), ops=ops)
    params = replace(params, ops_frame=(90, 100) if order == "augment_first" else None)
    vector = rng.integers(-50, 51, 2)
    flow = apply_flow(np.full((2, 90, 100, 2), 128 + vector, np.uint8), params, 64)
    start = np.array([50.0, 45.0])
    end = apply_points(start, params, 64)
    assume(((end > 3) & (end < 60)).all())
    moved = apply_points(start + vector, params, 64) - end
    x, y = end.round().astype(int)
    assert np.abs(flow[:, y, x].astype(float) - 128 - moved).max() < 0.6


@pytest.mark.parametrize("value", [1, 2, 64, 128, 129, 254, 255])
def test_a_flip_mirrors_x_and_undoes_itself(value: int) -> None:
    flow = np.random.default_rng(0).integers(1, 256, (2, 32, 32, 2), dtype=np.uint8)
    flow[0, 3, 5] = (value, 77)
    params = ViewParams(Box(0, 0, 32, 32), flip=True)
    once = apply_flow(flow, params, 32)
    assert once[0, 3, 26].tolist() == [256 - value, 77]
    np.testing.assert_array_equal(apply_flow(once, params, 32), flow)


def test_erased_and_outside_regions_have_no_motion() -> None:
    flow = np.full((2, 32, 32, 2), 200, np.uint8)
    box = Box(4, 6, 10, 12)
    params = ViewParams(Box(0, 0, 32, 32), Jitter(0.5, 0.5, 0.5), erase=(Erase(box, 3),), ops=(Op("Invert"),))
    got = apply_flow(flow, replace(params, flip=False, ops=(Op("Invert"), Op("TranslateXRel", 0.25))), 32)
    assert (got[:, 4:14, 6:18] == 128).all()
    assert (got[:, :, 24:] == 128).all()
    assert (got[:, 20:, :23] == 200).all()


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_a_rescaled_view_lies_inside(seed: int, height: int, width: int, new_height: int, new_width: int) -> None:
    params = draw_train(np.random.default_rng(seed), height, width, 32, EVERYTHING)
    other = params.rescaled((height, width), (new_height, new_width))
    assert inside(other.crop, new_height, new_width)
    assert replace(other, crop=params.crop) == params
    assert params.rescaled((height, width), (height, width)) == params


def test_a_rescaled_view_shows_the_same() -> None:
    params = draw_train(np.random.default_rng(4), 60, 80, 32, replace(EVERYTHING, order="augment_first"))
    double = params.rescaled((60, 80), (120, 160))
    points = np.random.default_rng(0).uniform(0, 60, (5, 2))
    twice = apply_points((points + 0.5) * 2 - 0.5, double, 32)
    np.testing.assert_allclose(twice, apply_points(points, params, 32), atol=1e-3)
    assert apply_points(np.array([[np.nan, 1.0]]), params, 32).dtype == np.float32


@pytest.mark.parametrize("shape", [(340, 256), (256, 340), (300, 451)])
@pytest.mark.parametrize(("crop", "crops", "scale"), [(0, 1, 256), (0, 3, 224), (1, 3, 224), (2, 3, 224)])
def test_a_scaled_crop_is_pyslowfasts(shape: tuple[int, int], crop: int, crops: int, scale: int) -> None:
    """Its rule: bilinear to a short side, the other side rounded down; the centre rounded up, or the ends of the long side."""
    frame = cv2.GaussianBlur(noise(1, *shape)[0], (0, 0), 3)
    height, width = shape
    to = (height * scale // width, scale) if width < height else (scale, width * scale // height)
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(planes, to, mode="bilinear", align_corners=False)[0]
    top, left = -(-(to[0] - 224) // 2), -(-(to[1] - 224) // 2)
    if crops == 3:
        along = {0: 0, 1: None, 2: max(to) - 224}[crop]
        top, left = (along if along is not None and height > width else top), left
        left = along if along is not None and width >= height else left
    expected = resized[:, top : top + 224, left : left + 224].permute(1, 2, 0).numpy()
    params = eval_params(*shape, crop, crops, "two_by_two", 224, scale)
    assert np.abs(apply(frame[None], params, 224)[0] - expected).max() <= 1


@given(seeds, st.booleans())
def test_jittered_scales_are_pyslowfasts(seed: int, inverse: bool) -> None:
    aug = Augmentation(area=(), aspect=(), scales=(256, 320), inverse_scales=inverse, flip=False)
    rng = np.random.default_rng(seed)
    params = draw_train(np.random.default_rng(seed), 240, 320, 224, aug)
    drawn = 1 / rng.uniform(1 / 320, 1 / 256) if inverse else rng.uniform(256, 320)
    height, width = (round(drawn), 320 * round(drawn) // 240)
    assert params.scaled == ((240, 320), (height, width))
    assert params.crop == Box(int(rng.integers(height - 224)), int(rng.integers(width - 224)), 224, 224)


def test_the_reciprocal_of_a_size_is_uniform() -> None:
    def mean(inverse: bool) -> float:
        aug = Augmentation(area=(), aspect=(), scales=(256, 512), inverse_scales=inverse)
        drawn = [draw_train(np.random.default_rng(s), 100, 100, 224, aug).scaled for s in range(2000)]
        return float(np.mean([to[0] for _, to in drawn if (_, to)]))

    assert mean(False) == pytest.approx(384, abs=6)
    assert mean(True) == pytest.approx(log(2) / (1 / 256 - 1 / 512), abs=6)


def test_points_and_smaller_flow_follow_a_scaled_crop() -> None:
    params = replace(eval_params(240, 320, 0, 1, "two_by_two", 224, 256), flip=True)
    # x grows by 256 / 240 about pixel centres, is cropped at ceil((341 - 224) / 2) = 59, and mirrored.
    x, y = (np.array([100.0, 90.0]) + 0.5) * np.array([341 / 320, 256 / 240]) - 0.5
    np.testing.assert_allclose(apply_points(np.array([100.0, 90.0]), params, 224), [223 - (x - 59), y - 16], rtol=1e-5)
    half = params.rescaled((240, 320), (120, 160))
    flow = np.full((1, 120, 160, 2), 128, np.uint8)
    flow[0, :, :80] = 140
    crop = apply_flow(flow, half, 224)
    assert crop.shape == (1, 224, 224, 2)
    assert crop[0, 112, 223, 0] == 256 - 140  # the left half, mirrored
    assert crop[0, 112, 0, 0] == 128


def test_normal_noise_has_the_mean_of_each_channel_and_is_new_in_each_frame() -> None:
    normal = ((0.45, 0.5, 0.4), (0.05, 0.02, 0.03))
    box = Erase(Box(0, 0, 32, 32), seed=3, normal=normal)
    clip = apply(noise(4, 32, 32), ViewParams(Box(0, 0, 32, 32), erase=(box,)), 32) / 255
    np.testing.assert_allclose(clip.mean((0, 1, 2)), normal[0], atol=0.004)
    np.testing.assert_allclose(clip.std((0, 1, 2)), normal[1], atol=0.004)
    assert np.abs(clip[0] - clip[1]).mean() > 0.01
    colour = apply(noise(4, 32, 32), ViewParams(Box(0, 0, 32, 32), erase=(replace(box, mode="rand"),)), 32)
    assert np.unique(colour[0].reshape(-1, 3), axis=0).shape == (1, 3)
    assert np.unique(colour.reshape(-1, 3), axis=0).shape == (4, 3)
