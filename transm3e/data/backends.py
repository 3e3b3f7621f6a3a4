"""Decoders: PyAV unless another one is chosen; images and folders of images are read with any setting."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from transm3e.config.schema import choices
from transm3e.data.decode import DEFAULT_TIMEOUT, DecodeError, FrameSource, Video
from transm3e.data.images import IMAGE_SUFFIXES, ImageFolder
from transm3e.errors import UserError

# Mean absolute difference of the same frame by two decoders, at most; in 0 to 255.
MAX_COLOUR_DIFFERENCE = 8.0
PYAV, TORCHCODEC, TORCHCODEC_CUDA, OPENCV, _ = choices("DATA.DECODING_BACKEND")


def open_source(path: str | Path, backend: str = PYAV, timeout: float = DEFAULT_TIMEOUT) -> FrameSource:
    """The frames of a path: a video file, a folder of images, or one image.

    Args:
        backend: for video files: "torchcodec", "torchcodec_cuda" or "opencv"; any other name means PyAV.
        timeout: seconds for this path; torchcodec and OpenCV ignore it.

    Raises:
        DecodeError: the path cannot be read.
        UserError: torchcodec is not installed, or finds no FFmpeg.
    """
    if os.path.isdir(path) or os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
        return ImageFolder(path, timeout)
    if backend not in BACKENDS:
        return Video(path, timeout)
    try:
        return BACKENDS[backend](str(path))
    except NeedsPyAV:
        return Video(path, timeout)


def check_backend(backend: str) -> None:
    """Check that a decoder can be used.

    Raises:
        UserError: torchcodec is not installed, or finds no FFmpeg.
    """
    if backend in (TORCHCODEC, TORCHCODEC_CUDA):
        decoders = _torchcodec()
        try:
            decoders.VideoDecoder(b"no video")
        except (RuntimeError, ValueError) as error:  # it loads FFmpeg's libraries when the first file is opened
            if "libtorchcodec" in str(error):
                raise _no_torchcodec(error) from error


class NeedsPyAV(Exception):
    """A file that only PyAV reads correctly: its stamps mislead, it is mirrored, or torchcodec cannot decode it."""


class TorchcodecVideo(FrameSource):
    """A video file through torchcodec: exact seeks by time stamps.

    Args:
        path: the video file.
        device: "cpu" or "cuda" (NVDEC); frames are copied to the CPU either way, where they are cropped.

    Raises:
        DecodeError: the file cannot be read; from the constructor or from read().
        UserError: torchcodec is not installed, or finds no FFmpeg.
        NeedsPyAV: torchcodec's frame n is not the n-th displayed one, or differs from PyAV's.
    """

    def __init__(self, path: str, device: str = "cpu") -> None:
        self.path = path
        decoders = _torchcodec()
        with closing(Video(path)) as video:  # selects PyAV's stream, and refuses damaged files
            stream, self.num_frames, self._seconds = video.stream_index, video.num_frames, video.seconds
            first = video.frames([0])[0]
            if video.is_counted:
                raise NeedsPyAV
        try:
            with self._translated_errors():
                self._decoder = decoders.VideoDecoder(
                    path, stream_index=stream, device=device, dimension_order="NHWC", seek_mode="exact"
                )
                ends = dict(self.read({0, self.num_frames - 1}))
        except DecodeError as error:
            raise NeedsPyAV from error
        if len(self._decoder) != self.num_frames or not _are_alike(first, ends[0]):
            raise NeedsPyAV

    @property
    def seconds(self) -> np.ndarray | None:
        """See FrameSource.seconds; PyAV's."""
        return self._seconds

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read."""
        wanted = sorted(numbers)
        with self._translated_errors():
            images = self._decoder.get_frames_at(indices=wanted).data.cpu().numpy()
        yield from zip(wanted, images, strict=True)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, DecodeError):
                raise
            raise DecodeError(self.path, f"cannot be decoded by torchcodec: {str(error).splitlines()[0]}") from error


class OpenCVVideo(FrameSource):
    """A video file through OpenCV, decoded from the start and counted; for comparison only.

    OpenCV does not report damage: truncation is noticed only by the header's frame count, damaged frames not at all.

    Args:
        path: the video file.

    Raises:
        DecodeError: OpenCV cannot open the file, or it ends early; from the constructor or from read().
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with closing(Video(path)):  # refuses damaged files and playlists
            pass
        self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        self.num_frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self._capture.isOpened() else 0
        if self.num_frames < 1:
            raise DecodeError(
                path, "cannot be opened by OpenCV, or states no number of frames; set DATA.DECODING_BACKEND pyav"
            )

    @property
    def seconds(self) -> np.ndarray | None:
        """See FrameSource.seconds."""
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        return np.arange(self.num_frames) / rate if rate > 0 else None

    def close(self) -> None:
        """See FrameSource.close."""
        self._capture.release()

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read."""
        wanted = set(numbers)
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        for number in range(max(wanted) + 1):
            if not self._capture.grab():
                raise DecodeError(self.path, f"truncated: only {number} of {self.num_frames} frames can be decoded")
            if number in wanted:
                yield number, cv2.cvtColor(self._capture.retrieve()[1], cv2.COLOR_BGR2RGB)


def _are_alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two images show the same frame: decoders round colours differently."""
    return one.shape == other.shape and float(np.abs(one.astype(np.int16) - other).mean()) < MAX_COLOUR_DIFFERENCE


def _torchcodec() -> Any:
    try:
        return import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError) as error:  # older versions load FFmpeg's libraries on import
        raise _no_torchcodec(error) from error


def _no_torchcodec(error: Exception) -> UserError:
    return UserError(
        f"DATA.DECODING_BACKEND torchcodec: it cannot be loaded ({str(error).splitlines()[0]}); install torchcodec for "
        "this torch and FFmpeg's libraries, or set DATA.DECODING_BACKEND pyav"
    )


BACKENDS: dict[str, Callable[[str], FrameSource]] = {
    TORCHCODEC: TorchcodecVideo,
    TORCHCODEC_CUDA: lambda path: TorchcodecVideo(path, "cuda"),
    OPENCV: OpenCVVideo,
}
