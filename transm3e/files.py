"""Files that appear whole or not at all, and what they are called."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from transm3e.errors import UserError, disk_fault

CLIP_TABLE = "clips.csv"
# Of a text that is read as a whole: lists of a million names are a tenth of it.
MAX_TEXT = 1 << 28


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is synced to disk and renamed to `path`, else deleted.

    The temporary name keeps the suffix (encoders choose a format by it) and carries the process number,
    so two processes never write into one file.

    Raises:
        UserError: the file cannot be written (disk full, read-only, no such folder); an older file stays as it was.
    """
    file = Path(path)
    partial = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
    try:
        yield partial
        with partial.open("rb+") as written:
            _sync(written.fileno())
        partial.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        raise UserError(f"cannot write {file}: {disk_fault(error)} (an older file is untouched)") from error
    finally:
        # Where it cannot be removed (no such folder, name too long) it was never there.
        with suppress(OSError):
            partial.unlink()


def make_folder(folder: str | Path, setting: str = "one") -> None:
    """Make a folder and those above it; one that is there is fine.

    Args:
        setting: what names it, for the message.

    Raises:
        UserError: it cannot be made (a file by that name, read-only, disk full).
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {disk_fault(error, f'choose another {setting}')}") from error


def clip_table_file(path: str | Path) -> Path:
    """The CSV file behind a clip table's path, which may be the folder that holds it; it need not exist."""
    return Path(path) if Path(path).suffix == ".csv" else Path(path) / CLIP_TABLE


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading; a pipe or device among a stranger's files would never end.

    Raises:
        OSError: it cannot be opened, or is no regular file; `strerror` says why.
    """
    return open(path, "rb", opener=_open_regular)


def read_bytes(path: str | Path, limit: int = MAX_TEXT) -> bytes:
    """All of a regular file of at most `limit` bytes.

    Raises:
        OSError: as open_regular, or it is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"{size} bytes, at most {limit} are read", str(path))
        # Not read(limit), which would take so much memory first.
        return file.read(size)


def read_text(path: str | Path, limit: int = MAX_TEXT, encoding: str = "utf-8") -> str:
    """The text of a regular file of at most `limit` bytes, lines ending in a line feed.

    Raises:
        OSError: as read_bytes.
        UnicodeDecodeError: it is in another encoding.
    """
    return read_bytes(path, limit).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text; see atomic_path for what is raised."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder is synced (POSIX; Windows cannot open folders).
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            _sync(handle)
        finally:
            os.close(handle)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        # File systems that cannot (folders on CIFS and FUSE) say so.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def _open_regular(path: str, flags: int) -> int:
    # Without waiting for a pipe's other end (POSIX).
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(code, os.strerror(code) if stat.S_ISDIR(mode) else "not a regular file", path)
