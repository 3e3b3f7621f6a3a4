"""The packets of a video stream as its file lists them: number of frames, their order, and whether the file is complete.

Time stamps are trusted only where no evidence contradicts them: AVI and ASF files, and MP4 and MKV files of some
programs, stamp frames in coding order, which differs from display order as soon as there are B frames.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

# Codecs whose packets hold exactly one displayed frame each.
ONE_FRAME_EACH = ("h264", "hevc", "vp9", "av1")
# Among them, those whose display order may differ from the coding order.
REORDERING = ("h264", "hevc")
# At most so many bytes has an MPEG-4 packet that repeats the previous frame; decoders yield no frame for it (FFmpeg's
# MAX_NVOP_SIZE).
LARGEST_REPEAT = 19
# Values of FFmpeg's AVFieldOrder; older PyAV does not expose it.
UNKNOWN, PROGRESSIVE = 0, 1
# Formats whose header states the duration and lists all streams.
SAY_LENGTH = ("matroska",)
# The stated duration may slightly exceed the frames (audio, rounding); below this share the file is truncated.
COMPLETE_SHARE = 0.9
# Types of NAL units from which decoding needs no earlier frame (H.264 table 7-1, H.265 table 7-1), and shift and mask of
# the type in a unit's first byte.
CLEAN_STARTS = {"h264": ({5}, 0, 31), "hevc": ({19, 20}, 1, 63)}
# Start code of an MPEG-4 frame, and the value of the two bits after it that marks a B frame, which needs a frame before.
VOP, B_VOP = b"\0\0\1\xb6", 2
# Up to this build x264's direct prediction deviated from the standard; decoders learn the build from the first packet.
LAST_ODD_X264 = 33
X264_BUILD = re.compile(rb"x264 - core (\d{1,4})\b")


@dataclass(frozen=True)
class Packets:
    """The packets of one stream in file order, which is decoding order.

    Attributes:
        count: frames that decoding the whole stream yields; None where only decoding can tell.
        stamps: (P,) int64 unique display times; None where they cannot be trusted for the order of frames.
        shown: (P,) bool, False for packets that are decoded but not displayed (hidden by an edit list).
        keys: (P,) bool, whether decoding may begin at this packet.
        rising: whether `stamps` increase: either nothing is reordered, or they are not display times. Decoding tells which.
        times: (count,) increasing times of frames in units of the stream; None where some frame has none.
    """

    count: int | None
    stamps: np.ndarray | None
    shown: np.ndarray
    keys: np.ndarray
    rising: bool
    times: np.ndarray | None


@dataclass
class Scan:
    """Collects what the packets of a file say, packet by packet."""

    container: av.container.InputContainer
    stream: av.VideoStream

    def __post_init__(self) -> None:
        self.pts: list[Any] = []  # int or None, as the packets have them
        self.dts: list[Any] = []
        self.shown: list[bool] = []
        self.keys: list[bool] = []
        self.repeats = 0
        self.ends: dict[int, int] = {}  # stream -> end of its last packet, in the stream's units
        self._index = self.stream.index
        self._says_length = self.container.format.name.startswith(SAY_LENGTH)
        self.last_is_cut = False
        self.first: list[bytes] = []
        # Some AVI files pack two MPEG-4 frames into a packet and follow it with an empty one.
        unpacks = self.stream.codec_context.name == "mpeg4"
        self._unpack = BitStreamFilterContext("mpeg4_unpack_bframes", self.stream) if unpacks else None

    @property
    def streams(self) -> list[av.stream.Stream]:
        """The streams to demux. Formats outside SAY_LENGTH may reveal new streams while they are read."""
        return list(self.container.streams) if self._says_length else [self.stream]

    def add(self, packet: av.Packet) -> None:
        """Take in the next packet of `streams`."""
        index, stamp = packet.stream_index, packet.pts
        if stamp is not None:
            self.ends[index] = max(self.ends.get(index, 0), stamp + (packet.duration or 0))
        if index != self._index:
            return
        if packet.size:
            if len(self.first) < 2:
                self.first.append(bytes(packet))
            self.pts.append(stamp)
            self.dts.append(packet.dts)
            self.shown.append(not packet.is_discard)
            self.keys.append(packet.is_keyframe)
            self.last_is_cut = packet.is_corrupt
        if self._unpack is not None and packet.size:
            self.repeats += self._repeated(packet)  # last: the filter consumes the packet's content

    def _repeated(self, packet: av.Packet) -> int:
        assert self._unpack is not None
        try:
            return sum(each.size <= LARGEST_REPEAT for each in self._unpack.filter(packet))
        except av.FFmpegError:
            return 1  # only decoding can tell

    def packets(self) -> Packets:
        """The result, once all packets have been added."""
        shown, keys = np.array(self.shown, bool), np.array(self.keys, bool)
        stamps = np.array(self.pts, np.int64) if self._tells_order() else None
        rising = stamps is not None and bool((np.diff(stamps) > 0).all())
        return Packets(self._count(stamps, shown), stamps, shown, keys, rising, self._times(stamps, shown))

    def _tells_order(self) -> bool:
        codec = self.stream.codec_context
        if codec.name not in ONE_FRAME_EACH or None in self.pts or not self.keys[0]:
            return False
        if len(set(self.pts)) < len(self.pts) or min(self.pts) < self.pts[0]:
            return False
        if not _starts_clean(codec, self.first) or _keeps_state(codec, self.first[0]):
            return False
        if getattr(codec, "field_order", UNKNOWN) not in (UNKNOWN, PROGRESSIVE):  # fields may have a packet each
            return False
        decoded = [stamp for stamp in self.dts if stamp is not None]
        pairs = zip(self.pts, self.dts, strict=True)
        return increase(decoded) and all(None in (pts, dts) or dts <= pts for pts, dts in pairs)

    def _count(self, stamps: np.ndarray | None, shown: np.ndarray) -> int | None:
        codec = self.stream.codec_context
        whole = codec.name == "mpeg4" and not self.repeats and _starts_clean(codec, self.first)
        return int(shown.sum()) if stamps is not None or whole or codec.codec.intra_only else None

    def _times(self, stamps: np.ndarray | None, shown: np.ndarray) -> np.ndarray | None:
        """Display times, else decoding times: these show the same gaps where a camera dropped frames."""
        if stamps is not None:
            return np.sort(stamps[shown])
        if None in self.dts or not (np.diff(times := np.array(self.dts, np.int64)[shown]) > 0).all():
            return None
        return times

    def fault(self, path: str) -> str:
        """What is missing in the file at `path`; "" if it is complete.

        A cut is told by the packet that it goes through, by an index or a size that leads beyond the file's end, and by
        a length (SAY_LENGTH). A header that counts more frames says nothing by itself: edit lists hide some of them, and
        AVI counts those that were left out.
        """
        there = len(self.pts)
        if not any(self.shown):
            return "holds no video frame" + " that is shown: an edit list hides all of them; cut it again" * bool(there)
        size, name = os.path.getsize(path), self.container.format.name
        missing = 0
        if name == "avi" and _riff_size(path) > size:
            missing = max(0, self.stream.frames - there)
        elif name.startswith("mov"):
            missing = sum(entry.pos + entry.size > size for entry in getattr(self.stream, "index_entries", ()))
        if self.last_is_cut or missing:
            return f"truncated: {there - self.last_is_cut} of {there + missing if missing else 'more'} frames are there"
        length = (self.container.duration or 0) / av.time_base
        units = {stream.index: float(stream.time_base or 0) for stream in self.container.streams}
        end = max((end * units[index] for index, end in self.ends.items()), default=0.0)
        if self._says_length and end < COMPLETE_SHARE * length:
            return f"truncated: it ends at {end:.1f} s of {length:.1f} s"
        return ""


class MisleadingStamps(Exception):
    """The display order of frames contradicts their stamps."""


def increase(stamps: Iterable[int | None]) -> bool:
    """Whether every stamp is known and greater than the previous one."""
    known: list[Any] = list(stamps)
    return None not in known and all(before < after for before, after in pairwise(known))


def displayed(
    frames: Iterable[tuple[int, av.VideoFrame]], shown: np.ndarray, rising: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(stamp, frame) in the decoder's order, which is display order, as long as the stamps agree with it.

    Where the packets' stamps increase, no frame may be skipped either, and the first frame is held back until the second
    agrees: otherwise coding times would pass as display times for frames right after a keyframe.

    Args:
        frames: (stamp of the keyframe where decoding began, frame).
        shown: (N,) increasing stamps of all frames.

    Raises:
        MisleadingStamps: a stamp contradicts the order.
    """
    last: int | None = None
    kept: list[tuple[int, av.VideoFrame]] = []
    for count, (start, frame) in enumerate(frames):
        stamp = frame.pts
        if stamp is None or (last is not None and stamp <= last):
            raise MisleadingStamps
        if rising:
            due = int(np.searchsorted(shown, start)) + count
            if due >= len(shown) or stamp != shown[due]:
                raise MisleadingStamps
        last = stamp
        kept.append((stamp, frame))
        if count > 0 or not rising:
            yield from kept
            kept.clear()
    yield from kept


