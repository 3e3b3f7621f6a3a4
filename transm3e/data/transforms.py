"""Crop, flip, colour jitter, RandAugment and erasing: drawn once per clip, applied to all its frames as uint8.

All modalities of a clip share one draw: apply() for RGB, apply_flow() for optical flow, apply_points() for joints.
The crop comes first, so later steps work on the small clip; with order "augment_first", RandAugment works on the whole
source frame before the crop, as in PySlowFast.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import exp, log, sqrt

import cv2
import numpy as np

from transm3e.config.schema import check_value
from transm3e.data.erasing import Erase, Normal, draw_erase, erase
from transm3e.data.geometry import Box, as_image, flip_matrix, resize, resize_matrix, short_side, warp
from transm3e.data.joint_augmentation import DrawnJointAugmentation, JointAugmentation
from transm3e.data.randaugment import GEOMETRIC, Op, RandAugment, draw_ops, forward_matrix, inverse_matrix
from transm3e.data.randaugment_ops import LUMA, augment

CROP_TRIES = 10
# The value of a flow channel that says "no motion".
NO_MOTION = 128


@dataclass(frozen=True)
class Jitter:
    """Colour factors of a clip, 1 = unchanged, applied in the order of the fields."""

    brightness: float
    contrast: float
    saturation: float


@dataclass(frozen=True)
class ViewParams:
    """Crop and augmentation of one clip.

    Attributes:
        crop: box of the source frame that is resized to the clip.
        scaled: (height, width) of the source frame, and of what it is resized to first; `crop` is a box of the latter.
        flip: mirror left and right.
        jitter: colour factors, or None.
        erase: the erased boxes.
        ops: RandAugment's operations.
        ops_frame: (height, width) of the source frame, if the operations are applied to it before the crop; None: they
            are applied to the cropped, resized, flipped and jittered clip.
        resizing: a name of geometry.RESIZINGS.
        interpolation: a name of geometry.INTERPOLATIONS, for the operations' warps.
        joints: augmentation of joints only, or None.
    """

    crop: Box
    scaled: tuple[tuple[int, int], tuple[int, int]] | None = field(default=None, kw_only=True)
    flip: bool = False
    jitter: Jitter | None = None
    erase: tuple[Erase, ...] = ()
    ops: tuple[Op, ...] = ()
    ops_frame: tuple[int, int] | None = None
    resizing: str = "mipmap"
    interpolation: str = "bilinear"
    joints: DrawnJointAugmentation | None = None

    def rescaled(self, from_size: tuple[int, int], to_size: tuple[int, int]) -> ViewParams:
        """The same view of a source with another resolution and the same aspect ratio, such as flow stored smaller.

        Args:
            from_size, to_size: (height, width) of the two sources in pixels.
        """
        ops_frame = to_size if self.ops_frame else None
        if self.scaled:
            return replace(self, scaled=(to_size, self.scaled[1]), ops_frame=ops_frame)
        return replace(self, crop=self.crop.rescaled(from_size, to_size), ops_frame=ops_frame)


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the augmentation of training clips.

    Attributes:
        area: range of the crop's share of the frame, in (0, 1]; () = crops by `scales`.
        aspect: range of the crop's width / height.
        scales: range of the short side, in pixels, to which frames are resized before a crop of the clip's size.
        inverse_scales: its reciprocal is drawn uniformly.
        flip: mirror half of the clips.
        color_jitter: j, 0 or more: factors are drawn from [1 - j, 1 + j], from 0 on; 0 = off.
        erase_prob: share of clips with erased boxes, in [0, 1].
        erase_mode: a value of AUG.RE_MODE.
        erase_count: most boxes per clip, at least 1; they share one box's area.
        erase_normal: of their noise, as in Erase.
        rand_augment: the policy, None = off.
        order: a value of AUG.ORDER.
        resizing: a name of geometry.RESIZINGS.
        interpolation: of RandAugment's warps, a name of geometry.INTERPOLATIONS.
        joints: augmentation of joints only.
        tempo: range of a clip's speed relative to the video; (1, 1) = unchanged.
        pauses: share of a clip's time steps that repeat the previous frame.

    Raises:
        UserError: a name or count that is not allowed.
    """

    area: tuple[float, ...] = (0.08, 1.0)
    aspect: tuple[float, ...] = (0.75, 1.3333)
    scales: tuple[int, int] = (256, 320)
    inverse_scales: bool = False
    flip: bool = True
    color_jitter: float = 0.0
    erase_prob: float = 0.0
    erase_mode: str = "pixel"
    erase_count: int = 1
    erase_normal: Normal | None = None
    rand_augment: RandAugment | None = None
    order: str = "crop_first"
    resizing: str = "mipmap"
    interpolation: str = "bilinear"
    joints: JointAugmentation = JointAugmentation()  # noqa: RUF009 (frozen)
    tempo: tuple[float, float] = (1.0, 1.0)
    pauses: float = 0.0

    def __post_init__(self) -> None:
        check_value("DATA.RESIZE", self.resizing)
        check_value("AUG.INTERPOLATION", self.interpolation)
        check_value("AUG.RE_MODE", self.erase_mode)
        check_value("AUG.RE_COUNT", self.erase_count)
        check_value("AUG.ORDER", self.order)


