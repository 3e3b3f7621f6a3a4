"""The one-euro filter (Casiez et al., CHI 2012)."""

from __future__ import annotations

import math

import numpy as np

SPEED_CUTOFF = 1.0


class OneEuro:
    """A low-pass filter whose cutoff frequency rises with speed, applied to each element of an array.

    Args:
        min_cutoff: cutoff in Hz at speed 0.
        beta: increase of the cutoff in Hz per unit of speed.
    """

    def __init__(self, min_cutoff: float, beta: float) -> None:
        self._min_cutoff, self._beta = min_cutoff, beta
        self._raw = self._value = self._speed = np.zeros(0)

    def __call__(self, values: np.ndarray, step: float, scale: float) -> np.ndarray:
        """Smooth the next values; the first ones are returned unchanged.

        Args:
            step: seconds since the previous values, above 0.
            scale: unit of length for speed, in the values' units.
        """
        if not self._raw.size:
            self._raw, self._value, self._speed = values, values, np.zeros_like(values)
            return values
        speed = (values - self._raw) / (scale * step)
        self._speed = self._speed + _share(SPEED_CUTOFF, step) * (speed - self._speed)
        share = _share(self._min_cutoff + self._beta * np.abs(self._speed), step)
        self._raw, self._value = values, self._value + share * (values - self._value)
        return self._value


def _share(cutoff: np.ndarray | float, step: float) -> np.ndarray | float:
    """Weight of the new value."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))
