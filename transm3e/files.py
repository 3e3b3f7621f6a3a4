"""Atomic writing, bounded reading, and paths of local and remote files."""

from __future__ import annotations

import errno
import logging
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from transm3e.errors import UserError, disk_fault

logger = logging.getLogger(__name__)
CLIP_TABLE = "clips.csv"
# Bytes of a text file that is read as a whole: ten times a list of a million names.
MAX_TEXT = 1 << 28
REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Separates a file from a part of it: a video in a pickle of many, a key of a checkpoint.
MEMBER = "::"
WITH_MEMBER = re.compile(rf"(.+){MEMBER}([\w.-]+)$")
# Environment variable: comma-separated modules that are imported before the first remote path is resolved.
HANDLERS = "TRANSM3E_PATH_HANDLERS"
CACHE = "TRANSM3E_CACHE"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`; on success it is synced to disk and renamed to `path`, else deleted.

    The temporary name keeps the suffix (encoders choose a format by it) and contains the process id, so that two processes
    never write into one file.

    Raises:
        UserError: the file cannot be written (disk full, read-only, no such folder); an older file is unchanged.
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
        # If it cannot be removed (no such folder, name too long), it was never created.
        with suppress(OSError):
            partial.unlink()


def make_folder(folder: str | Path, setting: str = "one") -> None:
    """Make a folder and its parents, unless it exists.

    Args:
        setting: key or option that names it, for the message.

    Raises:
        UserError: it cannot be made (a file of that name, read-only, disk full).
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {disk_fault(error, f'choose another {setting}')}") from error


def clip_table_file(path: str | Path) -> Path:
    """The CSV file of a clip table given by its path or folder; it need not exist.

    Raises:
        UserError: it is a URL that cannot be fetched, see local_path.
    """
    if is_remote(path):
        return _remote_table(str(path))
    return Path(path) if Path(path).suffix == ".csv" else Path(path) / CLIP_TABLE


@lru_cache(maxsize=64)
def _remote_table(url: str) -> Path:
    file = local_path(url if url.partition("#")[0].endswith(".csv") else f"{url.rstrip('/')}/{CLIP_TABLE}")
    logger.warning(
        "%s: only the table is fetched, no other files (set DATA.PATH_PREFIX for videos; without activities.txt, activities "
        "are sorted by name)",
        url,
    )
    return file


def cache_folder() -> Path:
    """Folder of fetched files, networks and detected persons: $TRANSM3E_CACHE, else ~/.cache/transm3e."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "transm3e").absolute()


def is_remote(path: str | Path) -> bool:
    """Whether it is a URL (`https://...`); a pathlib.Path never is, as it collapses the double slash."""
    return bool(REMOTE.match(str(path)))


def local_path(path: str | Path) -> Path:
    """Local path of a checkpoint, config or table; remote ones are fetched by the path manager.

    A member at its end (split_member) is kept.

    Raises:
        UserError: it cannot be fetched, or no handler is registered for its scheme.
    """
    text = str(path)
    if not is_remote(text):
        return Path(path)
    _import_handlers(os.environ.get(HANDLERS, ""))
    name, member = split_member(text)
    try:
        found = str(path_manager().get_local_path(name))
    except UserError:
        raise
    except Exception as error:  # raised by a user's handler
        why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UserError(f"{text} cannot be fetched ({why}); fetch it by hand and give the path of the file") from error
    if is_remote(found):
        scheme = text.partition("://")[0]
        raise UserError(
            f"{text}: no handler is registered for {scheme}:// (https:// and http:// always have one); name a module that "
            f"registers it in {HANDLERS} (see configs/README.md), or give the path of a local file"
        )
    return Path(f"{found}{MEMBER}{member}" if member else found)


def split_member(path: str | Path) -> tuple[str, str]:
    """ "a.pth::model_ema" -> ("a.pth", "model_ema"), a part of a file; "" without `::`."""
    found = WITH_MEMBER.match(str(path))
    return (found[1], found[2]) if found else (str(path), "")


@lru_cache(maxsize=1)
def path_manager() -> Any:
    """The iopath PathManager that resolves all paths of checkpoints, configs and tables.

    `path_manager().register_handler(handler)` adds an iopath PathHandler, for `s3://` for example.
    """
    # Imported here: most runs use local paths only.
    from iopath.common.file_io import PathManager

    from transm3e.downloads import WebHandler

    manager = PathManager()
    manager.set_logging(False)
    manager.register_handler(WebHandler())
    return manager


def beside(file: str | Path, name: str) -> str:
    """Resolve `name` relative to the folder of `file`, both possibly remote; a URL is returned unchanged."""
    if is_remote(name):
        return name
    if not is_remote(file):
        return str(Path(file).parent / name)
    scheme, host, path, *_ = urlsplit(str(file))
    return urlunsplit((scheme, host, posixpath.normpath(posixpath.join(posixpath.dirname(path), name)), "", ""))


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading: reading a pipe or device among untrusted files would never end.

    Raises:
        OSError: it cannot be opened, or is not a regular file; `strerror` says why.
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
        # Not read(limit), which would allocate `limit` bytes.
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


@lru_cache(maxsize=1)
def _import_handlers(names: str) -> None:
    for name in filter(None, names.split(",")):
        try:
            import_module(name.strip())
        except ImportError as error:
            raise UserError(f"{HANDLERS} names {name}, which does not import: {error}; check PYTHONPATH") from error


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
        # File systems without support (folders on CIFS and FUSE) raise these.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def _open_regular(path: str, flags: int) -> int:
    # O_NONBLOCK: do not wait for the other end of a pipe (POSIX).
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(code, os.strerror(code) if stat.S_ISDIR(mode) else "not a regular file", path)
