"""The size of an image according to its header, so that it is known before a decoder allocates memory."""

from __future__ import annotations

import struct

PNG, BMP, RIFF = b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"
JPEG = b"\xff\xd8"
# Markers that begin a JPEG's frame, and those without a length field.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def image_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) in the header of a PNG, JPEG, BMP or WebP; None for other formats and truncated headers."""
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
