"""Files that appear whole or not at all, what they are called, and where those of other machines lie."""

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
# Of a text that is read as a whole: lists of a million names are a tenth of it.
MAX_TEXT = 1 << 28
REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Between a file and a part of it: a video's skeleton in a pickle of many, the weights under a key of a checkpoint.
MEMBER = "::"
WITH_MEMBER = re.compile(rf"(.+){MEMBER}([\w.-]+)$")
# Names modules, joined by commas, that are imported before the first path of another machine is looked up.
HANDLERS = "TRANSM3E_PATH_HANDLERS"
CACHE = "TRANSM3E_CACHE"


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
    """The CSV file behind a clip table's path, which may be the folder that holds it; it need not exist.

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
        "%s: the table alone is fetched, not what lies beside it (videos: DATA.PATH_PREFIX; activities.txt: activities "
        "are in the order of their names)",
        url,
    )
    return file


def cache_folder() -> Path:
    """Where fetched files, networks and found persons lie: $TRANSM3E_CACHE, else ~/.cache/transm3e."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "transm3e").absolute()


def is_remote(path: str | Path) -> bool:
    """Whether it begins as a URL does, `https://`; a pathlib.Path never does, which makes one slash of two."""
    return bool(REMOTE.match(str(path)))


def local_path(path: str | Path) -> Path:
    """Where a checkpoint, config or table can be read: local paths as they are, others fetched by the path manager.

    A member at its end (split_member) stays there.

    Raises:
        UserError: it cannot be fetched, or nothing is registered for such paths.
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
    except Exception as error:  # of a handler of the user's
        why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UserError(f"{text} cannot be fetched ({why}); fetch it by hand and give the path of the file") from error
    if is_remote(found):
        scheme = text.partition("://")[0]
        raise UserError(
            f"{text}: nothing is registered for {scheme}:// (https:// and http:// always are); name a module that does "
            f"in {HANDLERS} (see configs/README.md), or give the path of a local file"
        )
    return Path(f"{found}{MEMBER}{member}" if member else found)


def split_member(path: str | Path) -> tuple[str, str]:
    """ "a.pth::model_ema" -> ("a.pth", "model_ema"): a part of a checkpoint; "" where none is named."""
    found = WITH_MEMBER.match(str(path))
    return (found[1], found[2]) if found else (str(path), "")


@lru_cache(maxsize=1)
def path_manager() -> Any:
    """The iopath PathManager that all checkpoints, configs and tables are looked up with.

    `path_manager().register_handler(handler)` adds an iopath PathHandler, for `s3://` and the like.
    """
    # Imported here: most programs meet local paths only.
    from iopath.common.file_io import PathManager

    from transm3e.downloads import WebHandler

    manager = PathManager()
    manager.set_logging(False)
    manager.register_handler(WebHandler())
    return manager


def beside(file: str | Path, name: str) -> str:
    """`name` as a file names it that lies at `file`: beside it, also on another machine, unless it is whole itself."""
    if is_remote(name):
        return name
    if not is_remote(file):
        return str(Path(file).parent / name)
    scheme, host, path, *_ = urlsplit(str(file))
    return urlunsplit((scheme, host, posixpath.normpath(posixpath.join(posixpath.dirname(path), name)), "", ""))


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
