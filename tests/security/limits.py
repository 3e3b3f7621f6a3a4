"""Limits for every reader of untrusted files: time, memory, and errors of one line."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Examples per reader and type of damage: a few fixed ones in `make test`; TRANSM3E_FUZZ=1000 runs many random ones.
EXAMPLES = int(os.environ.get("TRANSM3E_FUZZ", "0")) or 12
LONG = bool(os.environ.get("TRANSM3E_FUZZ"))
SECONDS = 20.0
MEMORY = 3 << 30
LITTLE = 1 << 29  # bytes; enough for any refusal
# A character may be escaped to ten.
LONGEST_MESSAGE = 10_000


class Hang(BaseException):
    """Reading took too long. Not an Exception, so that no reader mistakes it for a damaged file."""


@contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Raise Hang after `seconds`, and limit further memory of the process to `memory` bytes."""

    def ring(*_: object) -> None:
        raise Hang(f"not read after {seconds} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def write(file: Path, content: bytes | str) -> Path:
    """Write the file; returns it."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file
