"""Smooth a person's landmarks over time: strongly at rest, weakly in motion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from transm3e.data.blazepose.one_euro import OneEuro
from transm3e.data.blazepose.pose import Pose

# MediaPipe's lowest cutoff in Hz, and its increase per speed (pixels: in sides of the region per second; metres per second).
PIXELS, METRES = (0.05, 80.0), (0.1, 40.0)


def smooth(poses: Iterable[Pose | None], seconds: Sequence[float] | np.ndarray) -> Iterator[Pose | None]:
    """Poses of a video's frames with x, y and metres smoothed; restarts after frames without a person.

    Args:
        seconds: increasing times of the frames.
    """
    filters: tuple[OneEuro, OneEuro] | None = None
    for number, pose in enumerate(poses):
        if pose is None:
            filters = None
            yield None
            continue
        filters = filters or (OneEuro(*PIXELS), OneEuro(*METRES))
        step = float(seconds[number] - seconds[number - 1]) if number else 1.0
        xy = filters[0](pose.joints[:, :2], step, pose.region.side)
        yield pose._replace(joints=np.column_stack([xy, pose.joints[:, 2]]), world=filters[1](pose.world, step, 1.0))
