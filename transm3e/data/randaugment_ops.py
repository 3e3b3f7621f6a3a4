"""RandAugment's operations on uint8 clips with OpenCV, with Pillow's results.

Consecutive operations that are lookup tables of 256 values are composed exactly into one table: the image statistics that
AutoContrast, Equalize and Contrast need are computed from its histogram, mapped through the tables before them.
"""

from __future__ import annotations

from itertools import groupby

import cv2
import numpy as np

from transm3e.data.geometry import as_image, warp
from transm3e.data.randaugment import GEOMETRIC, Op, inverse_matrix

# Weights of red, green and blue in luma (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114])
# Value of pixels that a warp takes from outside the frame.
FILL = 128
STATISTIC = ("AutoContrast", "Equalize", "Contrast")
TABLES = ("Invert", "Posterize", "Solarize", "SolarizeAdd", "Brightness", *STATISTIC)
VALUE = np.arange(256)


def augment(frames: np.ndarray, ops: tuple[Op, ...], interpolation: str) -> None:
    """Apply all operations in order, in place; image statistics are per frame, as in timm and PySlowFast.

    Args:
        frames: (T, H, W, 3) uint8 RGB, contiguous.
        ops: of OPS.
        interpolation: a name of geometry.INTERPOLATIONS, for warps.
    """
    for is_table, group in groupby(ops, key=lambda op: op.name in TABLES):
        if is_table:
            _apply_tables(frames, list(group))
        else:
            for op in group:
                _apply_one(frames, op, interpolation)


def _apply_one(frames: np.ndarray, op: Op, interpolation: str) -> None:
    if op.name in GEOMETRIC:
        warp(frames, inverse_matrix(op, *frames.shape[1:3]), interpolation, FILL)
    elif op.name == "Color":
        _color(frames, op.value)
    else:
        _sharpness(frames, op.value)


def _color(frames: np.ndarray, factor: float) -> None:
    """Blend of each pixel's luma (factor 0) and the image (1); factors above 1 extrapolate."""
    pixels = as_image(frames)
    cv2.transform(pixels, factor * np.eye(3) + (1 - factor) * LUMA[None, :], dst=pixels)


def _sharpness(frames: np.ndarray, factor: float) -> None:
    """Blend of the image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13 (factor 0) and the image (1); border pixels stay."""
    # That kernel is 9/13 times the 3x3 mean plus 4/13 times the pixel.
    mean_share = (1 - factor) * 9 / 13
    for image in frames:
        blend = cv2.addWeighted(image, 1 - mean_share, cv2.blur(image, (3, 3)), mean_share, 0)
        image[1:-1, 1:-1] = blend[1:-1, 1:-1]


def _apply_tables(frames: np.ndarray, ops: list[Op]) -> None:
    if not any(op.name in STATISTIC for op in ops):
        pixels = as_image(frames)
        cv2.LUT(pixels, _compose(ops, None)[0], dst=pixels)
        return
    tables = _compose(ops, _histograms(frames)).reshape(len(frames), 3, 256)
    for image, table in zip(frames, tables, strict=True):
        # Faster than one table of three channels.
        cv2.merge([cv2.LUT(plane, one) for plane, one in zip(cv2.split(image), table, strict=True)], dst=image)


def _compose(ops: list[Op], counts: np.ndarray | None) -> np.ndarray:
    """Operations -> (N, 256) uint8 tables for N histograms, or (1, 256) without histograms."""
    tables = VALUE[None]
    for op in ops:
        step = _table(op, counts)
        tables = np.take_along_axis(step, np.broadcast_to(tables, (len(step), 256)), axis=1)
        counts = None if counts is None else _send_through(counts, step)
    return tables.astype(np.uint8)


def _table(op: Op, counts: np.ndarray | None) -> np.ndarray:
    """(N or 1, 256) int of 0..255."""
    if op.name in STATISTIC:
        assert counts is not None
        whole = {"AutoContrast": _auto_contrast, "Equalize": _equalize}.get(op.name)
        return whole(counts) if whole else _blend(_mean_luma(counts), op.value)
    table = {
        "Invert": lambda: 255 - VALUE,
        "Posterize": lambda: VALUE & (0xFF00 >> int(op.value)),
        "Solarize": lambda: np.where(op.value > VALUE, VALUE, 255 - VALUE),
        "SolarizeAdd": lambda: np.where(VALUE < 128, np.minimum(VALUE + int(op.value), 255), VALUE),
        "Brightness": lambda: _blend(np.zeros(1), op.value)[0],
    }[op.name]()
    return table[None] if counts is None else np.broadcast_to(table, counts.shape)


def _blend(base: np.ndarray, factor: float) -> np.ndarray:
    """(N,) values at factor 0 -> (N, 256); truncated to integers in float32, as in Pillow."""
    values = base[:, None].astype(np.float32) + np.float32(factor) * (VALUE - base[:, None]).astype(np.float32)
    return values.clip(0, 255).astype(int)


def _histograms(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) -> (3T, 256) pixel counts, frame by frame."""
    counts = [cv2.calcHist([image], [c], None, [256], [0, 256]).ravel() for image in frames for c in range(3)]
    return np.array(counts).astype(np.int64)


def _send_through(counts: np.ndarray, tables: np.ndarray) -> np.ndarray:
    rows = np.arange(len(counts))[:, None] * 256
    return np.bincount((rows + tables).ravel(), weights=counts.ravel(), minlength=counts.size).reshape(counts.shape)


def _auto_contrast(counts: np.ndarray) -> np.ndarray:
    """Stretch each channel to 0..255; a channel of a single value stays."""
    low, high = (counts > 0).argmax(1)[:, None], 255 - (counts[:, ::-1] > 0).argmax(1)[:, None]
    scale = 255 / np.maximum(high - low, 1)
    return np.where(high > low, (VALUE * scale - low * scale).clip(0, 255).astype(int), VALUE)


def _equalize(counts: np.ndarray) -> np.ndarray:
    """Flatten each channel's histogram; a channel with too few pixels stays."""
    counts = counts.astype(np.int64)
    last = np.take_along_axis(counts, 255 - (counts[:, ::-1] > 0).argmax(1)[:, None], axis=1)
    step = (counts.sum(1, keepdims=True) - last) // 255
    below = counts.cumsum(1) - counts
    flat = (step // 2 + below) // np.maximum(step, 1)
    return np.where(step > 0, np.minimum(flat, 255), VALUE)


def _mean_luma(counts: np.ndarray) -> np.ndarray:
    """(3T, 256) -> (3T,): the frame's mean luma, rounded, repeated for each channel."""
    means = (counts @ VALUE / counts.sum(1)).reshape(-1, 3)
    return np.repeat(np.floor(means @ LUMA + 0.5), 3)
