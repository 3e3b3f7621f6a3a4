"""Inspect one video: its properties, and why it cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from transm3e.data.backends import open_source
from transm3e.data.container import first_video_stream, is_hdr, open_container, pixel_aspect
from transm3e.data.decode import (
    DEFAULT_TIMEOUT,
    DecodeError,
    FrameSource,
    Video,
    decoded,
    upright,
)
from transm3e.data.images import files_by_number
from transm3e.data.orientation import UPRIGHT
from transm3e.data.packets import COMPLETE_SHARE
from transm3e.prepare.check.fingerprint import fingerprint, is_fingerprint, sampled, thumbnail

DECODE_MODES = ("first", "all", "none")
# Steps between frames this far from the usual one make the frame rate variable; Matroska rounds to milliseconds.
UNEVEN = 0.25
# No size, length or rate of a file is larger.
MAX_NUMBER = 2**62


@dataclass(frozen=True)
class VideoFacts:
    """Facts about a video; zeros and "" where they are unknown because of the mode or a fault.

    Attributes:
        fault: why it cannot be used, "" for a good one.
        frames: number of frames.
        seconds: duration by the time stamps, or by the average rate; 0 without time stamps (images).
        width, height: pixels as shown, rotation applied.
        rate: frames per second on average.
        variable: whether the time between frames varies.
        codec: of the video, or "pictures".
        rotation: in degrees, from the file's metadata.
        mirrored: whether the metadata asks for mirroring.
        pixel_aspect: pixel width / pixel height, as coded.
        hdr: whether it is HDR (PQ, HLG).
        size: bytes.
        content: hash of the bytes, hex.
        fingerprint: see transm3e.prepare.check.fingerprint; only where every frame was decoded.
    """

    fault: str = ""
    frames: int = 0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    rate: float = 0.0
    variable: bool = False
    codec: str = ""
    rotation: int = 0
    mirrored: bool = False
    pixel_aspect: float = 1.0
    hdr: bool = False
    size: int = 0
    content: str = ""
    fingerprint: str = ""


def is_facts(value: Any) -> bool:
    """Whether a JSON value holds the fields of a VideoFacts, each of its kind."""
    kinds = {each.name: type(each.default) for each in fields(VideoFacts)}
    if not isinstance(value, dict) or value.keys() != kinds.keys():
        return False
    if not all(
        type(value[name]) is kind or (kind is float and type(value[name]) is int) for name, kind in kinds.items()
    ):
        return False
    numbers = [number for number in value.values() if isinstance(number, int | float)]
    return all(abs(number) < MAX_NUMBER for number in numbers) and is_fingerprint(value["fingerprint"])


@dataclass
class FrameScan:
    """Collects facts from frames, one after the other.

    Attributes:
        wanted: numbers of frames of which thumbnails are kept.
        count: frames seen.
        shape: (height, width) of the first.
        changes: whether a later frame had another shape.
    """

    wanted: frozenset[int]
    count: int = 0
    shape: tuple[int, int] = (0, 0)
    changes: bool = False
    thumbnails: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, height: int, width: int, grey: Callable[[], np.ndarray]) -> None:
        """Take the next frame; `grey` is only called for wanted frames."""
        self.shape = self.shape if self.count else (height, width)
        self.changes |= self.shape != (height, width)
        if self.count in self.wanted:
            self.thumbnails[self.count] = thumbnail(grey())
        self.count += 1

    def fingerprint(self, frames: int) -> str:
        """Fingerprint of a video of `frames` frames, of which the last may be missing."""
        last = max(self.thumbnails)
        return fingerprint([self.thumbnails.get(n, self.thumbnails[last]) for n in sampled(frames)])


def inspect_video(path: str | Path, decode: str, timeout: float = DEFAULT_TIMEOUT) -> VideoFacts:
    """Inspect a video file, a folder of images, or an image.

    Args:
        decode: "first" lists the packets and decodes the first frame, "all" every frame, "none" only asks whether
            the file exists.
        timeout: seconds for listing the packets, or for reading images.
    """
    file = Path(path)
    if not file.exists():
        return VideoFacts(fault="file does not exist")
    if decode == "none":
        return VideoFacts()
    try:
        with closing(open_source(file, timeout=timeout)) as source:
            facts = _facts(source, file)
            scan = FrameScan(frozenset(sampled(source.num_frames)) if decode == "all" else frozenset())
            if not isinstance(source, Video):
                return _inspect_images(facts, source, scan, decode)
        return _inspect_file(facts, file, scan, decode)
    except DecodeError as error:
        return VideoFacts(fault=error.reason if error.path == str(file) else f"{Path(error.path).name} {error.reason}")
    except (av.FFmpegError, OSError) as error:
        return VideoFacts(fault=f"cannot be decoded: {error.strerror or error}")


def _facts(source: FrameSource, file: Path) -> VideoFacts:
    size, content = _content(file)
    facts = VideoFacts(frames=source.num_frames, size=size, content=content)
    times = source.seconds
    if times is None:
        return facts
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 0.0
    uneven = bool((np.abs(steps - usual) > UNEVEN * usual).any())
    # The last frame is shown as long as the others.
    seconds = float(times[-1] - times[0]) + usual
    return replace(facts, seconds=seconds, variable=uneven, rate=len(times) / seconds if seconds else 0.0)


def _content(path: Path) -> tuple[int, str]:
    """Number and BLAKE2 hash of the bytes of a file, or of a folder's images in order."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    for file in files_by_number(path) if path.is_dir() else [path]:
        with file.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    return size, digest.hexdigest()