def draw_train(rng: np.random.Generator, height: int, width: int, size: int, aug: Augmentation) -> ViewParams:
    """Draw the parameters of one training clip. RandAugment and joints come last, so that they do not affect other draws.

    Args:
        rng: the clip's generator.
        height, width: of the source frames in pixels.
        size: side of the finished clip in pixels.
        aug: the ranges.
    """
    drawn = None if aug.area else draw_scaled_crop(rng, height, width, size, aug)
    return ViewParams(
        crop=drawn[1] if drawn else draw_crop(rng, height, width, aug.area, aug.aspect),
        scaled=((height, width), drawn[0]) if drawn else None,
        flip=bool(aug.flip and rng.random() < 0.5),
        jitter=_draw_jitter(rng, aug.color_jitter) if aug.color_jitter else None,
        erase=draw_erase(rng, size, aug.erase_mode, aug.erase_count, aug.erase_normal)
        if rng.random() < aug.erase_prob
        else (),
        ops=draw_ops(rng, aug.rand_augment) if aug.rand_augment else (),
        ops_frame=(height, width) if aug.order == "augment_first" else None,
        resizing=aug.resizing,
        interpolation=aug.interpolation,
        joints=DrawnJointAugmentation(aug.joints, int(rng.integers(1 << 62))) if aug.joints else None,
    )


def draw_scaled_crop(
    rng: np.random.Generator, height: int, width: int, size: int, aug: Augmentation
) -> tuple[tuple[int, int], Box]:
    """A random size of the frame and a box of `size` in it, as PySlowFast: the last row and column of positions is never
    drawn."""
    low, high = aug.scales
    drawn = 1 / rng.uniform(1 / high, 1 / low) if aug.inverse_scales else rng.uniform(low, high)
    scaled = short_side(height, width, max(size, round(drawn)))
    top, left = (int(rng.integers(max(1, side - size))) for side in scaled)
    return scaled, Box(top, left, size, size)


