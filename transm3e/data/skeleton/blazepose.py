"""Skeletons by BlazePose: one person, 33 joints in pixels and in metres; see transm3e.data.blazepose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import numpy as np

from transm3e.data.backends import open_source
from transm3e.data.blazepose.models import RELEASE
from transm3e.data.blazepose.pose import BlazePose
from transm3e.data.blazepose.smooth import smooth
from transm3e.data.skeleton.detectors import DETECTORS, Note, Options, frame_chunks, ignore
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.data.skeleton.units import AS_IS, clean

# Frames per second of clips without time stamps (folders of images).
USUAL_RATE = 30.0


@DETECTORS.register("blazepose")
class BlazePoseMaker:
    """A Maker that follows one person through a video; threads may share it.

    Args:
        root: folder the clips are relative to.
        smoothed: whether joints are smoothed by a one-euro filter.
        note: see Options.

    Raises:
        UserError: LiteRT or the networks are missing.
    """

    layout: ClassVar[str] = "blazepose33"
    options: ClassVar[tuple[str, ...]] = ("smooth",)

    def __init__(self, root: Path, smoothed: bool = False, note: Note = ignore) -> None:
        self.root, self.smoothed, self.note = root, smoothed, note
        self.detector = BlazePose()
        self.origin = f"blazepose of {RELEASE}{', smoothed' if smoothed else ''}"

    @classmethod
    def build(cls, options: Options) -> BlazePoseMaker:
        """See Detector.build."""
        return cls(options.root, options.smooth, options.note)

    def inputs(self, clip: str) -> list[Path]:
        """See Maker.inputs."""
        return [self.root / clip]

    def make(self, clip: str) -> tuple[Skeleton, tuple[int, int]]:
        """See Maker.make."""
        size = (0, 0)

        def frames() -> Iterator[np.ndarray]:
            nonlocal size
            for chunk in frame_chunks(self.root / clip, self.note):
                size = (chunk.shape[1], chunk.shape[2])
                yield from chunk

        poses = list(self.detector.follow(frames()))
        if self.smoothed:
            poses = list(smooth(poses, _seconds(self.root / clip, len(poses))))
        nobody = np.zeros((33, 3))
        points = np.array([nobody if pose is None else pose.joints for pose in poses], np.float32)
        world = np.array([nobody if pose is None else pose.world for pose in poses], np.float32)
        return clean(Skeleton(points[:, None], self.layout, *size, world=world[:, None]), AS_IS, clip), size


def _seconds(path: Path, count: int) -> np.ndarray:
    """(count,) increasing times of a video's frames."""
    with closing(open_source(path)) as video:
        seconds = video.seconds
    usable = seconds is not None and len(seconds) == count and (np.diff(seconds) > 0).all()
    return seconds if usable and seconds is not None else np.arange(count) / USUAL_RATE
