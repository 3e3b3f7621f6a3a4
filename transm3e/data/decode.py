"""Frames of a video file by number: open, list the packets, decode only the span that is asked for (PyAV).

Frame n is the n-th frame in presentation order, as if the whole file were decoded; rates and clocks play no part.
For codecs whose every packet is one shown frame (SEEKABLE) the packets' own time stamps say which packet holds
frame n, so the decoder starts at the keyframe before it and passes over frames that nobody needs; variable frame
rates are exact too. Everything else (XviD AVI: uneven stamps, packed B frames) is decoded from the start and counted.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from transm3e.data.container import open_container
from transm3e.errors import one_line

VIDEO_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
)
# Codecs whose every packet is one shown frame.
SEEKABLE = ("h264", "hevc", "vp9", "av1")
# Decoders that leave out frames no other frame refers to when told so, packet by packet.
SKIPPABLE = ("h264", "hevc")
# A header or a packet count may promise a few frames more than there are; below this share the file is truncated.
COMPLETE_SHARE = 0.9
DEFAULT_TIMEOUT = 60.0
# Pixels as they come, and their shape: "gray" is the luma plane as it was coded, untouched.
PIXEL_FORMATS = ("rgb24", "gray")


class DecodeError(ValueError):
    """A video file that cannot be read.

    Attributes:
        path: the file.
        reason: what is wrong with it, one line.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.reason}")


def quarter_turns(frame: av.VideoFrame, path: str) -> int:
    """How often a frame is to be turned to the left by a quarter (np.rot90) to stand upright, 0 to 3.

    Raises:
        DecodeError: the file asks for another angle.
    """
    if frame.rotation % 90:
        raise DecodeError(path, f"says it is turned by {frame.rotation} degrees; only quarters can be; re-encode it")
    return frame.rotation // 90 % 4


class FrameSource(ABC):
    """Frames by number, from wherever they come; close() it.

    Attributes:
        path: what is read.
        num_frames: at least 1.
    """

    path: str
    num_frames: int

    @property
    def seconds(self) -> np.ndarray | None:
        """(num_frames,) float64 rising times at which the frames are shown, or None where there is no clock."""
        return None

    @abstractmethod
    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Each of the frames `numbers` once, in any order -> (number, (H, W, 3) uint8 RGB).

        An image is valid until the next one is asked for.

        Args:
            numbers: frame numbers in 0..num_frames-1, at least one.

        Raises:
            DecodeError: the file is damaged, too slow, or its frame size changes.
        """

    def close(self) -> None:  # noqa: B027 (pictures have nothing open)
        """Close what is open; may be called twice."""

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames by number, in any order, repeats allowed -> (T, H, W, 3) uint8 RGB.

        Args:
            indices: T >= 1 frame numbers in 0..num_frames-1.

        Raises:
            DecodeError: as read.
        """
        asked = np.asarray(indices)
        frames: np.ndarray | None = None
        for number, image in self.read(set(asked.tolist())):
            if frames is None:
                frames = np.empty((len(asked), *image.shape), np.uint8)
            frames[asked == number] = image
        assert frames is not None, "read() yields every frame that it was asked for"
        return frames


def count_frames(path: str | Path, timeout: float = DEFAULT_TIMEOUT) -> int:
    """Number of frames in a video file, from its packets (the header's count is not trusted).

    Raises:
        DecodeError: see Video.
    """
    with closing(Video(path, timeout)) as video:
        return video.num_frames


def decode_frames(
    path: str | Path, indices: Sequence[int] | np.ndarray, timeout: float = DEFAULT_TIMEOUT
) -> np.ndarray:
    """Frames `indices` of a video file -> (T, H, W, 3) uint8 RGB; see Video.

    Raises:
        DecodeError: see Video.
    """
    with closing(Video(path, timeout)) as video:
        return video.frames(indices)


