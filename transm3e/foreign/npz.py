"""Untrusted npy and npz files: sizes are checked against the content before memory is allocated.

np.load allocates what a header asks for before it reads, and a few kilobytes of zip can unpack to terabytes.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from types import TracebackType
from typing import IO

import numpy as np

from transm3e.files import open_regular

# Of one array, uncompressed: four times a skeleton of five hours or 16 frames of 8K flow.
MAX_BYTES = 1 << 30
# bool, integers, floats, complex numbers; text and bytes of fixed length.
KINDS = "biufcUS"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What damaged zip files, deflate streams and NumPy headers raise (SyntaxError: NumPy tries to repair old headers).
DAMAGE = (
    *(ValueError, EOFError, LookupError, RuntimeError, TypeError, AttributeError, ArithmeticError, MemoryError),
    *(SyntaxError, TokenError, struct.error, zlib.error, zipfile.BadZipFile),
)


class ArchiveError(ValueError):
    """Not an archive, damaged, or smaller than it states; the message is one line without the file's name."""


class Archive:
    """An open npz file; a context manager.

    Args:
        path: the file.
        max_bytes: of one array.

    Attributes:
        names: of the arrays.

    Raises:
        ArchiveError: not a zip file, or a damaged one.
        OSError: it cannot be read.
    """

    def __init__(self, path: str | Path, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._file = open_regular(path)
        try:
            with _translated_errors():
                self._zip = zipfile.ZipFile(self._file)
        except BaseException:
            self._file.close()
            raise
        members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}
        self._members = members
        self.names = tuple(members)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> np.ndarray:
        """An array of numbers or text.

        Raises:
            ArchiveError: no array of this name; it is damaged or too large, or holds objects.
        """
        if name not in self._members:
            raise ArchiveError(f"holds no array {name!r}")
        info = self._members[name]
        if info.file_size > self._max_bytes or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(
                f"its array {name!r} unpacks to {info.file_size} bytes; allowed: {self._max_bytes}, deflated"
            )
        with _translated_errors(), self._zip.open(info) as member:
            return _read(member, info.file_size)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._zip.close()
        self._file.close()

    def all(self) -> dict[str, np.ndarray]:
        """Every array by name.

        Raises:
            ArchiveError: as __getitem__, or together they exceed the limit of one array.
        """
        total = sum(info.file_size for info in self._members.values())
        if total > self._max_bytes:
            raise ArchiveError(f"unpacks to {total} bytes; allowed: {self._max_bytes}")
        return {name: self[name] for name in self.names}


def read_npy(path: str | Path, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array of numbers or text in an npy file of at most `max_bytes`.

    Raises:
        ArchiveError: not an npy file, damaged, too large, or it holds objects.
        OSError: it cannot be read.
    """
    with open_regular(path) as file, _translated_errors("npy"):
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ArchiveError(f"{size} bytes; allowed: {max_bytes}")
        return _read(file, size)


def _read(member: IO[bytes], size: int) -> np.ndarray:
    read_header = HEADERS.get(np.lib.format.read_magic(member))
    if read_header is None:
        raise ValueError("an array in an unknown version of NumPy's format")
    shape, fortran, dtype = read_header(member)
    if dtype.kind not in KINDS or dtype.fields or dtype.subdtype or not dtype.itemsize:
        raise ValueError(f"an array of element type {dtype!s:.40}")
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed != size - member.tell():
        raise ValueError(f"an array of shape {shape!s:.80} in {size - member.tell()} bytes")
    # With an exact count: otherwise zipfile would decompress up to two gigabytes at once.
    raw = bytearray(member.read(claimed))
    if len(raw) != claimed:
        raise ValueError("truncated")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


@contextmanager
def _translated_errors(what: str = "npz of arrays") -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, ArchiveError):
            raise
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ArchiveError(f"not an {what}, or a damaged one: {reason}") from error
