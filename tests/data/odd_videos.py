"""Videos as other programs make them: codecs, containers, B frames, cuts, clocks, edit lists, matrices, pixel formats."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np

from tests.data.test_orientation import set_matrix

FRAMES = 30
X264 = {"preset": "veryfast", "threads": "1"}
# Options of an encoder by the name of its group of pictures.
GOPS = {
    "libx264": {
        "no-b": {**X264, "x264-params": "keyint=8:bframes=0"},
        "b": {**X264, "x264-params": "keyint=8:bframes=2:b-adapt=0:scenecut=0"},
        "open": {**X264, "x264-params": "keyint=8:bframes=3:open-gop=1:b-pyramid=normal:b-adapt=0"},
        "refresh": {**X264, "x264-params": "keyint=8:bframes=0:intra-refresh=1"},
        "fields": {**X264, "x264-params": "keyint=8:bframes=2:tff=1"},
        "late-b": {**X264, "x264-params": "keyint=60:bframes=3:b-adapt=2:scenecut=0"},
    },
    "libx265": {
        "no-b": {"preset": "ultrafast", "x265-params": "keyint=8:bframes=0:log-level=none:pools=none"},
        "b": {
            "preset": "ultrafast",
            "x265-params": "keyint=8:bframes=3:open-gop=0:b-adapt=0:log-level=none:pools=none",
        },
        "open": {
            "preset": "ultrafast",
            "x265-params": "keyint=8:bframes=3:open-gop=1:b-adapt=0:log-level=none:pools=none",
        },
    },
    "mpeg4": {"no-b": {"g": "8"}, "b": {"g": "8", "bf": "2"}},
    "mpeg2video": {"no-b": {"g": "8"}, "b": {"g": "8", "bf": "2"}},
    "mpeg1video": {"b": {"g": "8", "bf": "2"}},
    "libvpx": {
        "alt-ref": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "6", "deadline": "realtime", "cpu-used": "8"}
    },
    "libvpx-vp9": {
        "alt-ref": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "12", "deadline": "good", "cpu-used": "8"}
    },
    "libsvtav1": {"usual": {"preset": "13", "g": "8", "svtav1-params": "lp=1"}},
}
CONTAINERS = {
    "libx264": ("mp4", "mov", "mkv", "avi", "flv", "ts", "asf", "nut", "3gp"),
    "libx265": ("mp4", "mov", "mkv", "ts"),
    "mpeg4": ("avi", "mp4", "mkv", "mov", "ts", "asf", "nut", "3gp"),
    "mpeg2video": ("mpg", "ts", "mkv", "avi"),
    "mpeg1video": ("mpg", "avi"),
    "libvpx": ("webm", "mkv", "avi"),
    "libvpx-vp9": ("webm", "mp4", "mkv"),
    "libsvtav1": ("mp4", "mkv"),
    "mjpeg": ("avi", "mov", "mkv"),
    "msmpeg4": ("avi", "asf"),
    "wmv1": ("asf",),
    "wmv2": ("asf", "avi"),
    "flv": ("flv",),
    "ffv1": ("mkv", "avi"),
    "huffyuv": ("avi",),
    "rawvideo": ("avi", "nut"),
    "prores_ks": ("mov",),
    "gif": ("gif",),
    "png": ("mov",),
}
PIXEL_FORMATS = {
    "mjpeg": "yuvj420p",
    "huffyuv": "yuv422p",
    "prores_ks": "yuv422p10le",
    "gif": "rgb8",
    "png": "rgb24",
}
RATES = (Fraction(10), Fraction(30000, 1001), Fraction(60))
FORMATS_OF_X264 = ("yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "nv12")
MATRICES = [(-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0)]
# Packets in the order of coding, and the units of their clock in a frame -> those to write.
Change = Callable[[list[av.Packet], int], list[av.Packet]]
os.environ.setdefault("SVT_LOG", "1")  # its errors only


@dataclass(frozen=True)
class Odd:
    """One odd video; `change` names an entry of CHANGES, done to the packets after encoding."""

    codec: str
    container: str
    gop: str = ""
    change: str = ""
    pixel_format: str = ""
    matrix: tuple[int, ...] = (1, 0, 0, 1)
    rate: Fraction = Fraction(25)
    size: tuple[int, int] = (48, 64)
    stamps: str = ""
    sound: bool = False
    options: tuple[tuple[str, str], ...] = field(default=())

    def __str__(self) -> str:
        parts = [self.codec, self.container, self.gop, self.change, self.pixel_format, self.stamps]
        parts += [
            f"{self.rate}" if self.rate != 25 else "",
            "x".join(map(str, self.size[::-1])) if self.size != (48, 64) else "",
        ]
        parts += ["sound" if self.sound else "", *(f"{key}={value}" for key, value in self.options)]
        parts += ["matrix" + "".join(f"{value:+d}" for value in self.matrix) if self.matrix != (1, 0, 0, 1) else ""]
        return "-".join(part.replace("/", ":") for part in parts if part)


def pictures(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Frames that differ all over, and still look alike to an encoder: a moving pattern."""
    height, width = size
    base = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    base = base.repeat(8, 0).repeat(8, 1)
    return [np.roll(np.roll(base, 3 * i, 1), i, 0)[:height, :width] for i in range(count)]


