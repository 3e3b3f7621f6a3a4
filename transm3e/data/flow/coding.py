"""Optical flow as bytes: 128 is no motion, 1 and 255 are `bound` pixels to the left/up and right/down.

The coding is symmetric, so that a mirrored clip is exactly 256 - x. TSN and MMAction2 map the same range to 0..255 (no
motion at 127.5, stored as 127 or 128; 6.38 steps per pixel instead of 6.35 here); their files are read as this coding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

REST = 128
STEPS = 127
DEFAULT_BOUND = 20.0
# (previous, next) frame -> (H, W, 2) float32: displacement of each pixel of `previous` in pixels, x right and y down.
Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def to_bytes(displacement: np.ndarray, bound: float) -> np.ndarray:
    """Displacements in pixels -> uint8 in 1..255 of the same shape; beyond +-bound they are clipped."""
    return np.clip(np.rint(REST + displacement * (STEPS / bound)), REST - STEPS, REST + STEPS).astype(np.uint8)


def to_pixels(flow: np.ndarray, bound: float) -> np.ndarray:
    """Stored flow, uint8 -> float32 displacements in pixels."""
    return (flow.astype(np.float32) - REST) * (bound / STEPS)


def flow_frames(images: Iterable[np.ndarray], estimate: Estimator, bound: float) -> Iterator[np.ndarray]:
    """Frames of a clip, (H, W) or (H, W, 3) uint8 -> as many flow frames, (H, W, 2) uint8.

    Flow frame t is the motion from frame t-1 to frame t; frame 0 is at rest.
    """
    previous: np.ndarray | None = None
    for image in images:
        if previous is None:
            yield np.full((*image.shape[:2], 2), REST, np.uint8)
        else:
            yield to_bytes(estimate(previous, image), bound)
        previous = image
