"""Frames of a video file by number: open it, list the packets, decode only the requested span (PyAV).

Frame n is the n-th frame displayed when the whole file is decoded, regardless of frame rates and times. Where the packets'
time stamps tell which packet holds frame n (transm3e.data.packets), decoding starts at the keyframe before it and skips
frames that are not needed. Decoders yield frames in display order: where the stamps contradict that order, or are missing,
the file is decoded from the start and frames are counted.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from transm3e.data.container import first_video_stream, is_hdr, open_container, warn_hdr_once
from transm3e.data.orientation import Orientation, orientation
from transm3e.data.packets import COMPLETE_SHARE, REORDERING, MisleadingStamps, Packets, Scan, displayed, increase
from transm3e.errors import one_line

DEFAULT_TIMEOUT = 60.0
# "gray" is the luma plane as coded, unchanged.
PIXEL_FORMATS = ("rgb24", "gray")
# The packets of the video opened last, by path and identity of the file: windows of a long video are read one by one.
_scanned: dict[tuple[object, ...], Packets] = {}


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


def upright(frame: av.VideoFrame, path: str) -> Orientation:
    """How a frame must be rotated and mirrored; see transm3e.data.orientation.

    Raises:
        DecodeError: the file asks for an angle that is not a multiple of 90 degrees.
    """
    try:
        return orientation(frame)
    except ValueError as error:
        raise DecodeError(path, str(error)) from error


class FrameSource(ABC):
    """Frames by number, from any kind of file; close() it.

    Attributes:
        path: the file or folder.
        num_frames: at least 1.
    """

    path: str
    num_frames: int

    @property
    def seconds(self) -> np.ndarray | None:
        """(num_frames,) float64 increasing display times of the frames, or None without time stamps."""
        return None

    @abstractmethod
    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each of the frames `numbers` once, in any order, as (number, (H, W, 3) uint8 RGB).

        An image is valid until the next one is requested.

        Args:
            numbers: frame numbers in 0..num_frames-1, at least one.

        Raises:
            DecodeError: the file is damaged, too slow, or its frame size changes.
        """

    def close(self) -> None:  # noqa: B027 (image folders keep nothing open)
        """Close open files; may be called twice."""

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
        assert frames is not None, "read() yields every requested frame"
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