def make(odd: Odd, folder: Path) -> Path:
    """Write the video; its sound is silence."""
    plain = folder / ("plain.nut" if odd.change else f"video.{odd.container}")
    _encode(odd, plain)
    path = folder / f"video.{odd.container}"
    if odd.change:
        _remux(plain, path, CHANGES[odd.change], odd.rate)
        plain.unlink()
    if odd.matrix != (1, 0, 0, 1):
        set_matrix(path, odd.matrix)
    for key, value in odd.options:
        if key == "x264":  # says that another version made it; decoders believe it
            content, found = re.subn(rb"x264 - core \d{3}", f"x264 - core {value}".encode(), path.read_bytes())
            assert found
            path.write_bytes(content)
    return path


def _encode(odd: Odd, path: Path) -> None:
    rng = np.random.default_rng(1)
    steps = {"": [1] * FRAMES, "left-out": [1, 1, 6, 1, 1] * 6, "uneven": rng.integers(1, 4, FRAMES).tolist()}[
        odd.stamps
    ]
    with av.open(str(path), "w") as container:
        options = GOPS.get(odd.codec, {}).get(odd.gop, {})
        stream = container.add_stream(odd.codec, rate=odd.rate, options=dict(options))
        stream.height, stream.width = odd.size
        stream.pix_fmt = odd.pixel_format or PIXEL_FORMATS.get(odd.codec, "yuv420p")
        stream.codec_context.time_base = 1 / odd.rate
        silence = (
            container.add_stream("mp3" if odd.container in ("avi", "flv", "ts") else "aac", rate=8000)
            if odd.sound
            else None
        )
        for image, stamp in zip(pictures(FRAMES, odd.size), np.cumsum(steps), strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = int(stamp), 1 / odd.rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if silence is not None:
            _silence(container, silence)


def _silence(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
    frame.rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _remux(source: Path, target: Path, change: Change, rate: Fraction) -> None:
    """Copy packets, changed."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        unit = round(1 / (rate * stream.time_base))
        for number, packet in enumerate(packets):
            packet.dts = (number - 2) * unit if packet.dts is None else packet.dts
        first = min(packet.pts for packet in packets)
        for packet in packets:
            packet.pts, packet.dts = packet.pts - first, min(packet.dts - first, packet.pts - first)
        for packet in change(packets, unit):
            packet.stream = copy
            new.mux(packet)


def _as_coded(packets: list[av.Packet], unit: int) -> list[av.Packet]:
    """Stamped in the order of coding."""
    for number, packet in enumerate(packets):
        packet.pts = packet.dts = number * unit
    return packets


def _cut(packets: list[av.Packet], unit: int) -> list[av.Packet]:
    """From the second keyframe on, as `ffmpeg -ss -c copy` does: what is before the cut comes along, and is hidden."""
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    kept = packets[keys[1] if len(keys) > 2 else 0 :]
    begin = kept[0].pts + 3 * unit
    for packet in kept:
        packet.pts, packet.dts = packet.pts - begin, packet.dts - begin
    return kept


def _late(packets: list[av.Packet], unit: int) -> list[av.Packet]:
    """Begins in the middle of a group of pictures."""
    return packets[3:]


def _wrapped(packets: list[av.Packet], unit: int) -> list[av.Packet]:
    """The clock of 33 bits of a transport stream begins anew in the middle."""
    for packet in packets:
        offset = round((Fraction(2**33, 90000) - Fraction(1, 2)) / packet.time_base)
        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
    return packets


def _vop(*bits: str) -> bytes:
    text = "".join(bits)
    text += "0" + "1" * (-(len(text) + 1) % 8)
    return b"\0\0\1\xb6" + int(text, 2).to_bytes(len(text) // 8, "big")


# A P frame of MPEG-4 without content: the frame before is to be shown on (ISO 14496-2; 5 bits of time at 25 fps).
REPEAT = _vop("01", "0", "1", "00000", "1", "0")


def _repeats(packets: list[av.Packet], unit: int) -> list[av.Packet]:
    """MPEG-4 with packets that only repeat the frame before, as XviD writes them for frames that were left out."""
    out: list[av.Packet] = []
    for packet in packets:
        out.append(packet)
        if len(out) % 5 == 4:
            out.append(av.Packet(REPEAT))
    return _clocked(out, packets[0], unit)


def _packed(packets: list[av.Packet], unit: int) -> list[av.Packet]:
    """MPEG-4 with B frames as DivX packs them: a frame and the B frame before it in one packet, then a packet for show."""
    out: list[av.Packet] = []
    contents = [bytes(packet) for packet in packets]
    kinds = [content[content.index(b"\0\0\1\xb6") + 4] >> 6 for content in contents]  # 0: I, 1: P, 2: B
    position = 0
    while position < len(packets):
        content, position = contents[position], position + 1
        if position == 1:
            content = content.replace(b"\0\0\1\xb6", b"\0\0\1\xb2DivX503b1393p\0\0\1\xb6", 1)
        follows = position < len(packets) and kinds[position] == 2 and kinds[position - 1] != 2
        out.append(av.Packet(content + contents[position] if follows else content))
        if follows:
            position += 1
            if position < len(packets) and kinds[position] == 2:
                out.append(av.Packet(contents[position]))
                position += 1
            out.append(av.Packet(REPEAT))
    return _clocked(out, packets[0], unit)


def _clocked(packets: list[av.Packet], like: av.Packet, unit: int) -> list[av.Packet]:
    for number, packet in enumerate(packets):
        packet.time_base, packet.pts, packet.dts = like.time_base, number * unit, number * unit
        packet.is_keyframe = number == 0
    return packets


CHANGES: dict[str, Change] = {
    "as-coded": _as_coded,
    "cut": _cut,
    "late": _late,
    "wrapped": _wrapped,
    "repeats": _repeats,
    "packed": _packed,
}


def combinations() -> list[Odd]:
    """All of them, in an order in which neighbours differ much."""
    found: list[Odd] = []
    for codec, containers in CONTAINERS.items():
        for gop, container in product(GOPS.get(codec, {"": {}}), containers):
            plain = Odd(codec, container, gop)
            found.append(plain)
            found += [
                replace(plain, stamps=stamps)
                for stamps in ("left-out", "uneven")
                if codec != "gif" and container != "mpg"
            ]
            if codec in ("libx264", "libx265", "mpeg4"):
                found += [replace(plain, change=change) for change in ("cut", "as-coded", "late")]
            if container == "ts":
                found.append(replace(plain, change="wrapped"))
        if codec != "mpeg1video":  # knows some rates only
            found += [Odd(codec, containers[0], list(GOPS.get(codec, [""]))[-1], rate=rate) for rate in RATES]
    found += [Odd("mpeg4", "avi", gop, change=change) for gop, change in (("no-b", "repeats"), ("b", "packed"))]
    x264 = [Odd("libx264", container, "b") for container in ("mp4", "mkv", "avi")]
    found += [replace(odd, sound=True) for odd in x264]
    found += [replace(odd, pixel_format=name) for odd in x264 for name in FORMATS_OF_X264]
    found += [replace(odd, size=size) for odd in x264 for size in ((50, 66), (16, 130), (144, 98))]
    found += [Odd("libx264", "mp4", gop, matrix=matrix) for gop in ("no-b", "b") for matrix in MATRICES]
    found += [Odd("mpeg4", "mov", "b", matrix=matrix) for matrix in MATRICES]
    for gop, (name, build) in product(("no-b", "b"), (("yuv444p", "150"), ("yuv444p", "164"), ("yuv420p", "033"))):
        found += [Odd("libx264", each, gop, pixel_format=name, options=(("x264", build),)) for each in ("mp4", "mkv")]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order]