def _inspect_images(facts: VideoFacts, source: FrameSource, scan: FrameScan, decode: str) -> VideoFacts:
    """Inspect images; their reader raises DecodeError for any fault."""
    for _, image in source.read(range(source.num_frames if decode == "all" else 1)):
        scan.add(image.shape[0], image.shape[1], partial(cv2.cvtColor, image, cv2.COLOR_RGB2GRAY))
    return _complete(facts, scan, "pictures", 0)


def _inspect_file(facts: VideoFacts, file: Path, scan: FrameScan, decode: str) -> VideoFacts:
    """Decode a file that the loader can open frame by frame, since the loader would skip unneeded frames."""
    with open_container(file) as container:
        stream = first_video_stream(container)
        assert stream is not None, "the loader has opened it"
        # Threaded decoding of broken files can hang PyAV.
        stream.thread_type = "NONE"
        last, damaged = None, 0
        try:
            for frame in islice(decoded(container.demux(stream)), None if decode == "all" else 1):
                scan.add(frame.height, frame.width, partial(_upright, frame))
                last, damaged = frame, damaged + bool(frame.is_corrupt)
            shown = upright(last, str(file)) if last is not None else UPRIGHT
        except DecodeError as error:
            return replace(facts, fault=error.reason)
        except av.FFmpegError as error:
            return replace(facts, fault=f"cannot be decoded after {scan.count} frames: {error.strerror}")
        if last is None:
            return replace(facts, fault="no frame can be decoded")
        fault = f"{damaged} of {scan.count} decoded frames are damaged" if damaged else ""
        if decode == "all" and not fault and scan.count < COMPLETE_SHARE * facts.frames:
            fault = f"cut off: {scan.count} of {facts.frames} frames decode"
        aspect = float(pixel_aspect(stream))
        facts = replace(facts, fault=fault, mirrored=shown.flipped, hdr=is_hdr(stream), pixel_aspect=aspect)
        return _complete(facts, scan, stream.codec_context.name, 90 * shown.turns)


def _complete(facts: VideoFacts, scan: FrameScan, codec: str, rotation: int) -> VideoFacts:
    height, width = scan.shape[::-1] if rotation % 180 else scan.shape
    fault = facts.fault or ("the frame size changes within the video; re-encode it" if scan.changes else "")
    prints = scan.fingerprint(facts.frames) if scan.thumbnails and not fault else ""
    return replace(facts, fault=fault, height=height, width=width, codec=codec, rotation=rotation, fingerprint=prints)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    return upright(frame, "the video").apply(frame.to_ndarray(format="gray"))