def draw_crop(
    rng: np.random.Generator, height: int, width: int, area: tuple[float, ...], aspect: tuple[float, ...]
) -> Box:
    """A random box: area uniform, aspect ratio log-uniform, position uniform (Szegedy et al. 2015, as torchvision).

    If ten draws do not fit into the frame, it is the largest centred box whose aspect ratio is in the range.
    """
    for _ in range(CROP_TRIES):
        share, ratio = rng.uniform(area[0], area[1]), exp(rng.uniform(log(aspect[0]), log(aspect[1])))
        w, h = round(sqrt(height * width * share * ratio)), round(sqrt(height * width * share / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
    ratio = min(max(width / height, aspect[0]), aspect[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def eval_params(
    height: int, width: int, crop_index: int, num_crops: int, resizing: str = "mipmap", size: int = 0, scale: int = 0
) -> ViewParams:
    """The square of the short side: at the centre (1 crop), or at the start, centre and end of the long side (3).

    Cropping this square and resizing it to the clip is resizing the short side and cropping, in one step. With `scale` the
    short side is resized to it first, and squares of `size` are cropped, as in PySlowFast, whose centre is rounded up.
    """
    assert num_crops in (1, 3), f"{num_crops} spatial crops"
    assert 0 <= crop_index < num_crops, f"crop {crop_index} of {num_crops}"
    if scale:
        source, (height, width) = (height, width), short_side(height, width, scale)
        top, left = -(-(height - size) // 2), -(-(width - size) // 2)
        if num_crops == 3 and crop_index != 1:
            end = crop_index // 2
            top, left = ((height - size) * end, left) if height > width else (top, (width - size) * end)
        return ViewParams(Box(top, left, size, size), scaled=(source, (height, width)), resizing=resizing)
    side = min(height, width)
    position = 1 if num_crops == 1 else crop_index  # in halves of the free space
    box = Box((height - side) * position // 2, (width - side) * position // 2, side, side)
    return ViewParams(box, resizing=resizing)


def apply(frames: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    """All of `params` for RGB: (T, H, W, 3) uint8 -> (T, size, size, 3) uint8; the input is not changed."""
    clip = np.empty((len(frames), size, size, 3), np.uint8)
    for frame, out in zip(frames, clip, strict=True):
        out[:] = apply_to_frame(frame, params, size)
    return apply_to_clip(clip, params)


def apply_to_frame(frame: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    """The first part of apply(), for each frame as it is decoded: crop, resize and flip (and RandAugment if first).

    Args:
        frame: (H, W, 3) uint8 RGB; not changed.
        params: of the clip.
        size: side of the finished clip in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    if params.ops_frame and params.ops:
        frame = np.array(frame, order="C")
        augment(frame[None], params.ops, params.interpolation)
    return _crop_and_resize(frame, params, size)


def apply_to_clip(clip: np.ndarray, params: ViewParams) -> np.ndarray:
    """The second part of apply(), on the results of apply_to_frame(): jitter, RandAugment and erasing.

    Args:
        clip: (T, size, size, 3) uint8 RGB; if contiguous it is changed and returned, else a copy is.
        params: of the clip.
    """
    clip = np.ascontiguousarray(clip)
    if params.jitter is not None:
        _jitter(clip, params.jitter)
    if not params.ops_frame:
        augment(clip, params.ops, params.interpolation)
    erase(clip, params.erase)
    return clip


def apply_flow(flow: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    """The geometric part of `params` for optical flow; erased boxes and regions outside the frame get zero motion.

    A flip mirrors the frame and negates x (v -> 256 - v, an involution on 1..255); warps also transform the vectors. Crop
    and resize do not change their lengths, as in temporal segment networks (Wang et al. 2016).

    Args:
        flow: (T, H, W, 2) uint8, channel 0 to the right, 1 down: 128 + displacement * 127 / bound; 0 does not occur.
        params: for a source of this resolution (see ViewParams.rescaled).
        size: side of the finished clip in pixels.

    Returns:
        (T, size, size, 2) uint8 in the same encoding; the input is not changed.
    """
    if params.ops_frame and params.ops:
        flow = np.array(flow, order="C")
        _warp_all(flow, params)
    clip = crop_and_resize(flow, params, size)
    if not params.ops_frame:
        _warp_all(clip, params)
    _turn_vectors(clip, params)
    for one in params.erase:
        one.box.of(clip)[:] = NO_MOTION
    return clip


def apply_points(points: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    """The geometric part of `params` for points; the caller swaps left and right joints.

    Args:
        points: (..., 2) x and y in pixels of the source frame, the first pixel's centre being (0, 0).
        params: for a source of this resolution (see ViewParams.rescaled).
        size: side of the finished clip in pixels.

    Returns:
        (..., 2) float32 in pixels of the finished clip; points may lie outside it. NaN stays NaN.
    """
    matrix = _matrix(params, size)
    return (points @ matrix[:2, :2].T + matrix[:2, 2]).astype(np.float32)


def crop_and_resize(frames: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    """Crop, resize and flip, for any modality of pixels: (T, H, W, C) uint8 -> (T, size, size, C) uint8, C > 1."""
    clip = np.empty((len(frames), size, size, frames.shape[-1]), np.uint8)
    for frame, out in zip(frames, clip, strict=True):
        out[:] = _crop_and_resize(frame, params, size)
    return clip


def _crop_and_resize(frame: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    if params.scaled:
        image = np.ascontiguousarray(params.crop.of(resize(frame, params.scaled[1], params.resizing)))
    else:
        image = resize(params.crop.of(frame), size, params.resizing)
    return cv2.flip(image, 1, dst=image) if params.flip else image


def _draw_jitter(rng: np.random.Generator, strength: float) -> Jitter:
    brightness, contrast, saturation = rng.uniform(max(0.0, 1 - strength), 1 + strength, 3)
    return Jitter(float(brightness), float(contrast), float(saturation))


def _jitter(clip: np.ndarray, jitter: Jitter) -> None:
    """In place: brightness scales, contrast blends with the clip's mean luma, saturation with each pixel's own luma.

    The three form one affine map of the colours, so values are rounded and clipped to 0..255 once, at the end.
    The mean is over the whole clip: a mean per frame would cause flicker.
    """
    pixels = as_image(clip)
    scale = jitter.brightness * jitter.contrast
    offset = (1 - jitter.contrast) * jitter.brightness * float(LUMA @ np.array(cv2.mean(pixels)[:3]))
    matrix = scale * (jitter.saturation * np.eye(3) + (1 - jitter.saturation) * LUMA[None, :])
    cv2.transform(pixels, np.column_stack([matrix, np.full(3, offset)]), dst=pixels)


def _matrix(params: ViewParams, size: int) -> np.ndarray:
    """(3, 3): pixel of the source -> pixel of the finished clip."""
    ops = forward_matrix(params.ops, *(params.ops_frame or (size, size)))
    view = resize_matrix(params.crop, size, size)
    if params.scaled:
        source, scaled = params.scaled
        view = view @ resize_matrix(Box(0, 0, *source), *scaled)
    if params.flip:
        view = flip_matrix(size) @ view
    return view @ ops if params.ops_frame else ops @ view


def _warp_all(flow: np.ndarray, params: ViewParams) -> None:
    for op in params.ops:
        if op.name in GEOMETRIC:
            warp(flow, inverse_matrix(op, *flow.shape[1:3]), params.interpolation, NO_MOTION)


def _turn_vectors(flow: np.ndarray, params: ViewParams) -> None:
    # One map for all operations, so that values are rounded and clipped once. It does not depend on the frame's size.
    flip, ops = np.diag([-1.0 if params.flip else 1.0, 1.0]), forward_matrix(params.ops, 1, 1)[:2, :2]
    linear = flip @ ops if params.ops_frame else ops @ flip
    if np.array_equal(linear, np.eye(2)):
        return
    vectors = as_image(flow)
    offset = NO_MOTION - linear @ np.full(2, float(NO_MOTION))
    cv2.transform(vectors, np.column_stack([linear, offset]), dst=vectors)
    np.maximum(flow, 1, out=flow)