def first_video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream that is read: the first with pictures that is not the cover."""
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)


class Video(FrameSource):
    """An open video file.

    The first video stream that is not a cover picture is read. Rotation metadata is applied. What is read is
    bit-identical to decoding the whole file and picking; one call for several spans decodes what they share once.
    Where the decoder yields a few frames fewer than there are packets (XviD's empty frames), the last is held.

    Args:
        path: the video file.
        timeout: seconds of wall-clock time for everything done with this object; looked at between packets.
        pixel_format: "rgb24", or "gray": luma as it was coded, images are (H, W).

    Raises:
        DecodeError: missing, empty, no video stream, truncated, damaged, frame size changes, or too slow;
            from the constructor or from read().
    """

    def __init__(
        self, path: str | Path, timeout: float = DEFAULT_TIMEOUT, pixel_format: str = PIXEL_FORMATS[0]
    ) -> None:
        assert pixel_format in PIXEL_FORMATS, pixel_format
        self.path, self._pixel_format = str(path), pixel_format
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._reformatter = VideoReformatter()  # one for all frames: each frame's own would set up the conversion anew
        with self._naming():
            self._container, self._stream = self._open()
            try:
                self._scan()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._container.close()

    @property
    def stream_index(self) -> int:
        """Which of the file's streams is read."""
        return self._stream.index

    @property
    def rate(self) -> float | None:
        """Frames per second on average, as the file says; None where it does not."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    @property
    def seconds(self) -> np.ndarray | None:
        """By the time stamps where each frame has its own, else by the average rate: uneven stamps tell nothing."""
        if self._stamps is not None:
            return np.sort(self._stamps) * float(self._stream.time_base or 0)
        return None if self.rate is None else np.arange(self.num_frames) / self.rate

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read; frames come in the order they are shown."""
        left = {int(number) for number in numbers}
        assert left, "no frame asked for"
        assert 0 <= min(left) <= max(left) < self.num_frames, f"{sorted(left)} of {self.num_frames} frames"
        shape: tuple[int, ...] = ()
        with self._naming():
            for number, frame in self._decoded(left):
                image = self._pixels(frame)
                if image.shape != (shape := shape or image.shape):
                    raise DecodeError(self.path, "the frame size changes within the video; re-encode it")
                yield number, image

    def _decoded(self, left: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames `left` through their keyframes, and by counting those that cannot be had so; empties `left`."""
        if self._stamps is not None:
            yield from self._by_stamp(self._stamps, left)
        if left:
            yield from self._by_count(left)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            remedy = "is it a video, and whole? Fetch it again or re-encode it"
            raise DecodeError(self.path, f"cannot be decoded: {reason}; {remedy}") from error

    def _open(self) -> tuple[av.container.InputContainer, av.VideoStream]:
        if not os.path.isfile(self.path):
            raise DecodeError(self.path, "no such file")
        if os.path.getsize(self.path) == 0:
            raise DecodeError(self.path, "the file is empty")
        container = open_container(self.path)
        stream = first_video_stream(container)
        if stream is None:
            container.close()
            raise DecodeError(self.path, "holds no video stream (sound only, or cut off before its index)")
        if stream.codec_context is None:
            container.close()
            raise DecodeError(self.path, "its codec is none that can be decoded here")
        stream.thread_type = "NONE"  # other kinds can deadlock, and workers are parallel already
        return container, stream

    def _scan(self) -> None:
        """List the packets of the stream: reads the file, decodes nothing."""
        stamps: list[int | None] = []
        keys: list[bool] = []
        ends: dict[int, int] = {}  # of each stream, in its own units
        last_is_cut = False
        for packet in self._packets(self._container.demux()):
            if packet.pts is not None:
                ends[packet.stream.index] = max(ends.get(packet.stream.index, 0), packet.pts + (packet.duration or 0))
            if packet.stream.index == self._stream.index and packet.size and not packet.is_discard:
                stamps.append(packet.pts)
                keys.append(packet.is_keyframe)
                last_is_cut = packet.is_corrupt
        self.num_frames = len(stamps)
        units = {stream.index: stream.time_base or 0 for stream in self._container.streams}
        self._refuse_truncated(
            max((float(end * units[index]) for index, end in ends.items()), default=0.0), last_is_cut
        )
        self._keys = np.array(keys)
        exact = self._stream.codec_context.name in SEEKABLE and None not in stamps and len(set(stamps)) == len(stamps)
        self._stamps = np.array(stamps, np.int64) if exact else None

    def _refuse_truncated(self, end: float, last_is_cut: bool) -> None:
        if not self.num_frames:
            raise DecodeError(self.path, "holds no video frame")
        promised = self._stream.frames
        if last_is_cut or self.num_frames < COMPLETE_SHARE * promised:
            raise DecodeError(self.path, f"truncated: {self.num_frames} of {promised or 'more'} frames are there")
        length = (self._container.duration or 0) / av.time_base
        if not promised and end < COMPLETE_SHARE * length:  # Matroska: no frame count, but a length
            raise DecodeError(self.path, f"truncated: it ends at {end:.1f} s of {length:.1f} s")

    def _packets(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        for packet in packets:
            if time.monotonic() > self._deadline:
                raise DecodeError(
                    self.path, f"took longer than {self._timeout:g} s; raise DATA.DECODE_TIMEOUT or re-encode"
                )
            yield packet

    def _by_stamp(self, stamps: np.ndarray, left: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames through their nearest keyframes; leaves those of which the stamps turn out not to tell."""
        order = np.argsort(stamps)  # frame number -> packet number
        runs: dict[int | None, dict[int, int]] = {}  # keyframe's packet -> stamp -> frame number
        for number in sorted(left):
            packet = int(order[number])
            runs.setdefault(self._keyframe_before(stamps, packet), {})[int(stamps[packet])] = number
        for start, number_of in runs.items():
            if start is None:
                return
            for stamp, frame in self._from_keyframe(stamps, start, number_of):
                left.remove(number_of[stamp])
                yield number_of[stamp], frame

    def _keyframe_before(self, stamps: np.ndarray, packet: int) -> int | None:
        """The last keyframe that stands in the file, and is shown, no later than this packet."""
        fit = np.flatnonzero(self._keys[: packet + 1] & (stamps[: packet + 1] <= stamps[packet]))
        return int(fit[-1]) if len(fit) else None

    def _from_keyframe(
        self, stamps: np.ndarray, start: int, wanted: Collection[int]
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with the stamps `wanted`; stops early where the file does not lead to them."""
        codec = self._stream.codec_context
        can_skip = codec.name in SKIPPABLE
        entries = stamps[: start + 1][self._keys[: start + 1]]
        missing = set(wanted)
        self._container.seek(int(stamps[start]), stream=self._stream)
        for count, packet in enumerate(self._packets(self._container.demux(self._stream))):
            if count == 0 and packet.pts not in entries:
                return  # the seek went past the keyframe
            if can_skip:
                codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            for frame in packet.decode():
                if frame.pts in missing:
                    if frame.is_corrupt:  # intra refresh: whole only some frames after the entry point
                        return
                    missing.remove(frame.pts)
                    yield frame.pts, frame
            if not missing:
                return

    def _by_count(self, left: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames by decoding from the start and counting."""
        self.close()
        self._container, self._stream = self._open()
        number, frame = -1, None
        for packet in self._packets(self._container.demux(self._stream)):
            for frame in packet.decode():
                number += 1
                if number in left:
                    left.remove(number)
                    yield number, frame
            if not left:
                return
        if frame is None or number + 1 < COMPLETE_SHARE * self.num_frames:
            raise DecodeError(self.path, f"truncated: only {number + 1} of {self.num_frames} frames can be decoded")
        for number in sorted(left):
            yield number, frame
        left.clear()

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        image: np.ndarray
        if self._pixel_format == "gray":
            luma = frame.planes[0]
            image = np.frombuffer(memoryview(luma), np.uint8).reshape(luma.height, luma.line_size)[:, : luma.width]
        else:
            image = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        turns = quarter_turns(frame, self.path)
        return np.rot90(image, turns) if turns else image
