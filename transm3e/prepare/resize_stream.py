"""Every frame of a clip once, in order, with its time, and scaled to a short side: for work ahead of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from transm3e.data.backends import open_source
from transm3e.data.container import pixel_aspect
from transm3e.data.decode import DecodeError, FrameSource, Video, upright
from transm3e.data.encode import copy_colours
from transm3e.data.images import IMAGE_SUFFIXES
from transm3e.data.orientation import UPRIGHT
from transm3e.errors import UserError

# For images and for files without a frame rate.
USUAL_RATE = Fraction(25)
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class FrameStream:
    """The frames of an open clip from first to last.

    Attributes:
        frames: `num_frames` frames, once; those of a video as decoded, neither converted nor turned.
        num_frames: as the loader counts them.
        stamps: when each frame is shown, rising, 0 or greater, in units of `time_base`. Where each frame of a video
            has its own time stamp, that one (variable frame rates); otherwise frames are evenly spaced at `rate`.
        time_base: seconds.
        rate: frames per second on average.
        pixel_aspect: pixel width / pixel height of the frames as stored.
    """

    frames: Iterator[av.VideoFrame]
    num_frames: int
    stamps: Sequence[int]
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction = Fraction(1)


class SequentialVideo(Video):
    """A video file decoded from start to end without seeking; see Video for arguments and errors."""

    def stream(self) -> FrameStream:
        """All frames; if the decoder yields a few too few, the last one is repeated."""
        rate = self._stream.average_rate or self._stream.guessed_rate or USUAL_RATE
        rate, unit = (Fraction(each.numerator, each.denominator) for each in (rate, self._stream.time_base or 1 / rate))
        count, times = self.num_frames, self.times
        stamps = range(count) if times is None else (times - min(0, times[0])).tolist()
        return FrameStream(
            self._every_frame(), count, stamps, 1 / rate if times is None else unit, rate, pixel_aspect(self._stream)
        )

    def _every_frame(self) -> Iterator[av.VideoFrame]:
        size: tuple[int, int] | None = None
        with self._translated_errors():
            for _, frame in self._by_count(set(range(self.num_frames))):
                if (frame.width, frame.height) != (size := size or (frame.width, frame.height)):
                    raise DecodeError(self.path, "the frame size changes within the video; re-encode it")
                yield frame


@contextmanager
def frame_stream(path: str | Path, timeout: float) -> Iterator[FrameStream]:
    """The frames of a video file, a folder of images, or one image; closed at the end.

    Args:
        timeout: seconds for reading all of them.

    Raises:
        DecodeError: the path cannot be read; also while frames are read.
    """
    images = Path(path).is_dir() or Path(path).suffix.lower() in IMAGE_SUFFIXES
    source = open_source(path, timeout=timeout) if images else SequentialVideo(path, timeout)
    with closing(source):
        yield source.stream() if isinstance(source, SequentialVideo) else _image_stream(source)


def _image_stream(source: FrameSource) -> FrameStream:
    count = source.num_frames
    frames = (av.VideoFrame.from_ndarray(image, format="rgb24") for _, image in source.read(range(count)))
    return FrameStream(frames, count, range(count), 1 / USUAL_RATE, USUAL_RATE)


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(H, W), both even, the short side at most `short_side` (never enlarged), the aspect ratio kept."""
    scale = min(1.0, short_side / min(height, width))
    even = [max(2, min(2 * round(scale * side / 2), side - side % 2)) for side in (height, width)]
    return even[0], even[1]


class Scaler:
    """Frames of one clip scaled and turned upright.

    Args:
        short_side: pixels, even; see scaled_size.

    Raises:
        UserError: it is odd or below 16.
    """

    def __init__(self, short_side: int) -> None:
        if short_side < SMALLEST_SIDE or short_side % 2:
            raise UserError(f"short side {short_side}: an even number, {SMALLEST_SIDE} or greater, is needed")
        self.short_side = short_side
        self._reformatter = VideoReformatter()

    def array(self, frame: av.VideoFrame, pixel_format: str) -> np.ndarray:
        """A frame as contiguous (H, W) "gray" or (H, W, 3) "rgb24" uint8."""
        image = self._scaled(frame, pixel_format).to_ndarray()
        return np.ascontiguousarray(upright(frame, "the video").apply(image))

    def frame(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A frame in 4:2:0 for the encoder: the same colour tags, no time stamp."""
        full = "j" if frame.format.name.startswith("yuvj") else ""
        orientation = upright(frame, "the video")
        if orientation == UPRIGHT:
            return self._scaled(frame, f"yuv{full}420p")
        # Only planes of equal size can be rotated; the encoder subsamples the chroma to 4:2:0 afterwards.
        planes = self._scaled(frame, f"yuv{full}444p").to_ndarray()
        turned = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(orientation.apply(planes, (1, 2))), format=f"yuv{full}444p"
        )
        copy_colours(frame, turned)
        return turned

    def _scaled(self, frame: av.VideoFrame, pixel_format: str) -> av.VideoFrame:
        height, width = scaled_size(frame.height, frame.width, self.short_side)
        return self._reformatter.reformat(
            frame, width=width, height=height, format=pixel_format, interpolation=Interpolation.BICUBIC
        )
