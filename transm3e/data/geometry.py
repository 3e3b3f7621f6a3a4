"""Boxes, resizing, warps and their effect on points; pixel centres are at integer coordinates, as in OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Bilinear resizing reads 2x2 pixels; beyond this reduction it would skip pixels, so areas are averaged instead.
AREA_REDUCTION = 2.0
# How a crop is resized; see resize() for details.
RESIZINGS = {
    "mipmap": cv2.INTER_LINEAR,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "two_by_two": cv2.INTER_LINEAR,
}
# Of these, those for which cv2.resize never averages by area.
PLAIN = ("mipmap", "two_by_two")
# How a warp reads between pixels.
INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


@dataclass(frozen=True)
class Box:
    """A box in pixels; left and top are inside, left + width and top + height are not."""

    top: int
    left: int
    height: int
    width: int

    def rescaled(self, from_size: tuple[int, int], to_size: tuple[int, int]) -> Box:
        """The same part of a frame of another resolution, at least one pixel and inside it.

        Args:
            from_size, to_size: (height, width) of the two frames in pixels.
        """
        top, height = _rescale(self.top, self.height, from_size[0], to_size[0])
        left, width = _rescale(self.left, self.width, from_size[1], to_size[1])
        return Box(top, left, height, width)

    def of(self, frames: np.ndarray) -> np.ndarray:
        """(..., H, W, C) -> (..., height, width, C), a view."""
        return frames[..., self.top : self.top + self.height, self.left : self.left + self.width, :]


def as_image(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, C) contiguous -> (T * H, W, C), a view: one call for operations on single pixels."""
    assert frames.flags.c_contiguous, "reshape() would return a copy"
    return frames.reshape(-1, *frames.shape[2:])


def resize(image: np.ndarray, size: int | tuple[int, int], how: str) -> np.ndarray:
    """Resize one image to a square, or to (height, width).

    "two_by_two" reads 2x2 pixels whatever the reduction. "bilinear" and "bicubic" average areas instead where both sides
    shrink by more than 2, "area" where both shrink.
    "mipmap" averages 2x2 pixels while both sides are more than twice the target, then resizes bilinearly: as little
    aliasing as area averaging, in a quarter of the time. Averaging drops an odd last row or column.

    Args:
        image: (H, W, C) uint8, C > 1.
        size: side, or height and width, of the result in pixels.
        how: a name of RESIZINGS.

    Returns:
        (height, width, C) uint8, a new array.
    """
    height, width = (size, size) if isinstance(size, int) else size
    flag = _resize_flag(min(image.shape[0] / height, image.shape[1] / width), how)
    if how == "mipmap":
        image = _halve(image, height, width)
    return cv2.resize(image, (width, height), interpolation=flag)


def short_side(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of a frame whose short side is resized to `size` pixels, the other one rounded down."""
    return (height * size // width, size) if width < height else (size, width * size // height)


def warp(frames: np.ndarray, inverse: np.ndarray, interpolation: str, fill: int) -> None:
    """Affine warp of every frame, in place.

    Args:
        frames: (T, H, W, C) uint8, C 2 or 3; each frame contiguous.
        inverse: (3, 3), from pixels of the result to pixels of the source.
        interpolation: a name of INTERPOLATIONS.
        fill: value outside the source; pixels on its edge are blended with it.
    """
    height, width = frames.shape[1:3]
    flags = INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP
    # OpenCV 5 warps four channels two to three times as fast as two or three channels.
    before, after = np.zeros((2, height, width, 4), np.uint8)
    for image in frames:
        _to_four(image, before)
        cv2.warpAffine(before, inverse[:2], (width, height), dst=after, flags=flags, borderValue=(fill,) * 4)
        _from_four(after, image)


def resize_matrix(box: Box, height: int, width: int) -> np.ndarray:
    """(3, 3): pixel of the source -> pixel of the box resized to (height, width)."""
    x, y = width / box.width, height / box.height
    return np.array([[x, 0, (0.5 - box.left) * x - 0.5], [0, y, (0.5 - box.top) * y - 0.5], [0, 0, 1]])


def flip_matrix(size: int) -> np.ndarray:
    """(3, 3): pixel -> pixel of the clip mirrored left and right."""
    return np.array([[-1.0, 0, size - 1], [0, 1, 0], [0, 0, 1]])


def _rescale(start: int, length: int, old: int, new: int) -> tuple[int, int]:
    first, last = round(start * new / old), round((start + length) * new / old)
    length = min(new, max(1, last - first))
    return min(first, new - length), length


def _resize_flag(reduction: float, how: str) -> int:
    if how == "area" and reduction <= 1:
        return cv2.INTER_LINEAR
    return cv2.INTER_AREA if reduction > AREA_REDUCTION and how not in PLAIN else RESIZINGS[how]


def _halve(image: np.ndarray, to_height: int, to_width: int) -> np.ndarray:
    while min(image.shape[0] / to_height, image.shape[1] / to_width) > AREA_REDUCTION:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return image


def _to_four(image: np.ndarray, out: np.ndarray) -> None:
    if image.shape[-1] == 3:
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=out)
    else:
        cv2.mixChannels([image], [out], [0, 0, 1, 1])


def _from_four(image: np.ndarray, out: np.ndarray) -> None:
    if out.shape[-1] == 3:
        cv2.cvtColor(image, cv2.COLOR_RGBA2RGB, dst=out)
    else:
        cv2.mixChannels([image], [out], [0, 0, 1, 1])
