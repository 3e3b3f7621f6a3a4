import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.data.randaugment import (
    GEOMETRIC,
    OPS,
    VALUES,
    Op,
    RandAugment,
    draw_ops,
    forward_matrix,
    inverse_matrix,
    parse_policy,
)
from transm3e.data.randaugment_ops import TABLES, augment
from transm3e.errors import UserError

RECIPE = RandAugment(magnitude=7, num_ops=4, magnitude_std=0.5, increasing=True)
EXACT = [name for name in TABLES if name != "Contrast"]
Image = pytest.importorskip("PIL.Image")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance")
ImageOps = pytest.importorskip("PIL.ImageOps")


def images(count: int = 3, height: int = 60, width: int = 84, seed: int = 0) -> np.ndarray:
    """Smooth colour images of different contrast: blurred noise, stretched."""
    noise = np.random.default_rng(seed).normal(size=(count, height, width, 3))
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 6) for image in noise])
    spread = np.array([200, 120, 60])[:count, None, None, None]
    return (128 + spread * (smooth / np.abs(smooth).max() / 2 - 0.1)).clip(0, 255).astype(np.uint8)


def by_pillow(image, op: Op):
    """One operation as the reference does it, on a Pillow image."""
    width, height = image.size
    v = op.value
    affine = {
        "ShearX": (1, v, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, v, 1, 0),
        "TranslateXRel": (1, 0, v * width, 0, 1, 0),
        "TranslateYRel": (1, 0, 0, 0, 1, v * height),
    }
    if op.name in affine:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            affine[op.name],
            resample=Image.Resampling.BILINEAR,
            fillcolor=(128,) * 3,
        )
    added = [i + int(v) if i < 128 else i for i in range(256)] * 3
    return {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
        # Pillow no longer takes 0 bits; older ones, which the recipe was made with, gave black.
        "Posterize": lambda: ImageOps.posterize(image, int(v)) if v else Image.new("RGB", image.size),
        "Solarize": lambda: ImageOps.solarize(image, int(v)),
        "SolarizeAdd": lambda: image.point([min(255, i) for i in added]),
        "Color": lambda: ImageEnhance.Color(image).enhance(v),
        "Contrast": lambda: ImageEnhance.Contrast(image).enhance(v),
        "Brightness": lambda: ImageEnhance.Brightness(image).enhance(v),
        "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(v),
        "Rotate": lambda: image.rotate(v, resample=Image.Resampling.BILINEAR, fillcolor=(128,) * 3),
    }[op.name]()


def pillow_clip(clip: np.ndarray, ops: tuple[Op, ...]) -> np.ndarray:
    images = [Image.fromarray(frame) for frame in clip]
    for op in ops:
        images = [by_pillow(image, op) for image in images]
    return np.stack([np.asarray(image) for image in images])


def ours(clip: np.ndarray, *ops: Op) -> np.ndarray:
    changed = clip.copy()
    augment(changed, ops, "bilinear")
    return changed


def some_op(name: str, share: float, sign: int = 1) -> Op:
    return Op(name, float(VALUES[name](share, sign, True)))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("share", "sign"), [(0.0, 1), (0.35, -1), (0.72, 1), (1.0, -1)])
def test_tables_are_pillows_exactly(name: str, share: float, sign: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1, 60, 84, 3), dtype=np.uint8)
    flat = np.full((1, 60, 84, 3), 77, np.uint8)
    clip, op = np.concatenate([images(), noise, flat]), some_op(name, share, sign)
    np.testing.assert_array_equal(ours(clip, op), pillow_clip(clip, (op,)))


@pytest.mark.parametrize("name", ["Color", "Sharpness"])
@pytest.mark.parametrize("factor", [0.1, 0.6, 1.0, 1.5, 1.9])
def test_blends_with_other_pixels_are_pillows_within_two_levels(name: str, factor: float) -> None:
    # Pillow rounds the grey or smoothed image before it blends and then cuts fractions off; here all is rounded once.
    noise = np.random.default_rng(1).integers(0, 256, (1, 60, 84, 3), dtype=np.uint8)
    clip = np.concatenate([images(), noise])
    difference = ours(clip, Op(name, factor)).astype(int) - pillow_clip(clip, (Op(name, factor),))
    assert np.abs(difference).max() <= 2
    assert abs(difference.mean()) < 0.6


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize(("share", "sign"), [(0.3, 1), (0.85, -1)])
def test_warps_are_pillows_within_two_levels(name: str, share: float, sign: int) -> None:
    clip, op = images(), some_op(name, share, sign)
    got, expected = ours(clip, op).astype(int), pillow_clip(clip, (op,)).astype(int)
    # On the rim OpenCV mixes with the colour outside, where Pillow repeats the last pixel: one pixel wide.
    inside = pillow_clip(np.full_like(clip, 255), (op,)) == 255
    kernel = np.ones((3, 3), np.uint8)
    core = np.stack([cv2.erode(mask.astype(np.uint8), kernel, borderValue=0) for mask in inside]).astype(bool)
    outer = np.stack([cv2.dilate(mask.astype(np.uint8), kernel) for mask in inside]) == 0
    assert core.mean() > 0.3
    assert outer.any()
    assert np.abs(got - expected)[core].max() <= 2
    assert (got[outer] == 128).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EXACT), st.floats(0, 1), st.sampled_from([-1, 1])), min_size=2, max_size=5))
