"""Work on many files at once, in processes that can be killed: a decoder may hang."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# Where processes are forked from a small server, it imports this once for all of them.
PRELOADED = "transm3e.prepare.check.video"


@dataclass(frozen=True)
class Lost:
    """In place of a result: why there is none, one line."""

    reason: str


class _Worker(Generic[Item, Result]):
    """A process that applies a function to one item after the other.

    Attributes:
        number: place of the item at work, None when idle.
        deadline: when it is killed, by time.monotonic().
    """

    def __init__(self, function: Callable[[Item], Result], timeout: float) -> None:
        self._function, self._timeout = function, timeout
        self.number: int | None = None
        self.deadline = 0.0
        self._start()

    def _start(self) -> None:
        context = _context()
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._function, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, number: int, item: Item) -> None:
        self.number, self.deadline = number, time.monotonic() + self._timeout
        self.connection.send(item)

    def take(self) -> Result | Lost:
        """The result that has come; a process that died or is overdue is replaced."""
        self.number = None
        if self.connection.poll():
            try:
                return self.connection.recv()
            except EOFError:
                reason = "the decoder crashed on it; re-encode it"
        else:
            reason = f"took longer than {self._timeout:g} s; raise --timeout, or re-encode it"
        self.stop()
        self._start()
        return Lost(reason)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def run_limited(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, timeout: float
) -> Iterator[tuple[int, Result | Lost]]:
    """`function` of every item in processes; a file that hangs or crashes its process costs that process only.

    Args:
        function: of a module's top level, or a partial of one; what it raises becomes Lost.
        items: what can be sent to another process.
        workers: processes, at least 1.
        timeout: seconds per item; then its process is killed.

    Yields:
        (place of the item, its result, or Lost), in the order in which they are ready.
    """
    waiting = deque(enumerate(items))
    pool: list[_Worker[Item, Result]] = []
    try:
        pool.extend(_Worker(function, timeout) for _ in range(min(workers, len(items))))
        while True:
            for worker in pool:
                if worker.number is None and waiting:
                    worker.give(*waiting.popleft())
            busy = [worker for worker in pool if worker.number is not None]
            if not busy:
                return
            patience = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.connection for worker in busy], max(0.0, patience))
            for worker in busy:
                number = worker.number
                if number is not None and (worker.connection in ready or time.monotonic() > worker.deadline):
                    yield number, worker.take()
    finally:
        for worker in pool:
            worker.stop()


def _context() -> Any:
    # A plain fork would copy the locks of whatever threads run here.
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def _serve(function: Callable[[Item], Result], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer: Result | Lost = function(item)
        except Exception as error:  # whatever a foreign file brings about is a finding about that file
            answer = Lost(
                f"cannot be checked: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
        connection.send(answer)
