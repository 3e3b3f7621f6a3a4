"""Read optical flow: videos and npz archives of datasets/extract_flow.py, and folders of JPEGs in TSN's layout."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from transm3e.data.decode import DEFAULT_TIMEOUT, DecodeError, FrameSource, Video
from transm3e.data.encode import parse_mark, read_comment
from transm3e.data.flow.coding import REST
from transm3e.data.images import files_by_number, read_image
from transm3e.foreign.npz import Archive, ArchiveError

MADE_BY = "transm3e flow"
# Frames per array of an npz archive: a clip of 16 frames touches few of them.
CHUNK = 16
# Of one such array, uncompressed; twice 16 frames of 8K.
MAX_CHUNK_BYTES = 1 << 31
# Pixels: no motion is longer than the longest side.
MAX_BOUND = 1 << 20
# Prefixes of the names of x and y images: TSN, MMAction2.
JPEG_LAYOUTS = (("flow_x_", "flow_y_"), ("x_", "y_"))
# Tolerated difference in the number of frames of a flow file and its video: at least, and as a share.
SLACK, SLACK_SHARE = 2, 0.02


class FlowSource(FrameSource):
    """Flow frames by number; images are (H, W, 2) uint8, see transm3e.data.flow.coding. They have no time stamps.

    Attributes:
        bound: motion in pixels at 1 and 255, or None where the files do not state it (JPEGs; usually 20).
    """

    bound: float | None = None

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W) of the stored frames; decodes one."""
        height, width = self.frames([0]).shape[1:3]
        return height, width


def open_flow(path: str | Path, timeout: float = DEFAULT_TIMEOUT) -> FlowSource:
    """The flow of a clip: a video, an .npz archive, or a folder of JPEGs; close() it.

    Args:
        timeout: seconds for this path; checked between packets or images.

    Raises:
        DecodeError: it cannot be read, or is not a flow file; from this function or from read().
    """
    if Path(path).is_dir():
        return FlowFolder(path, timeout)
    return NpzFlow(path) if Path(path).suffix.lower() == ".npz" else FlowVideo(path, timeout)


def check_frames(num_flow_frames: int, num_video_frames: int, path: str | Path) -> None:
    """Check that flow and video have the same number of frames, up to 2 frames or 2 %: extractors differ at the ends.

    Raises:
        DecodeError: the flow belongs to another video, or one of the two is incomplete.
    """
    if abs(num_flow_frames - num_video_frames) > max(SLACK, SLACK_SHARE * num_video_frames):
        raise DecodeError(
            str(path),
            f"has {num_flow_frames} flow frames, its video {num_video_frames}; extract the flow of this video",
        )


def read_flow_mark(path: str | Path) -> dict[str, Any]:
    """How a flow video or archive was made (see transm3e.prepare.flow.write); {} if it does not say."""
    if Path(path).suffix.lower() != ".npz":
        mark = parse_mark(read_comment(path))
        return mark if mark.get("made_by") == MADE_BY else {}
    try:
        archive = NpzFlow(path)
    except DecodeError:
        return {}
    archive.close()
    return archive.mark


