"""Ctrl-C, SIGTERM and a scheduler's signals are requests to stop after the current step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from transm3e.cli import REQUEUE

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Sent by schedulers before a job's time limit or its preemption: the job should be requeued.
REQUEUE_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
# Not caught where the parent process ignores them, as nohup does and jobs that handle them themselves.
IF_NOT_IGNORED = (*REQUEUE_SIGNALS, signal.SIGHUP)


class StopRequest:
    """Remembers the first signal; a second Ctrl-C interrupts at once.

    SIGINT after SIGTERM does not: torch sends it to processes whose parent was ended by the same SIGTERM.

    Attributes:
        signal_number: the first signal that this process received; 0 = none.
        agreed: the signal that all processes know of at the same point of the run, so that they stop together.
    """

    def __init__(self) -> None:
        self.signal_number = self.agreed = 0

    def __call__(self, signal_number: int, _frame: object) -> None:
        if self.signal_number == signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = self.signal_number or signal_number

    def agree(self, signal_number: int) -> None:
        """Take the number that all processes got from one all-reduce; later signals wait for the next one."""
        self.agreed = signal_number
        if signal_number:
            self.signal_number = signal_number

    @property
    def exit_status(self) -> int:
        """REQUEUE after a scheduler's signal, else as shells report a signal."""
        return REQUEUE if self.signal_number in REQUEUE_SIGNALS else 128 + self.signal_number


_active: list[StopRequest] = []


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch these signals meanwhile, in the main thread only; nested calls share one request."""
    if _active:
        yield _active[-1]
        return
    request = StopRequest()
    with _handled(dict.fromkeys(_caught(), request)) as is_caught:
        if not is_caught:
            yield request
            return
        _active.append(request)
        try:
            yield request
        finally:
            _active.remove(request)


@contextmanager
def forward_signals(processes: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Meanwhile forward signals to these process numbers; Ctrl-C reaches them anyway and is ignored here."""

    def forward(signal_number: int, _frame: object) -> None:
        for process in processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal_number)

    with _handled(dict.fromkeys(_caught(), forward) | {signal.SIGINT: lambda *_: None}):
        yield


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Callable[[int, Any], None]]) -> Iterator[bool]:
    """Set these signal handlers meanwhile; yields False outside the main thread, where Python does not allow it."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items() if is_main}
    try:
        yield is_main
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _caught() -> list[signal.Signals]:
    return [*SIGNALS, *(number for number in IF_NOT_IGNORED if signal.getsignal(number) is not signal.SIG_IGN)]
