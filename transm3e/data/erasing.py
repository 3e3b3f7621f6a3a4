"""Random erasing: boxes of the finished clip that are filled (Zhong et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from transm3e.data.geometry import Box

ERASE_AREA = (0.02, 1 / 3)
ERASE_ASPECT = (0.3, 1 / 0.3)
# PySlowFast erases after normalisation, where 0 is DATA.MEAN, 0.45.
GREY = 115


@dataclass(frozen=True)
class Erase:
    """A box of the finished clip (after crop, resize and flip) that is filled.

    Attributes:
        box: in pixels of the clip.
        seed: of the noise of "pixel" and "rand".
        mode: a value of AUG.RE_MODE.
    """

    box: Box
    seed: int
    mode: str = "pixel"

    def fill(self) -> np.ndarray:
        """(height, width, 3) or (3,) uint8 RGB."""
        if self.mode == "const":
            return np.full(3, GREY, np.uint8)
        size = (self.box.height, self.box.width, 3) if self.mode == "pixel" else (3,)
        return np.random.default_rng(self.seed).integers(256, size=size, dtype=np.uint8)


def draw_erase(rng: np.random.Generator, size: int, mode: str, max_count: int) -> tuple[Erase, ...]:
    """1 to max_count boxes with the total area of one; sides are limited to the clip's.

    Args:
        rng: the clip's generator.
        size: side of the finished clip in pixels.
        mode: a value of AUG.RE_MODE.
        max_count: at least 1.
    """
    count = int(rng.integers(1, max_count + 1)) if max_count > 1 else 1
    return tuple(_draw_one(rng, size, mode, count) for _ in range(count))


def erase(clip: np.ndarray, erased: tuple[Erase, ...]) -> None:
    """Fill the boxes of a clip (T, size, size, 3) uint8 in place.

    Every frame gets the same noise, so that the box is erased from the RGB difference as well.
    """
    for one in erased:
        one.box.of(clip)[:] = one.fill()


def _draw_one(rng: np.random.Generator, size: int, mode: str, count: int) -> Erase:
    share = rng.uniform(*ERASE_AREA) / count
    ratio = exp(rng.uniform(log(ERASE_ASPECT[0]), log(ERASE_ASPECT[1])))
    h = min(size, max(1, round(size * sqrt(share * ratio))))
    w = min(size, max(1, round(size * sqrt(share / ratio))))
    box = Box(int(rng.integers(size - h + 1)), int(rng.integers(size - w + 1)), h, w)
    return Erase(box, int(rng.integers(2**32)), mode)