class FlowVideo(FlowSource):
    """A video whose luma plane holds x above y, so it is twice as high as the flow.

    Raises:
        DecodeError: see open_flow.
    """

    def __init__(self, path: str | Path, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.path = str(path)
        self._video = Video(path, timeout, pixel_format="gray")
        self.num_frames = self._video.num_frames
        self.bound = _bound(read_flow_mark(path))
        if self.bound is None:
            self.close()
            raise DecodeError(self.path, "is a video, but not of optical flow; make it with datasets/extract_flow.py")

    def close(self) -> None:
        """See FrameSource.close."""
        self._video.close()

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read; images are (H, W, 2)."""
        for number, image in self._video.read(numbers):
            yield number, np.stack(np.split(image, 2), axis=-1)


class NpzFlow(FlowSource):
    """An archive of arrays flow_00000, flow_00016, ...: CHUNK frames each, (n, H, W, 2) uint8; num_frames; mark.

    `mark` is JSON text. Only the arrays needed are decompressed.

    Raises:
        DecodeError: see open_flow.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        with self._translated_errors():
            self._archive = Archive(path, MAX_CHUNK_BYTES)
            try:
                self._read_head()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """See FrameSource.close."""
        self._archive.close()

    def _read_head(self) -> None:
        self.mark = parse_mark(str(self._archive["mark"][()]))
        count, self.bound = self._archive["num_frames"], _bound(self.mark)
        if count.ndim or count.dtype.kind not in "iu" or count < 1 or self.bound is None:
            raise DecodeError(self.path, "lacks num_frames or bound; make it with datasets/extract_flow.py")
        self.num_frames = int(count)
        # Otherwise missing frames would be noticed only when the first of them is requested.
        if _chunk_name(self.num_frames - 1) not in self._archive:
            raise DecodeError(
                self.path, f"should have {self.num_frames} frames, but the last are missing; extract again"
            )

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read; images are (H, W, 2)."""
        start, chunk = -1, np.empty(0)
        for number in sorted(numbers):
            if number - number % CHUNK != start:
                start = number - number % CHUNK
                chunk = self._chunk(start)
            yield number, chunk[number - start]

    def _chunk(self, start: int) -> np.ndarray:
        with self._translated_errors():
            chunk = self._archive[_chunk_name(start)]
        count = min(CHUNK, self.num_frames - start)
        if chunk.dtype != np.uint8 or chunk.ndim != 4 or chunk.shape[::3] != (count, 2):
            raise DecodeError(
                self.path,
                f"flow_{start:05d} is {chunk.dtype} {chunk.shape}, not ({count}, H, W, 2) uint8; extract again",
            )
        return chunk

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise DecodeError(self.path, "no such file") from error
        except (OSError, ArchiveError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DecodeError(self.path, f"cannot be read: {reason}; make it with datasets/extract_flow.py") from error


class FlowFolder(FlowSource):
    """Images flow_x_00001.jpg and flow_y_00001.jpg (TSN), or x_00001.jpg and y_00001.jpg (MMAction2).

    Pair i, from 1, is the motion from frame i to i + 1 (counted from 1) of the video: N - 1 pairs make N frames, the first
    of them without motion. Other files, such as the video's own frames, are ignored.

    Raises:
        DecodeError: see open_flow; a missing number, an x without its y, or images of different sizes.
    """

    def __init__(self, path: str | Path, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.path, self._timeout = str(path), timeout
        self._deadline = time.monotonic() + timeout
        self._pairs = _paired_files(Path(path))
        self.num_frames = len(self._pairs) + 1

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read; images are (H, W, 2)."""
        shape: tuple[int, ...] = ()
        for number in sorted(numbers):
            if time.monotonic() > self._deadline:
                raise DecodeError(self.path, f"took longer than {self._timeout:g} s; raise DATA.DECODE_TIMEOUT")
            pair = self._pairs[max(number - 1, 0)]
            planes = [read_image(file, cv2.IMREAD_GRAYSCALE) for file in pair]
            for file, plane in zip(pair, planes, strict=True):
                if plane.shape != (shape := shape or plane.shape):
                    raise DecodeError(str(file), f"has {plane.shape} pixels, the others {shape}; extract it again")
            yield number, np.stack(planes, axis=-1) if number else np.full((*shape, 2), REST, np.uint8)


def _paired_files(folder: Path) -> list[tuple[Path, Path]]:
    listing = os.listdir(folder)
    for layout in JPEG_LAYOUTS:
        names = [{name.removeprefix(prefix) for name in listing if name.startswith(prefix)} for prefix in layout]
        if not any(names):
            continue
        for this, other, unpaired in (*layout, names[0] - names[1]), (*layout[::-1], names[1] - names[0]):
            if unpaired:
                first = min(unpaired)
                raise DecodeError(
                    str(folder), f"holds {this}{first} but no {other}{first} ({len(unpaired)} such); extract it again"
                )
        columns = [files_by_number(folder, prefix) for prefix in layout]
        return list(zip(*columns, strict=True))
    wanted = " or ".join(f"{x}00001.jpg and {y}00001.jpg" for x, y in JPEG_LAYOUTS)
    raise DecodeError(str(folder), f"holds no flow images: {wanted}; extract the flow with datasets/extract_flow.py")


def _chunk_name(number: int) -> str:
    """Name of the array that holds frame `number`."""
    return f"flow_{number - number % CHUNK:05d}"


def _bound(mark: Mapping[str, Any]) -> float | None:
    bound = mark.get("bound")
    return float(bound) if isinstance(bound, int | float) and 0 < bound <= MAX_BOUND else None