def test_composed_tables_are_pillows_one_by_one(drawn: list[tuple[str, float, int]]) -> None:
    ops = tuple(some_op(*one) for one in drawn)
    clip = images(2, 20, 24)
    np.testing.assert_array_equal(ours(clip, *ops), pillow_clip(clip, ops))


@pytest.mark.parametrize("before", [Op("Invert"), Op("Posterize", 3), Op("Equalize"), Op("Contrast", 0.3)])
@pytest.mark.parametrize("factor", [0.2, 1.8])
def test_contrast_after_other_tables_is_pillows_within_a_level(before: Op, factor: float) -> None:
    # It asks for the mean luma, which Pillow rounds pixel by pixel first.
    clip, ops = images(), (before, Op("Contrast", factor))
    assert np.abs(ours(clip, *ops).astype(int) - pillow_clip(clip, ops)).max() <= 1


def test_statistics_are_each_frames_own() -> None:
    clip = images(2)
    op = Op("AutoContrast")
    np.testing.assert_array_equal(ours(clip, op)[1:], ours(clip[1:], op))
    assert ours(clip, op)[0].max() == ours(clip, op)[1].max() == 255


@pytest.mark.parametrize("name", GEOMETRIC)
def test_forward_undoes_inverse(name: str) -> None:
    op = some_op(name, 0.7, -1)
    np.testing.assert_allclose(forward_matrix((op,), 60, 84) @ inverse_matrix(op, 60, 84), np.eye(3), atol=1e-12)
    corner = np.array([-0.5, -0.5, 1.0])
    if name.startswith("Shear"):
        np.testing.assert_allclose(forward_matrix((op,), 60, 84) @ corner, corner, atol=1e-12)


def test_the_recipes_policy() -> None:
    assert parse_policy("rand-m7-n4-mstd0.5-inc1") == RECIPE
    assert parse_policy("rand") == RandAugment(10, 2, 0, False)
    assert parse_policy("rand-inc0-n3") == RandAugment(10, 3, 0, False)
    assert parse_policy("") is None


@pytest.mark.parametrize(
    "text",
    ["augmix-m3", "rand-m11", "rand-n0", "rand-n1.5", "rand-inc2", "rand-w0", "rand-m7-m8", "rand-", "rand-m", "m7-n4"],
)
def test_other_policies_are_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match=r"AUG\.AA_TYPE .*allowed: .*rand-m7-n4") as caught:
        parse_policy(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ops_are_drawn_with_replacement_and_applied_half_of_the_time() -> None:
    rng, clips = np.random.default_rng(0), 6000
    drawn = [draw_ops(rng, RECIPE) for _ in range(clips)]
    names = [op.name for ops in drawn for op in ops]
    counts = np.array([names.count(name) for name in OPS])
    expected = clips * 4 * 0.5 / len(OPS)
    assert (np.abs(counts - expected) < 5 * expected**0.5).all()
    assert len(OPS) == 15
    assert any(len({op.name for op in ops}) < len(ops) for ops in drawn)
    assert np.bincount([len(ops) for ops in drawn], minlength=5) / clips == pytest.approx(
        np.array([1, 4, 6, 4, 1]) / 16, abs=0.03
    )


@pytest.mark.parametrize(
    ("name", "at_7", "low", "high"),
    [
        ("Rotate", 21, -30, 30),
        ("ShearX", 0.21, -0.3, 0.3),
        ("TranslateYRel", 0.315, -0.45, 0.45),
        ("Posterize", 2, 0, 4),
        ("Solarize", 77, 0, 256),
        ("SolarizeAdd", 77, 0, 110),
        ("Contrast", 1.63, 0.1, 1.9),
    ],
)
def test_values_of_a_magnitude(name: str, at_7: float, low: float, high: float) -> None:
    assert VALUES[name](0.7, 1, True) == pytest.approx(at_7)
    every = [VALUES[name](share, sign, inc) for share in (0, 0.5, 1) for sign in (-1, 1) for inc in (True, False)]
    assert min(every) >= low - 1e-9
    assert max(every) <= high + 1e-9


def test_without_increasing_strong_means_weak_for_posterize_and_solarize() -> None:
    assert [VALUES["Posterize"](share, 1, False) for share in (0, 0.7, 1)] == [0, 2, 4]
    assert [VALUES["Solarize"](share, 1, False) for share in (0, 1)] == [0, 256]
    assert [VALUES["Color"](share, sign, False) for share in (0, 1) for sign in (-1, 1)] == pytest.approx(
        [0.1, 0.1, 1.9, 1.9]
    )


def test_magnitudes_spread_and_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    turns = [
        abs(op.value) / 3
        for _ in range(3000)
        for op in draw_ops(rng, RandAugment(9.5, 4, 1.0, True))
        if op.name == "Rotate"
    ]
    assert max(turns) == 10
    assert min(turns) < 8.5
    free = [turn for turn in turns if turn < 9.5]
    assert np.mean([9.5 - turn for turn in free]) == pytest.approx((2 / np.pi) ** 0.5, abs=0.15)


def test_the_same_generator_draws_the_same() -> None:
    assert draw_ops(np.random.default_rng(5), RECIPE) == draw_ops(np.random.default_rng(5), RECIPE)
