"""Decoders of other libraries, called as their documents say, by the names that --against takes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from importlib import import_module
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from transm3e.benchmark.loader.files import Film
from transm3e.errors import UserError
from transm3e.registry import Registry


class Reader(Protocol):
    """An open video file."""

    def __init__(self, film: Film) -> None: ...

    @staticmethod
    def check() -> None:
        """Raises UserError where the library is not installed."""

    def frames(self, windows: Sequence[np.ndarray]) -> list[Tensor]:
        """For each window, (T,) evenly spaced rising frame numbers, the frames, (T, 3, H, W) uint8 RGB.

        They are contiguous: torchvision takes up to 1.5 times as long for clips in the decoders' own layout.
        """

    def close(self) -> None:
        """Close the file."""


READERS: Registry[type[Reader]] = Registry("--against")


@READERS.register("pytorchvideo")
class EncodedVideoReader:
    """pytorchvideo's EncodedVideo (PyAV): get_clip() decodes a span, of which evenly spaced frames are kept.

    It takes the whole file into memory, decodes all frames of the span to RGB and hands them out as floats; those that
    are kept are made uint8 again, which all of torchvision's RandAugment needs.
    """

    def __init__(self, film: Film) -> None:
        from pytorchvideo.data.encoded_video import EncodedVideo

        self._film = film
        self._video = EncodedVideo.from_path(str(film.path), decode_audio=False)

    @staticmethod
    def check() -> None:
        _import("pytorchvideo", "pytorchvideo.data.encoded_video")

    def frames(self, windows: Sequence[np.ndarray]) -> list[Tensor]:
        """See Reader."""
        return [self._window(window) for window in windows]

    def close(self) -> None:
        """See Reader."""
        self._video.close()

    def _window(self, window: np.ndarray) -> Tensor:
        # Half a frame around the span, so that rounding of time stamps neither loses nor adds one.
        halves = 2 * self._film.rate
        begin, end = (int(2 * window[0]) - 1) / halves, (int(2 * window[-1]) + 1) / halves
        clip = self._video.get_clip(max(begin, Fraction(0)), end)["video"]
        if clip is None:
            raise UserError(f"{self._film.path}: pytorchvideo cannot decode it; remove it, or use --against none")
        kept = torch.linspace(0, clip.shape[1] - 1, len(window)).long()
        return clip[:, kept].to(torch.uint8).transpose(0, 1).contiguous()


@READERS.register("torchcodec")
class TorchcodecReader:
    """torchcodec's VideoDecoder with its defaults, on one thread; both views in one call."""

    def __init__(self, film: Film) -> None:
        self._decoder = import_module("torchcodec.decoders").VideoDecoder(str(film.path), num_ffmpeg_threads=1)

    @staticmethod
    def check() -> None:
        _import("torchcodec", "torchcodec.decoders")

    def frames(self, windows: Sequence[np.ndarray]) -> list[Tensor]:
        """See Reader."""
        frames = self._decoder.get_frames_at(indices=np.concatenate(windows).tolist()).data
        return list(frames.contiguous().split([len(window) for window in windows]))

    def close(self) -> None:
        """See Reader; the decoder closes with its last reference."""
        self._decoder = None


def _import(name: str, module: str) -> None:
    try:
        import_module(module)
    except (ImportError, RuntimeError, OSError) as error:  # torchcodec without FFmpeg raises a RuntimeError
        reason = str(error).splitlines()[0]
        raise UserError(f"--against {name} cannot be imported ({reason}); install it, or leave it out") from error
