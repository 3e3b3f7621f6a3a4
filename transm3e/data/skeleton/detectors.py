"""Detectors by name, for extract_skeleton.py --detector: a new one is a class registered in DETECTORS.

    @DETECTORS.register("mine")
    class Mine:
        layout: ClassVar[str] = "coco17"
        options: ClassVar[tuple[str, ...]] = ("weights",)

        @classmethod
        def build(cls, options: Options) -> Mine: ...

It is a Maker; transm3e.data.skeleton.bodies imports its module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from transm3e.data.backends import open_source
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.errors import UserError
from transm3e.progress import track
from transm3e.registry import Registry

# Frames decoded at a time: a chunk of 1280x720 takes 88 MB.
CHUNK = 32
# Videos of more chunks have their own progress bar.
LONG = 20
Note = Callable[[str], None]


def ignore(where: str) -> None:
    """The Note of callers that need no progress."""


@dataclass(frozen=True)
class Options:
    """Options of detectors on the command line; each detector takes some of them.

    Attributes:
        root: folder the clips are relative to.
        weights: file of its weights, if it needs one.
        device: "cpu", "cuda" or "cuda:N".
        batch_size: frames per forward pass.
        min_score: persons with a lower score are left out, in [0, 1].
        max_persons: the best of a frame, at least 1.
        smooth: whether joints are smoothed over time.
        note: called with the progress at each chunk of frames; not an option on the command line.
    """

    root: Path
    weights: Path | None = None
    device: str = "cpu"
    batch_size: int = 4
    min_score: float = 0.5
    max_persons: int = 8
    smooth: bool = False
    note: Note = ignore


class Maker(Protocol):
    """Finds the joints of clips.

    Attributes:
        origin: what it works with, in words; another origin makes a file anew.
    """

    origin: str

    def inputs(self, clip: str) -> Sequence[Path]:
        """The files a clip's skeleton is made of; a newer one makes it anew."""

    def make(self, clip: str) -> tuple[Skeleton, tuple[int, int]]:
        """The skeleton of a clip, and (height, width) of its video in pixels.

        Raises:
            DecodeError: the clip cannot have one.
        """


class Detector(Maker, Protocol):
    """A Maker that runs a network.

    Attributes:
        layout: of its skeletons, one of transm3e.joints.LAYOUTS.
        options: names of the Options that it takes, in addition to root and note.
    """

    layout: ClassVar[str]
    options: ClassVar[tuple[str, ...]]

    @classmethod
    def build(cls, options: Options) -> Any:
        """Build the detector.

        Raises:
            UserError: a file or package is missing, or an option is wrong.
        """


DETECTORS: Registry[type[Detector]] = Registry("--detector")


def build_detector(name: str, options: Options) -> Maker:
    """Build the detector of this name.

    Raises:
        UserError: it does not exist, does not take one of the options, or as its build.
    """
    detector = DETECTORS[name]
    for field in fields(Options):
        if field.name not in ("root", "note", *detector.options) and getattr(options, field.name) != field.default:
            flag = field.name.replace("_", "-")
            takes = ", ".join(f"--{each.replace('_', '-')}" for each in detector.options) or "none"
            raise UserError(f"--{flag} is not for --detector {name}, which takes: {takes}; leave it out")
    maker: Maker = detector.build(options)
    return maker


def frame_chunks(path: Path, note: Note = ignore) -> Iterator[np.ndarray]:
    """(up to CHUNK, H, W, 3) uint8 RGB, all frames in order; each chunk has its own time limit."""
    with closing(open_source(path)) as video:
        end = video.num_frames
    starts = range(0, end, CHUNK)
    for start in track(starts, path.name, len(starts), "chunks") if len(starts) > LONG else starts:
        note(f"frame {start} of {end} of {path}")
        with closing(open_source(path)) as video:
            frames = video.frames(range(start, min(start + CHUNK, end)))
        yield frames
