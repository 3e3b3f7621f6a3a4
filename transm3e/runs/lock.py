"""One process at a time in a folder, on whatever file system it lies.

POSIX locks are not everywhere (Lustre without -o flock, NFS without lockd), and in places hold for one machine only
(Lustre's -o localflock). So the holder keeps a file, made by nobody else meanwhile (O_EXCL), and touches it every BEAT_S.
Who finds it sees whether its process is alive, on this machine at once, of another one by waiting for a touch.
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
# Seconds between two signs of life, and without one until a process of another machine counts as dead.
BEAT_S, SILENCE_S = 10.0, 60.0
TAKEOVER_S = 5.0
LONGEST = 1 << 16
# Tokens of what this process holds.
_held_here: set[str] = set()


class InUse(UserError):
    """Another process holds the folder."""


@dataclass(frozen=True)
class Owner:
    """A process that holds a folder.

    Attributes:
        process: "process N on HOST".
        note: what it says of itself.
        place: where process numbers mean the same: a boot of a machine, and a container; "" where nobody can tell.
        pid, started: which process there.
        token: of this hold, and of no other.
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
    def lives(self) -> bool | None:
        """None: another machine's, which cannot be asked."""
        if not self.place or self.place != _place():
            return None
        if self.pid == os.getpid():
            return self.token in _held_here
        started = _started(self.pid)
        return None if started is None else started == self.started


@contextmanager
def hold(file: Path, note: str = "") -> Iterator[None]:
    """Hold what `file` stands for against other processes.

    Args:
        file: exists while it is held.
        note: told to who asks `holder`.

    Raises:
        InUse: by another process.
        UserError: it cannot be written.
    """
    owner = Owner.of_this_process(note)
    try:
        _take(file, owner)
    except OSError as error:
        remedy = "choose another OUTPUT_DIR or RUNS_DIR"
        raise UserError(f"cannot write to {file.parent}: {disk_fault(error, remedy)}") from error
    with _Beats(file, owner):
        yield


def holder(file: Path) -> Owner | None:
    """Who holds it, as far as this machine sees; None where nobody does."""
    try:
        owner, silence = _read(file), time.time() - file.stat().st_mtime
    except OSError:  # nobody's yet, or somebody else's: hold() says which
        return None
    lives = owner and owner.lives
    return owner if lives or (lives is None and silence < SILENCE_S) else None


def _held(file: Path, process: str, remedy: str = "") -> str:
    return f"{file.parent} is in use by {one_line(process)}; wait for it, or choose another OUTPUT_DIR{remedy}"


def _take(sign: Path, owner: Owner) -> None:
    while not _make(sign, owner):
        other = _read(sign)
        if other is None:
            continue
        lives = other.lives
        if lives is None:
            logger.warning(
                "%s held %s last; waiting %g s for a sign of life", one_line(other.process), sign.parent, SILENCE_S
            )
            lives = _beats(sign)
        if lives:
            raise InUse(
                _held(sign, other.process, f"; if that process has certainly ended, delete {sign} and start again")
            )
        _remove(sign, other)


def _make(sign: Path, owner: Owner) -> bool:
    """Make the owner's file unless there is one."""
    try:
        file = sign.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(json.dumps(asdict(owner)) + "\n")
    except OSError:
        sign.unlink(missing_ok=True)
        raise
    return True


def _remove(sign: Path, owner: Owner) -> None:
    """Remove a dead owner's file; not one that somebody who found the same has made meanwhile."""
    guard = sign.with_name(sign.name + ".takeover")
    try:
        guard.open("x").close()
    except FileExistsError:  # somebody is at it, or was killed just then
        end = time.monotonic() + TAKEOVER_S
        while guard.exists():
            if time.monotonic() > end:
                guard.unlink(missing_ok=True)
            time.sleep(WAIT_S)
        return
    try:
        if _read(sign) == owner:
            sign.unlink()
    finally:
        guard.unlink(missing_ok=True)


def _read(sign: Path) -> Owner | None:
    """None: there is none."""
    try:
        said = parse_json(read_text(sign, LONGEST))
        return Owner(**{key: type(value)(said[key]) for key, value in asdict(Owner("")).items()})
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        return Owner("another process")
    except (ValueError, KeyError, TypeError, OverflowError):  # it is being written, or was never written in full
        return Owner("another process")


def _beats(sign: Path) -> bool:
    """Whether the file is touched in the next SILENCE_S: times of two machines are never compared."""
    before, end = _look(sign), time.monotonic() + SILENCE_S
    while before and time.monotonic() < end:
        time.sleep(min(1.0, SILENCE_S / 10))
        now = _look(sign)
        if now != before:
            return now is not None
    return False


def _look(sign: Path) -> tuple[int, int] | None:
    try:
        with sign.open("rb") as file:  # opened, a network file system asks its server
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
    """When a process of this machine began, in its clock's ticks; "" where it has ended, None where that is hidden."""
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


class _Beats(threading.Thread):
    """Signs of life, until the context is left."""

    def __init__(self, sign: Path, owner: Owner) -> None:
        super().__init__(daemon=True, name="signs of life")
        self._sign, self._owner, self._over = sign, owner, threading.Event()

    def __enter__(self) -> None:
        _held_here.add(self._owner.token)
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        _held_here.discard(self._owner.token)
        with suppress(OSError):
            if _read(self._sign) == self._owner:
                self._sign.unlink()

    def run(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(OSError):  # a disk that stalls: the next one may reach it
                self._beat()

    def _beat(self) -> None:
        other = _read(self._sign)
        if other is None:
            _make(self._sign, self._owner)
        elif other == self._owner:
            os.utime(self._sign)
        elif other.token:
            # It was suspended for longer than SILENCE_S: whatever it wrote now would spoil the other's run.
            print(
                f"error: {_held(self._sign, other.process)} (it took the folder over while "
                "this process gave no sign of life); ended without saving",
                file=sys.stderr,
                flush=True,
            )
            os._exit(USER_MISTAKE)
