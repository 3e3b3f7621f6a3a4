"""Who decodes: PyAV unless another decoder is asked for; pictures and folders of them with any."""

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

# Mean difference of two decoders' colours, 0 to 255.
MAX_COLOUR_DIFFERENCE = 8.0
PYAV, TORCHCODEC, TORCHCODEC_CUDA, OPENCV, _ = choices("DATA.DECODING_BACKEND")


def open_source(path: str | Path, backend: str = PYAV, timeout: float = DEFAULT_TIMEOUT) -> FrameSource:
    """What yields the frames of a path: a video file by its decoder, a folder of pictures, or one picture.

    Args:
        backend: for video files, "torchcodec", "torchcodec_cuda", "opencv", or, by any other name, PyAV.
        timeout: seconds this path may take; torchcodec and OpenCV do not look at it.

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
    """Whether a decoder can be used at all.

    Raises:
        UserError: torchcodec is not installed, or finds no FFmpeg.
    """
    if backend in (TORCHCODEC, TORCHCODEC_CUDA):
        decoders = _torchcodec()
        try:
            decoders.VideoDecoder(b"no video")
        except (RuntimeError, ValueError) as error:  # it loads FFmpeg's libraries with the first file
            if "libtorchcodec" in str(error):
                raise _no_torchcodec(error) from error


class NeedsPyAV(Exception):
    """A file that PyAV alone reads right: its stamps mislead, it is mirrored, or torchcodec cannot decode it."""


class TorchcodecVideo(FrameSource):
    """A video file through torchcodec: exact seeks by time stamps.

    Args:
        path: the video file.
        device: "cpu" or "cuda" (NVDEC); frames come to the CPU either way, where they are cropped.

    Raises:
        DecodeError: the file cannot be read; from the constructor or from read().
        UserError: torchcodec is not installed, or finds no FFmpeg.
        NeedsPyAV: torchcodec's frame n is not the n-th that is shown, or lies otherwise.
    """

    def __init__(self, path: str, device: str = "cpu") -> None:
        self.path = path
        decoders = _torchcodec()
        with closing(Video(path)) as video:  # the same stream as PyAV's; and what is damaged is refused
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
        """See FrameSource.seconds; as PyAV has them."""
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
    """A video file through OpenCV, decoded from the start and counted. It is there for comparison only.

    OpenCV says nothing of damage: a truncated file ends early, which is noticed by the header's count where there is
    one, and broken pictures pass.

    Args:
        path: the video file.

    Raises:
        DecodeError: OpenCV cannot open the file, or it ends early; from the constructor or from read().
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with closing(Video(path)):  # what is damaged or leads elsewhere is refused
            pass
        self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        self.num_frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self._capture.isOpened() else 0
        if self.num_frames < 1:
            raise DecodeError(path, "cannot be opened by OpenCV, or says no number of frames; decode with pyav")

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
    """Whether two images show the same: decoders round colours each in their own way."""
    return one.shape == other.shape and float(np.abs(one.astype(np.int16) - other).mean()) < MAX_COLOUR_DIFFERENCE


def _torchcodec() -> Any:
    try:
        return import_module("torchcodec.decoders")
    except (ImportError, RuntimeError, OSError) as error:  # older ones load FFmpeg's libraries on import
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
