"""Frames stored as images: a folder of them, or a single image (a clip of one frame)."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from transm3e.data.container import MAX_PIXELS
from transm3e.data.decode import DEFAULT_TIMEOUT, DecodeError, FrameSource
from transm3e.data.image_head import image_size
from transm3e.files import read_bytes

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
JPEG_BEGIN, JPEG_END = b"\xff\xd8", b"\xff\xd9"
# Bytes after a JPEG's end mark that cameras write.
TRAILER = 1024


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
        if data.startswith(JPEG_BEGIN) and JPEG_END not in data[-TRAILER:]:
            raise DecodeError(str(path), "is truncated")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DecodeError(str(path), f"cannot be read: {reason}") from error
    if image is None:
        raise DecodeError(str(path), "is not an image")
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
