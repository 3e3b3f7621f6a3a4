"""Random erasing (Zhong et al. 2020): boxes of a finished clip that are filled with noise or grey."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log, sqrt

import numpy as np

from transm3e.data.geometry import Box

ERASE_AREA = (0.02, 1 / 3)
ERASE_ASPECT = (0.3, 1 / 0.3)
# PySlowFast erases after normalisation, where 0 is DATA.MEAN, 0.45.
GREY = 115
# Mean and standard deviation of noise, each of three channels.
Normal = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Erase:
    """A box of the finished clip (after crop, resize and flip) that is filled.

    Attributes:
        box: in pixels of the clip.
        seed: what "pixel" and "rand" make their noise from.
        mode: a value of AUG.RE_MODE.
        normal: mean and standard deviation (3,) of the noise, in 0 to 1, drawn for each frame; None: uniform, one for all.
    """

    box: Box
    seed: int
    mode: str = "pixel"
    normal: Normal | None = None

    def fill(self, frames: int) -> np.ndarray:
        """uint8 RGB that broadcasts to (frames, height, width, 3)."""
        if self.mode == "const":
            return np.full(3, GREY, np.uint8)
        size = (self.box.height, self.box.width, 3) if self.mode == "pixel" else (1, 1, 3)
        rng = np.random.default_rng(self.seed)
        if self.normal is None:
            return rng.integers(256, size=size if self.mode == "pixel" else (3,), dtype=np.uint8)
        noise = rng.normal(*self.normal, size=(frames, *size))
        return np.rint(255 * noise.clip(0, 1)).astype(np.uint8)


def draw_erase(
    rng: np.random.Generator, size: int, mode: str, max_count: int, normal: Normal | None = None
) -> tuple[Erase, ...]:
    """Random erasing (Zhong et al. 2020): 1 to max_count boxes that share one box's area, their sides cut to the clip's.

    Args:
        rng: the clip's generator.
        size: side of the finished clip in pixels.
        mode: a value of AUG.RE_MODE.
        max_count: at least 1.
        normal: as in Erase.
    """
    count = int(rng.integers(1, max_count + 1)) if max_count > 1 else 1
    return tuple(replace(_draw_one(rng, size, mode, count), normal=normal) for _ in range(count))


def erase(clip: np.ndarray, erased: tuple[Erase, ...]) -> None:
    """Fill the boxes of a clip (T, size, size, 3) uint8 in place.

    Uniform noise is the same in every frame: the box is then erased from the RGB difference as well.
    """
    for one in erased:
        one.box.of(clip)[:] = one.fill(len(clip))


def _draw_one(rng: np.random.Generator, size: int, mode: str, count: int) -> Erase:
    share = rng.uniform(*ERASE_AREA) / count
    ratio = exp(rng.uniform(log(ERASE_ASPECT[0]), log(ERASE_ASPECT[1])))
    h = min(size, max(1, round(size * sqrt(share * ratio))))
    w = min(size, max(1, round(size * sqrt(share / ratio))))
    box = Box(int(rng.integers(size - h + 1)), int(rng.integers(size - w + 1)), h, w)
    return Erase(box, int(rng.integers(2**32)), mode)
