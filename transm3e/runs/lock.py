"""A lock on a folder for one process at a time, on any file system.

Some file systems have no POSIX locks (Lustre without -o flock, NFS without lockd), on others they hold within one host
only (Lustre's -o localflock). So the holder creates a lock file (O_EXCL) and touches it every BEAT_S. Whether the holder
is alive can be seen at once on the same host; for another host, by waiting for the next touch.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from transm3e.cli import USER_MISTAKE
from transm3e.errors import UserError, disk_fault, one_line
from transm3e.files import read_text
from transm3e.foreign.json_text import parse_json

logger = logging.getLogger(__name__)
WAIT_S = 0.05
# Seconds between two heartbeats; seconds without one after which a process of another host counts as dead.
BEAT_S, SILENCE_S = 10.0, 60.0
TAKEOVER_S = 5.0
LONGEST = 1 << 16
# Tokens of the locks that this process holds.
_held_here: set[str] = set()


class InUse(UserError):
    """Another process holds the folder."""


@dataclass(frozen=True)
class Owner:
    """A process that holds a folder.

    Attributes:
        process: "process N on HOST".
        note: free text of the holder.
        place: where `pid` is valid: boot id of the host and PID namespace; "" if unknown.
        pid, started: process number and start time there.
        token: unique to this lock.
    """

    process: str
    note: str = ""
    place: str = ""
    pid: int = 0
    started: str = ""
    token: str = ""

    @classmethod
    def of_this_process(cls, note: str) -> Owner:
        pid = os.getpid()
        return cls(f"process {pid} on {socket.gethostname()}", note, _place(), pid, _started(pid) or "", uuid4().hex)

    @property
    def is_alive(self) -> bool | None:
        """Whether the process is alive; None if it is on another host and cannot be checked."""
        if not self.place or self.place != _place():
            return None
        if self.pid == os.getpid():
            return self.token in _held_here
        started = _started(self.pid)
        return None if started is None else started == self.started


@contextmanager
def hold(file: Path, note: str = "") -> Iterator[None]:
    """Hold the lock `file` against other processes.

    Args:
        file: exists while it is held.
        note: what `holder` returns to other processes.

    Raises:
        InUse: another process holds it.
        UserError: the file cannot be written.
    """
    owner = Owner.of_this_process(note)
    try:
        _take(file, owner)
    except OSError as error:
        remedy = "choose another OUTPUT_DIR or RUNS_DIR"
        raise UserError(f"cannot write to {file.parent}: {disk_fault(error, remedy)}") from error
    with _Heartbeat(file, owner):
        yield


def holder(file: Path) -> Owner | None:
    """The process that holds the lock, as far as this host can tell; None if none does."""
    try:
        owner, silence = _read(file), time.time() - file.stat().st_mtime
    except OSError:  # not locked yet, or not readable: hold() reports which
        return None
    is_alive = owner and owner.is_alive
    return owner if is_alive or (is_alive is None and silence < SILENCE_S) else None


def _held(file: Path, process: str, remedy: str = "") -> str:
    return f"{file.parent} is in use by {one_line(process)}; wait for it, or choose another OUTPUT_DIR{remedy}"


def _take(lock: Path, owner: Owner) -> None:
    while not _make(lock, owner):
        other = _read(lock)
        if other is None:
            continue
        is_alive = other.is_alive
        if is_alive is None:
            logger.warning(
                "%s held %s last; waiting %g s for a heartbeat", one_line(other.process), lock.parent, SILENCE_S
            )
            is_alive = _is_touched(lock)
        if is_alive:
            raise InUse(
                _held(lock, other.process, f"; if that process has certainly ended, delete {lock} and start again")
            )
        _remove(lock, other)


def _make(lock: Path, owner: Owner) -> bool:
    """Create the lock file; False if it exists."""
    try:
        file = lock.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(json.dumps(asdict(owner)) + "\n")
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def _remove(lock: Path, owner: Owner) -> None:
    """Remove a dead owner's lock file, but not one that a third process has created meanwhile."""
    guard = lock.with_name(lock.name + ".takeover")
    try:
        guard.open("x").close()
    except FileExistsError:  # another process is removing it, or was killed while doing so
        end = time.monotonic() + TAKEOVER_S
        while guard.exists():
            if time.monotonic() > end:
                guard.unlink(missing_ok=True)
            time.sleep(WAIT_S)
        return
    try:
        if _read(lock) == owner:
            lock.unlink()
    finally:
        guard.unlink(missing_ok=True)


def _read(lock: Path) -> Owner | None:
    """The owner in a lock file; None if there is no file."""
    try:
        plain = parse_json(read_text(lock, LONGEST))
        return Owner(**{key: type(value)(plain[key]) for key, value in asdict(Owner("")).items()})
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        return Owner("another process")
    except (ValueError, KeyError, TypeError, OverflowError):  # being written, or never written completely
        return Owner("another process")


def _is_touched(lock: Path) -> bool:
    """Whether the file is touched in the next SILENCE_S; clocks of two hosts are never compared."""
    before, end = _touched(lock), time.monotonic() + SILENCE_S
    while before and time.monotonic() < end:
        time.sleep(min(1.0, SILENCE_S / 10))
        now = _touched(lock)
        if now != before:
            return now is not None
    return False


def _touched(lock: Path) -> tuple[int, int] | None:
    try:
        with lock.open("rb") as file:  # opening it makes a network file system ask its server
            found = os.fstat(file.fileno())
            return found.st_ino, found.st_mtime_ns
    except FileNotFoundError:
        return None


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start time of a process of this host, in clock ticks; "" if it has ended, None if that cannot be read."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return "" if state in "ZX" else numbers[18]
    except OSError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return None


class _Heartbeat(threading.Thread):
    """Sends heartbeats until the context is left."""

    def __init__(self, lock: Path, owner: Owner) -> None:
        super().__init__(daemon=True, name="lock heartbeat")
        self._file, self._owner, self._over = lock, owner, threading.Event()

    def __enter__(self) -> None:
        _held_here.add(self._owner.token)
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        _held_here.discard(self._owner.token)
        with suppress(OSError):
            if _read(self._file) == self._owner:
                self._file.unlink()

    def run(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(OSError):  # the disk may stall: the next heartbeat may succeed
                self._beat()

    def _beat(self) -> None:
        other = _read(self._file)
        if other is None:
            _make(self._file, self._owner)
        elif other == self._owner:
            os.utime(self._file)
        elif other.token:
            # This process was suspended for longer than SILENCE_S: anything it wrote now would corrupt the other's run.
            print(
                f"error: {_held(self._file, other.process)} (it took the folder over while "
                "this process sent no heartbeat); ended without saving",
                file=sys.stderr,
                flush=True,
            )
            os._exit(USER_MISTAKE)
