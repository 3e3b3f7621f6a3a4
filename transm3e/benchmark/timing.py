"""Times of several calls, taken in turn in one process, so that changes of the machine's load affect all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from transm3e.progress import track

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
MATRIX_REPEATS = 5


def time_rounds(
    calls: Mapping[str, Callable[[], None]], rounds: int, warmup: int, device: torch.device, title: str
) -> dict[str, list[float]]:
    """Run all calls in turn, round after round (A B A B ...), without garbage collection.

    Args:
        calls: name -> what is timed.
        rounds: timed rounds, after `warmup` untimed ones.
        device: is waited for before and after each call.
        title: of the progress bar.

    Returns:
        name -> seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with no_garbage_collection():
        for number in track(range(warmup + rounds), title, warmup + rounds, "round"):
            for name, call in calls.items():
                taken = _seconds(call, device)
                if number >= warmup:
                    seconds[name].append(taken)
    return seconds


def times_faster(reference: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster we are: the median over the rounds of reference / ours, so drift cancels out."""
    return statistics.median(theirs / own for theirs, own in zip(reference, ours, strict=True))


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """Floating-point operations per second of the fastest of a few square matrix products.

    Args:
        side: of the matrices; None = large enough for the device.
    """
    side = side or MATRIX_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)

    def multiply() -> None:
        torch.mm(a, b, out=out)

    seconds = time_rounds({"product": multiply}, MATRIX_REPEATS, 2, device, "matrix rate")["product"]
    return 2 * side**3 / min(seconds)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect garbage once, then disable collection within the block."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _seconds(call: Callable[[], None], device: torch.device) -> float:
    _wait(device)
    begin = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
