"""Ctrl-C, SIGTERM and a scheduler's signals as a request to stop after the current step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from transm3e.cli import REQUEUE

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What schedulers send before a job's time is up or it has to make room: it is to be started again.
REQUEUE_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
# Left alone where the parent has had them ignored, as nohup does, and a job that listens to them itself.
IF_NOT_IGNORED = (*REQUEUE_SIGNALS, signal.SIGHUP)


class StopRequest:
    """Remembers the first signal; Ctrl-C twice interrupts at once.

    SIGINT after SIGTERM does not: torch sends it to processes whose parent ended on the same SIGTERM.

    Attributes:
        signal_number: the first signal that came here; 0 = none.
        agreed: the one that all processes know of, at the same point of the run, so that they stop together.
    """

    def __init__(self) -> None:
        self.signal_number = self.agreed = 0

    def __call__(self, signal_number: int, _frame: object) -> None:
        if self.signal_number == signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = self.signal_number or signal_number

    def agree(self, signal_number: int) -> None:
        """All processes have this from one exchange; what comes meanwhile or afterwards waits for the next."""
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
    """Catch these signals meanwhile (only the main thread can); within another one, it is the same request."""
    if _active:
        yield _active[-1]
        return
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in _caught()}
    _active.append(request)
    try:
        yield request
    finally:
        _active.remove(request)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def left_to(processes: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Meanwhile signals are passed on to these process numbers, and Ctrl-C, which reaches them anyway, is theirs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(signal_number: int, _frame: object) -> None:
        for process in processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal_number)

    handlers = dict.fromkeys(_caught(), pass_on) | {signal.SIGINT: lambda *_: None}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _caught() -> list[signal.Signals]:
    return [*SIGNALS, *(number for number in IF_NOT_IGNORED if signal.getsignal(number) is not signal.SIG_IGN)]
