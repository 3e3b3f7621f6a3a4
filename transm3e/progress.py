"""Progress of long work on standard error: a bar on a terminal, an occasional line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")
LINE_EVERY_S = 15.0
# Called with (title, done, total) at each item that track yields in this context; None = nobody listens.
LISTENER: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("LISTENER", default=None)


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


def track(items: Iterable[Item], title: str, total: int, unit: str = "it") -> Iterator[Item]:
    """Yield the same items and show how many of `total` are done and the time left."""
    if listener := LISTENER.get():
        for done, item in enumerate(items, start=1):
            yield item
            listener(title, done, total)
        return
    if on_terminal():
        yield from tqdm(items, title, total, unit=unit, leave=False)
        return
    begin = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= LINE_EVERY_S:
            left = timedelta(seconds=round((now - begin) / done * (total - done)))
            print(f"{title}: {done}/{total} {unit}, {left} left", file=sys.stderr, flush=True)
            shown = now


def map_with_progress(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, label: str, unit: str = "files"
) -> list[Result]:
    """Results of `function` for every item, in their order, from `workers` threads, with progress; see map_on_threads."""
    with closing(map_on_threads(function, items, workers)) as results:
        return list(track(results, label, len(items), unit))


def map_on_threads(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yield the result of `function` for every item, in their order, from `workers` threads.

    Threads suffice: NumPy, OpenCV and FFmpeg release Python's lock. After the first exception, or when the generator is
    closed, no further item is begun.
    """
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(function, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
