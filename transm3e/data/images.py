"""Frames stored as images: a folder of them, or a single image (a clip of one frame)."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from transm3e.data.container import MAX_PIXELS
from transm3e.data.decode import DEFAULT_TIMEOUT, DecodeError, FrameSource
from transm3e.files import read_bytes

PNG, BMP, RIFF = b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"
JPEG, JPEG_END = b"\xff\xd8", b"\xff\xd9"
# Bytes after a JPEG's end mark that cameras write.
TRAILER = 1024
# Markers that begin a JPEG's frame, and those without a length field.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def image_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) in the header of a PNG, JPEG, BMP or WebP, before a decoder allocates memory; None for other
    formats and truncated headers."""
    try:
        if data.startswith(PNG):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(JPEG):
            height, width = _jpeg(data)
        elif data.startswith(BMP):
            width, height = _bmp(data)
        elif data.startswith(RIFF) and data[8:12] == b"WEBP":
            width, height = _webp(data)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return height, width


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        while data[at] != 0xFF:  # bytes between segments, which decoders skip
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 4)
            return height, width
        at += 1 if marker in JPEG_ALONE else 1 + struct.unpack_from(">H", data, at + 1)[0]


def _bmp(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2's header
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # a negative height means upside down


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        sides = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        sides = ((bits >> shift & 0x3FFF) + 1 for shift in (0, 14))
    else:
        sides = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    width, height = sides
    return width, height


class ImageFolder(FrameSource):
    """A folder of images, one per frame, ordered by the last number in their names (img_00012.jpg), or one image.

    Numbers may begin anywhere, but none may be missing: the frames around a gap would silently become neighbours. There
    are no time stamps: `seconds` is None.

    Args:
        path: the folder, or an image file.
        timeout: seconds of wall-clock time for all reading from this object; checked between images.

    Raises:
        DecodeError: no images, a missing or repeated number, an image that cannot be read or is truncated, or images of
            different sizes; from the constructor or from read().
    """

    def __init__(self, path: str | Path, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.path, self._timeout = str(path), timeout
        self._deadline = time.monotonic() + timeout
        self._files = files_by_number(Path(path)) if Path(path).is_dir() else [Path(path)]
        self.num_frames = len(self._files)

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read."""
        shape: tuple[int, ...] = ()
        for number in sorted(numbers):
            if time.monotonic() > self._deadline:
                raise DecodeError(self.path, f"took longer than {self._timeout:g} s; raise DATA.DECODE_TIMEOUT")
            image = read_image(self._files[number])
            if image.shape != (shape := shape or image.shape):
                raise DecodeError(str(self._files[number]), f"has {image.shape[:2]} pixels, the others {shape[:2]}")
            yield number, image


class ArrayFrames(FrameSource):
    """Frames that are in memory.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        fps: frames per second; 0 = no time stamps.
    """

    def __init__(self, path: str, frames: np.ndarray, fps: float = 0.0) -> None:
        self.path, self.num_frames, self._frames, self._fps = path, len(frames), frames, fps

    @property
    def seconds(self) -> np.ndarray | None:
        """See FrameSource.seconds."""
        return np.arange(self.num_frames) / self._fps if self._fps else None

    def read(self, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """See FrameSource.read."""
        yield from ((number, self._frames[number]) for number in sorted(numbers))


def files_by_number(folder: Path, prefix: str = "") -> list[Path]:
    """The images of a folder, ordered by the last number in their names.

    Args:
        folder: with images of IMAGE_SUFFIXES; other files are ignored.
        prefix: only files whose names begin with it.

    Raises:
        DecodeError: no images, a name without a number, or a missing or repeated number.
    """
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.name.startswith(prefix)]
    if not files:
        raise DecodeError(str(folder), f"holds no images {prefix}*; allowed: {', '.join(IMAGE_SUFFIXES)}")
    by_number: dict[int, Path] = {}
    for file in files:
        found = re.findall(r"\d+", file.stem)
        if not found:
            raise DecodeError(str(file), "has no number in its name, so its position among the frames is unknown")
        if int(found[-1]) in by_number:
            raise DecodeError(str(file), f"has the number of {by_number[int(found[-1])].name}; delete one")
        by_number[int(found[-1])] = file
    first, last = min(by_number), max(by_number)
    missing = last + 1 - first - len(by_number)
    if missing:
        # Numbers may be far apart (time stamps, for example), so only the first gaps are listed.
        gaps = islice((number for number in range(first, last + 1) if number not in by_number), 3)
        shown = ", ".join(map(str, gaps)) + (", ..." if missing > 3 else "")
        raise DecodeError(str(folder), f"lacks {missing} of the frames {first} to {last}: {shown}; extract it again")
    return [by_number[number] for number in sorted(by_number)]


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """An image as uint8, (H, W, 3) RGB or with cv2.IMREAD_GRAYSCALE (H, W), rotated as its EXIF data say.

    Raises:
        DecodeError: it cannot be read, is truncated, has a format outside IMAGE_SUFFIXES, or more than MAX_PIXELS.
    """
    try:
        data = read_bytes(path)
        size = image_size(data)
        if data and size is None:
            raise DecodeError(str(path), f"is not an image; allowed: {', '.join(IMAGE_SUFFIXES)}")
        if size and size[0] * size[1] > MAX_PIXELS:
            raise DecodeError(str(path), f"has {size[1]}x{size[0]} pixels; at most {MAX_PIXELS} are read")
        # OpenCV fills the rest of a truncated JPEG with grey, without an error.
        if data.startswith(JPEG) and JPEG_END not in data[-TRAILER:]:
            raise DecodeError(str(path), "is truncated")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DecodeError(str(path), f"cannot be read: {reason}") from error
    if image is None:
        raise DecodeError(str(path), "is not an image")
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