def decoded(packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
    """All frames of packets, in display order.

    An empty packet (Theora: repeat the previous frame) is skipped, as the decoder would take it for the end of the stream.
    """
    for packet in packets:
        if packet.size or packet.dts is None:
            yield from packet.decode()


class Video(FrameSource):
    """An open video file.

    The first video stream that is not a cover image is read. Rotation and mirroring metadata are applied. Frames are
    bit-identical to those of decoding the whole file; one call for several spans decodes shared frames once.

    Args:
        path: the video file.
        timeout: seconds of wall-clock time for all reading from this object; checked between packets.
        pixel_format: "rgb24", or "gray": luma as coded, images are (H, W).

    Raises:
        DecodeError: missing, empty, no video stream, truncated, damaged, a frame size that changes, or too slow; from the
            constructor or from read().
    """

    def __init__(
        self, path: str | Path, timeout: float = DEFAULT_TIMEOUT, pixel_format: str = PIXEL_FORMATS[0]
    ) -> None:
        assert pixel_format in PIXEL_FORMATS, pixel_format
        self.path, self._pixel_format = str(path), pixel_format
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._upright: dict[int, Orientation] = {}
        self._reformatter = VideoReformatter()  # shared: a new one per frame would set up the conversion again
        with self._translated_errors():
            self._container, self._stream = self._open()
            try:
                self._packets = self._scan()
                self._is_counted = self._packets.stamps is None or self._is_stamped_as_coded()
                if self._packets.count is None:
                    self._packets = self._count()
                self.num_frames = self._packets.count or 0
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._container.close()

    @property
    def stream_index(self) -> int:
        """Index of the stream that is read."""
        return self._stream.index

    @property
    def is_counted(self) -> bool:
        """Whether frames require decoding from the start, because the stamps do not give their order."""
        return self._is_counted

    @property
    def rate(self) -> float | None:
        """Average frames per second according to the file, or None."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    @property
    def times(self) -> np.ndarray | None:
        """(num_frames,) int64 increasing times in units of the stream's time base; None where some frame has none."""
        times = self._packets.times
        return times if times is not None and len(times) == self.num_frames and self._stream.time_base else None

    @property
    def seconds(self) -> np.ndarray | None:
        """From the time of each frame in the file, else from the average frame rate."""
        if self.times is not None:
            return self.times * float(self._stream.time_base or 0)
        return None if self.rate is None else np.arange(self.num_frames) / self.rate

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read; frames come in display order."""
        left = {int(number) for number in numbers}
        assert left, "no frame requested"
        assert 0 <= min(left) <= max(left) < self.num_frames, f"{sorted(left)} of {self.num_frames} frames"
        shape: tuple[int, ...] = ()
        with self._translated_errors():
            for number, frame in self._decoded(left):
                image = self._pixels(frame)
                if image.shape != (shape := shape or image.shape):
                    raise DecodeError(self.path, "the frame size changes within the video; re-encode it")
                yield number, image

    def _decoded(self, left: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames `left`, by seeking to keyframes, and by counting where that fails; empties `left`."""
        if not self._is_counted:
            yield from self._by_stamp(left)
        if left:
            yield from self._by_count(left)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            remedy = "is it a complete video? Fetch it again or re-encode it"
            raise DecodeError(self.path, f"cannot be decoded: {reason}; {remedy}") from error

    def _open(self) -> tuple[av.container.InputContainer, av.VideoStream]:
        if not os.path.isfile(self.path):
            raise DecodeError(self.path, "no such file")
        if os.path.getsize(self.path) == 0:
            raise DecodeError(self.path, "the file is empty")
        container = open_container(self.path)
        stream = first_video_stream(container)
        if stream is None or stream.codec_context is None:
            container.close()
            lacks = "holds no video stream (audio only, or truncated before its index)"
            raise DecodeError(self.path, lacks if stream is None else "its codec cannot be decoded here")
        stream.thread_type = "NONE"  # other types can deadlock, and workers already run in parallel
        if is_hdr(stream):
            warn_hdr_once()
        return container, stream

    def _reopen(self) -> None:
        self.close()
        self._container, self._stream = self._open()

    def _scan(self) -> Packets:
        """List the packets of the stream: reads the file without decoding, or takes the list of its last reading."""
        about = os.stat(self.path)
        key = (os.path.abspath(self.path), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        if (known := _scanned.get(key)) is not None:  # in one step, as another thread may clear it
            return known
        scan = Scan(self._container, self._stream)
        for packet in self._timed(self._container.demux(*scan.streams)):
            scan.add(packet)
        if fault := scan.fault(self.path):
            raise DecodeError(self.path, fault)
        _scanned.clear()
        return _scanned.setdefault(key, scan.packets())

    def _is_stamped_as_coded(self) -> bool:
        """Whether the first frames show that increasing stamps are coding times; each read() checks its own frames."""
        codec = self._stream.codec_context
        depth = getattr(codec, "reorder_depth", 2)  # older PyAV does not expose it
        if not self._packets.rising or codec.name not in REORDERING or not depth:
            return False
        self._reopen()
        return not increase(frame.pts for frame in islice(self._sequence(), depth + 2))

    def _sequence(self) -> Iterator[av.VideoFrame]:
        """All frames from the current position on, in display order."""
        yield from decoded(self._timed(self._container.demux(self._stream)))

    def _count(self) -> Packets:
        """Count frames by decoding the whole file."""
        self._reopen()
        if not (stamps := [frame.pts for frame in self._sequence()]):
            raise DecodeError(self.path, "holds no video frame")
        times = np.array(stamps, np.int64) if increase(stamps) else self._packets.times
        return replace(self._packets, count=len(stamps), times=times)

    def _timed(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        try:
            for packet in packets:
                if time.monotonic() > self._deadline:
                    raise DecodeError(
                        self.path, f"took longer than {self._timeout:g} s; raise DATA.DECODE_TIMEOUT or re-encode"
                    )
                yield packet
        except IndexError as error:  # raised by PyAV's demux(), not by consumers of the packets
            raise DecodeError(self.path, "a stream starts mid-file; remux it: ffmpeg -c copy") from error

    def _by_stamp(self, left: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames by seeking to their nearest keyframes; those that this does not reach stay in `left`."""
        stamps, keys = self._packets.stamps, self._packets.keys
        assert stamps is not None
        order = np.flatnonzero(self._packets.shown)
        order = order[np.argsort(stamps[order])]  # frame number -> packet number
        runs: dict[int, dict[int, int]] = {}  # keyframe's packet -> stamp -> frame number
        for number in sorted(left):
            packet = int(order[number])
            # The last keyframe that is neither stored nor displayed after this packet; the first keyframe always qualifies.
            start = int(np.flatnonzero(keys[: packet + 1] & (stamps[: packet + 1] <= stamps[packet]))[-1])
            runs.setdefault(start, {})[int(stamps[packet])] = number
        try:
            for start, number_of in runs.items():
                for stamp, frame in self._from_keyframe(
                    stamps[: start + 1][keys[: start + 1]], stamps[order], number_of
                ):
                    left.remove(number_of[stamp])
                    yield number_of[stamp], frame
        except MisleadingStamps:
            self._is_counted = True

    def _from_keyframe(
        self, entries: np.ndarray, shown: np.ndarray, wanted: Collection[int]
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """(stamp, frame) of the stamps `wanted`; stops early where the seek does not reach them.

        Args:
            entries: stamps of the keyframes up to the one to begin at.
            shown: increasing stamps of all frames.

        Raises:
            MisleadingStamps: the order of frames contradicts their stamps.
        """
        missing = set(wanted)
        for stamp, frame in displayed(self._after_seek(entries, wanted), shown, self._packets.rising):
            if stamp in missing:
                if frame.is_corrupt:  # intra refresh: complete only some frames after the entry point
                    return
                missing.remove(stamp)
                yield stamp, frame
            if not missing:
                return

    def _after_seek(self, entries: np.ndarray, wanted: Collection[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """(stamp of the keyframe that the seek reached, frame) from there on."""
        codec = self._stream.codec_context
        # Not where stamps increase: there each frame is checked, and without B frames hardly any could be skipped.
        can_skip = codec.name in REORDERING and not self._packets.rising
        found: int | None = None
        self._container.seek(int(entries[-1]), stream=self._stream)
        for packet in self._timed(self._container.demux(self._stream)):
            if found is None:
                if packet.pts is None or packet.pts not in entries:
                    return  # the seek passed the keyframe
                found = packet.pts
            if can_skip:  # these decoders skip frames that no other frame refers to
                codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            for frame in packet.decode():
                yield found, frame

    def _by_count(self, left: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames by decoding from the start and counting."""
        self._reopen()
        count, last = 0, None
        for number, frame in enumerate(self._sequence()):
            count, last = number + 1, frame
            if number in left:
                left.remove(number)
                yield number, frame
                if not left:
                    return
        if last is None or count < COMPLETE_SHARE * self.num_frames:
            raise DecodeError(self.path, f"truncated: only {count} of {self.num_frames} frames can be decoded")
        for number in sorted(left):  # slightly fewer frames than packets: repeat the last
            yield number, last
        left.clear()

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        image: np.ndarray
        if self._pixel_format == "gray":
            luma = frame.planes[0]
            image = np.frombuffer(memoryview(luma), np.uint8).reshape(luma.height, luma.line_size)[:, : luma.width]
        else:
            image = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        if (turn := frame.rotation) not in self._upright:  # the display matrix is evaluated once for all frames
            self._upright[turn] = upright(frame, self.path)
        return self._upright[turn].apply(image)
