"""Ctrl-C and SIGTERM as a request to stop after the current step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers the first signal; Ctrl-C twice interrupts at once.

    SIGINT after SIGTERM does not: torch sends it to processes whose parent ended on the same SIGTERM.
    """

    def __init__(self) -> None:
        self.signal_number = 0

    def __call__(self, signal_number: int, _frame: object) -> None:
        if self.signal_number == signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_number = self.signal_number or signal_number


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM meanwhile (only the main thread can)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def left_to(processes: Callable[[], Iterable[int]]) -> Iterator[None]:
    """Meanwhile SIGTERM is passed on to these process numbers, and Ctrl-C, which reaches them anyway, is theirs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(signal_number: int, _frame: object) -> None:
        for process in processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal_number)

    before = signal.signal(signal.SIGTERM, pass_on), signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
