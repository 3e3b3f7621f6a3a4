"""Crop, flip, colour and erase: drawn once per clip, applied to every frame while it is still uint8.

The crop comes first, so everything after it works on the small clip. One draw serves all modalities of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import cv2
import numpy as np

# Of red, green and blue in luma (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114])
# Bilinear resizing reads 2x2 pixels; beyond this reduction it would skip pixels, so areas are averaged instead.
AREA_REDUCTION = 2.0
CROP_TRIES = 10
ERASE_AREA = (0.02, 1 / 3)
ERASE_ASPECT = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class Box:
    """A box in pixels; left and top are inside, left + width and top + height are not."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Jitter:
    """Colour factors of a clip, 1 = unchanged, applied in the order of the fields."""

    brightness: float
    contrast: float
    saturation: float


@dataclass(frozen=True)
class Erase:
    """A box of the finished clip (after crop, resize and flip) filled with noise made from `seed`."""

    box: Box
    seed: int


@dataclass(frozen=True)
class ViewParams:
    """What is done to a clip.

    Attributes:
        crop: box of the source frame that is resized to the clip.
        flip: mirror left and right.
        jitter: colour factors, or None.
        erase: the erased box, or None.
    """

    crop: Box
    flip: bool = False
    jitter: Jitter | None = None
    erase: Erase | None = None


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training clip.

    Attributes:
        area: range of the crop's share of the frame, in (0, 1].
        aspect: range of the crop's width / height.
        flip: mirror half of the clips.
        color_jitter: j in [0, 1]: factors are drawn from [1 - j, 1 + j]; 0 = off.
        erase_prob: share of clips with an erased box, in [0, 1].
    """

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (0.75, 1.3333)
    flip: bool = True
    color_jitter: float = 0.0
    erase_prob: float = 0.0


def draw_train(rng: np.random.Generator, height: int, width: int, size: int, aug: Augmentation) -> ViewParams:
    """Draw the parameters of one training clip.

    Args:
        rng: the clip's generator.
        height, width: of the source frames in pixels.
        size: side of the finished clip in pixels.
        aug: the ranges.
    """
    return ViewParams(
        crop=draw_crop(rng, height, width, aug.area, aug.aspect),
        flip=bool(aug.flip and rng.random() < 0.5),
        jitter=_draw_jitter(rng, aug.color_jitter) if aug.color_jitter else None,
        erase=_draw_erase(rng, size) if rng.random() < aug.erase_prob else None,
    )


def draw_crop(
    rng: np.random.Generator, height: int, width: int, area: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """A random box: area uniform, aspect ratio log-uniform, position uniform (Szegedy et al. 2015, as torchvision).

    Where ten draws do not fit into the frame it is the largest centred box whose aspect is in the range.
    """
    for _ in range(CROP_TRIES):
        share, ratio = rng.uniform(*area), exp(rng.uniform(log(aspect[0]), log(aspect[1])))
        w, h = round(sqrt(height * width * share * ratio)), round(sqrt(height * width * share / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)
    ratio = min(max(width / height, aspect[0]), aspect[1])
    w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def eval_params(height: int, width: int, crop_index: int, num_crops: int) -> ViewParams:
    """The square of the short side: at the centre (1 crop), or at the start, centre and end of the long side (3).

    Cropping this square and resizing it to the clip is resizing the short side and cropping, in one step.
    """
    assert num_crops in (1, 3), f"{num_crops} spatial crops"
    assert 0 <= crop_index < num_crops, f"crop {crop_index} of {num_crops}"
    side = min(height, width)
    place = 1 if num_crops == 1 else crop_index  # in halves of the free way
    return ViewParams(Box((height - side) * place // 2, (width - side) * place // 2, side, side))


def apply(frames: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    """All of `params` for RGB: (T, H, W, 3) uint8 -> (T, size, size, 3) uint8; the input stays as it was."""
    clip = crop_and_resize(frames, params, size)
    if params.jitter is not None:
        clip = _jitter(clip, params.jitter)
    if params.erase is not None:
        box = params.erase.box
        noise = np.random.default_rng(params.erase.seed).integers(256, size=(box.height, box.width, 3), dtype=np.uint8)
        # The same noise in every frame: the box is then erased from the RGB difference as well.
        clip[:, box.top : box.top + box.height, box.left : box.left + box.width] = noise
    return clip


def crop_and_resize(frames: np.ndarray, params: ViewParams, size: int) -> np.ndarray:
    """Crop, resize and flip, for any modality of pixels: (T, H, W, C) uint8 -> (T, size, size, C) uint8, C > 1."""
    box = params.crop
    cropped = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
    shrinks = min(box.height, box.width) > AREA_REDUCTION * size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    clip = np.empty((len(frames), size, size, frames.shape[-1]), np.uint8)
    for image, out in zip(cropped, clip, strict=True):
        cv2.resize(image, (size, size), dst=out, interpolation=how)
        if params.flip:
            cv2.flip(out, 1, dst=out)
    return clip


def _draw_jitter(rng: np.random.Generator, strength: float) -> Jitter:
    brightness, contrast, saturation = rng.uniform(max(0.0, 1 - strength), 1 + strength, 3)
    return Jitter(float(brightness), float(contrast), float(saturation))


def _draw_erase(rng: np.random.Generator, size: int) -> Erase:
    # As random erasing (Zhong et al. 2020); a side that would not fit is cut to the clip.
    share, ratio = rng.uniform(*ERASE_AREA), exp(rng.uniform(log(ERASE_ASPECT[0]), log(ERASE_ASPECT[1])))
    h = min(size, max(1, round(size * sqrt(share * ratio))))
    w = min(size, max(1, round(size * sqrt(share / ratio))))
    box = Box(int(rng.integers(size - h + 1)), int(rng.integers(size - w + 1)), h, w)
    return Erase(box, int(rng.integers(2**32)))


def _jitter(clip: np.ndarray, jitter: Jitter) -> np.ndarray:
    """Brightness scales, contrast blends with the clip's mean luma, saturation with each pixel's own luma.

    The three are one affine map of the colours, so values are rounded and cut to 0..255 once, at the end.
    The mean is over the whole clip: a mean per frame would make the clip flicker.
    """
    pixels = clip.reshape(-1, clip.shape[2], 3)
    scale = jitter.brightness * jitter.contrast
    offset = (1 - jitter.contrast) * jitter.brightness * float(LUMA @ np.array(cv2.mean(pixels)[:3]))
    matrix = scale * (jitter.saturation * np.eye(3) + (1 - jitter.saturation) * LUMA[None, :])
    mixed = cv2.transform(pixels, np.column_stack([matrix, np.full(3, offset)]))
    return mixed.reshape(clip.shape)
