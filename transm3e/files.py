"""Files that appear whole or not at all, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transm3e.errors import UserError

CLIP_TABLE = "clips.csv"


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
            os.fsync(written.fileno())
        partial.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {file}: {error.strerror or error}; free space or choose another folder (an older file is untouched)"
        ) from error
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
        raise UserError(
            f"cannot make the folder {folder}: {error.strerror or error}; choose another {setting}"
        ) from error


def clip_table_file(path: str | Path) -> Path:
    """The CSV file behind a clip table's path, which may be the folder that holds it; it need not exist."""
    return Path(path) if Path(path).suffix == ".csv" else Path(path) / CLIP_TABLE


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text; see atomic_path for what is raised."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder is synced (POSIX; Windows cannot open folders).
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
