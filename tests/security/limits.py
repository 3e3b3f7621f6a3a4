"""What every reading of a stranger's file must keep to: an end in time, a bound of memory, errors of one line."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Examples per reader and kind of damage: a few in `make test`, always the same ones; TRANSM3E_FUZZ=1000 is the long form.
EXAMPLES = int(os.environ.get("TRANSM3E_FUZZ", "0")) or 12
LONG = bool(os.environ.get("TRANSM3E_FUZZ"))
SECONDS = 20.0
MEMORY = 3 << 30
LITTLE = 1 << 29  # bytes that no refusal needs
# A character may be written as an escape of ten.
LONGEST_MESSAGE = 10_000


class Hang(BaseException):
    """Reading took too long. No Exception, so that nothing takes it for a damaged file."""


@contextmanager
def bounded(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Ends what takes longer with Hang, and lets the process take so much more memory only."""

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
    """The file, with this content."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file