def _keeps_state(codec: av.VideoCodecContext, first: bytes) -> bool:
    """Whether decoding also needs the first packet, the only one in which x264 states its version."""
    if codec.name != "h264":
        return False
    build = X264_BUILD.search(first)
    return "4:4:4" in str(codec.profile) or bool(build and int(build[1]) <= LAST_ODD_X264)


def _starts_clean(codec: av.VideoCodecContext, first: list[bytes]) -> bool:
    """Whether the first frames depend on no missing frame; otherwise decoders drop some, and only decoding tells how many.

    Args:
        first: the first two packets.
    """
    if codec.name == "mpeg4":
        after = first[1].find(VOP) if len(first) > 1 else -1
        return after < 0 or first[1][after + len(VOP) :][:1] < bytes([B_VOP << 6])
    if codec.name not in CLEAN_STARTS:
        return True
    clean, shift, mask = CLEAN_STARTS[codec.name]
    return any(unit >> shift & mask in clean for unit in _first_bytes(codec, first[0]))


def _first_bytes(codec: av.VideoCodecContext, packet: bytes) -> Iterator[int]:
    """First byte of each NAL unit in a packet: after start codes, or after lengths where the stream's header says so."""
    header = codec.extradata or b""
    if header[:1] != b"\1":  # avcC and hvcC begin with their version
        yield from (match[1][0] for match in re.finditer(rb"\x00\x00\x01(.)", packet, re.DOTALL))
        return
    length_at = 4 if codec.name == "h264" else 21
    width, at = (header[length_at] & 3) + 1 if len(header) > length_at else 4, 0
    while at + width < len(packet):
        yield packet[at + width]
        at += width + int.from_bytes(packet[at : at + width], "big")


def _riff_size(path: str) -> int:
    """Size in bytes that an AVI file's header states (of the first part, above 1 GB)."""
    with open(path, "rb") as file:
        head = file.read(8)
    return 8 + int.from_bytes(head[4:], "little") if head[:4] == b"RIFF" else 0
