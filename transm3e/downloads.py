"""Download files from http:// and https:// into a cache, atomically and checked against their hash."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from math import ceil
from pathlib import Path
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from iopath.common.file_io import PathHandler

from transm3e.errors import UserError, shown
from transm3e.files import CACHE, atomic_path, cache_folder, make_folder
from transm3e.progress import track

logger = logging.getLogger(__name__)
TIMEOUT_S = 60
CHUNK = 1 << 20
LONGEST_NAME = 200
LOCK_WAIT_S = 0.1
BY_HAND = "fetch it by hand and give the path of the file instead"
# torch.hub and OpenMMLab put the beginning of the SHA-256 into names. Eight digits without a letter are a date.
HASH_IN_NAME = re.compile(r"-(?=[0-9]*[a-f])([0-9a-f]{8,64})\.\w+$")
HASH_IN_URL = re.compile(r"sha256=([0-9a-fA-F]{64})")


class WebHandler(PathHandler):
    """The path manager's handler for http:// and https://."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["https://", "http://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(fetched(path))


def fetched(url: str) -> Path:
    """The file of a URL in the cache, fetched if necessary.

    Processes of one host that need it at the same time wait for the one that fetches it.

    Args:
        url: may end in `#sha256=` and 64 hex digits, the file's hash; else a name such as `resnet50-11ad3fa6.pth` gives
            the beginning of its SHA-256.

    Raises:
        UserError: it cannot be reached or written, is incomplete, a web page instead of a file, or has another hash.
    """
    wanted = _wanted_hash(url)
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:16]
    file = folder / _name(url)
    if not file.is_file():
        make_folder(folder, CACHE)
        with _exclusive(folder):
            if not file.is_file():
                _fetch(url, file, wanted)
    return file


def _wanted_hash(url: str) -> str:
    fragment = urlsplit(url).fragment
    found = HASH_IN_URL.fullmatch(fragment)
    if fragment and not found:
        raise UserError(f"{url} ends in {shown('#' + fragment)}; allowed is #sha256= and 64 hex digits")
    if found:
        return found[1].lower()
    named = HASH_IN_NAME.search(_name(url))
    return named[1] if named else ""


def _name(url: str) -> str:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".")[-LONGEST_NAME:] or "file"


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes of this host; on file systems without locks, do nothing."""
    try:
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; set {CACHE} to another folder") from error
    with lock:
        if _acquire(lock, folder):
            for partial in folder.glob(".*.*.*"):  # of processes that were killed
                partial.unlink(missing_ok=True)
        yield


def _acquire(lock: IO[str], folder: Path) -> bool:
    is_told = False
    while True:
        try:
            # flock, not lockf: it also separates threads.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):
            if not is_told:
                logger.info("another process is fetching into %s; waiting", folder)
            is_told = True
            time.sleep(LOCK_WAIT_S)
        except OSError:  # a file system without locks
            return False


def _fetch(url: str, file: Path, wanted: str) -> None:
    digest, count = hashlib.sha256(), 0
    with _open(url) as response:
        size = int(response.headers.get("Content-Length") or 0)
        logger.info("fetching %s (%s) into %s", url, f"{size / 1e6:.1f} MB" if size else "size unknown", file)
        with atomic_path(file) as partial, partial.open("wb") as out:
            for chunk in track(_chunks(response, url), file.name, ceil(size / CHUNK), "MiB"):
                out.write(chunk)
                digest.update(chunk)
                count += len(chunk)
            _check(url, (count, size), digest.hexdigest(), wanted)


def _check(url: str, sizes: tuple[int, int], found: str, wanted: str) -> None:
    count, size = sizes
    if not count or (size and count != size):
        raise UserError(f"{url} ended after {count} of {size or 'some'} bytes; try again, or {BY_HAND}")
    if not found.startswith(wanted):
        raise UserError(
            f"{url} has the SHA-256 {found}, not {wanted}: damaged in transit, or another file; {BY_HAND}, or end the "
            f"URL in #sha256={found} if that file is right"
        )


def _open(url: str) -> Any:
    # Only these handlers, so that no redirect leads to a local file or to FTP.
    opener = request.OpenerDirector()
    for handler in (
        *(request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler),
        *(request.HTTPErrorProcessor, request.HTTPDefaultErrorHandler),
    ):
        opener.add_handler(handler())
    headers = {"User-Agent": "transm3e", "Accept-Encoding": "identity"}
    try:
        response = opener.open(request.Request(url.partition("#")[0], headers=headers), timeout=TIMEOUT_S)
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(url, error) from error
    kind = response.headers.get_content_type()
    if kind == "text/html" or response.headers.get("Content-Encoding", "identity") != "identity":
        raise UserError(f"{url} leads to {kind}, not to a file; give the URL of the download itself, or {BY_HAND}")
    return response


def _chunks(response: Any, url: str) -> Iterator[bytes]:
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> UserError:
    if isinstance(error, HTTPError):
        why = f"the server answers {error.code} {error.reason}"
    else:
        cause = error.reason if isinstance(error, URLError) else error
        why = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return UserError(f"{url} cannot be fetched: {why}; {BY_HAND}")
