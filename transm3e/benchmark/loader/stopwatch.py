"""Where the time goes within a pipeline: its own functions, watched while it runs as always."""

from __future__ import annotations

import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STAGES = ("open", "seek", "decode", "crop", "augment", "normalise", "collate")
OPEN, SEEK, DECODE, CROP, AUGMENT, NORMALISE, COLLATE = STAGES
Frames = Iterator[tuple[int, np.ndarray]]


@dataclass(frozen=True)
class Watched:
    """Functions and methods of this package.

    Attributes:
        calls: function -> stage.
        reads: FrameSource.read or the like -> stride of the clips. A frame further than that from the one before it
            counts as SEEK, the others as DECODE.
    """

    calls: Mapping[Callable, str]
    reads: Mapping[Callable[..., Frames], int] = field(default_factory=dict)


class Stopwatch:
    """Adds up seconds by stage; a stage within another counts for itself only.

    Attributes:
        seconds: stage -> seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []  # of each stage that is running: seconds of the stages within it

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens within."""
        begin = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            taken = time.perf_counter() - begin
            self.seconds[name] -= self._inner.pop()
            self.add(name, taken)

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` that have just passed."""
        self.seconds[name] += seconds
        if self._inner:
            self._inner[-1] += seconds

    @contextmanager
    def watching(self, watched: Watched) -> Iterator[None]:
        """Count these functions, wherever they are called."""
        reads = {read: self._counted_read(read, stride) for read, stride in watched.reads.items()}
        calls = {call: self._counted(call, stage) for call, stage in watched.calls.items()}
        with _replaced(reads | calls):
            yield

    def _counted(self, call: Callable, stage: str) -> Callable:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.stage(stage):
                return call(*args, **kwargs)

        return counted

    def _counted_read(self, read: Callable[..., Frames], stride: int) -> Callable[..., Frames]:
        @functools.wraps(read)
        def counted(source: Any, numbers: Collection[int]) -> Frames:
            frames, last = read(source, numbers), -stride - 1
            while True:
                begin = time.perf_counter()
                item = next(frames, None)
                is_near = item is None or item[0] - last <= stride
                self.add(DECODE if is_near else SEEK, time.perf_counter() - begin)
                if item is None:
                    return
                last = item[0]
                yield item

        return counted


@contextmanager
def _replaced(calls: dict[Callable, Callable]) -> Iterator[None]:
    """Functions and methods exchanged wherever this package's modules hold them; afterwards all is as before."""
    places = [(owner, name, call) for owner, name, call in _holders() if call in calls]
    assert {call for _, _, call in places} == set(calls), "each function is found somewhere"
    for owner, name, call in places:
        setattr(owner, name, calls[call])
    try:
        yield
    finally:
        for owner, name, call in places:
            setattr(owner, name, call)


def _holders() -> list[tuple[Any, str, Callable]]:
    """(module or class, name, function) of all functions in the package's modules and their classes."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "transm3e"]
    classes = {thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}
    ours = [one for one in classes if one.__module__.partition(".")[0] == "transm3e"]
    function = type(_holders)
    return [
        (owner, name, thing)
        for owner in [*modules, *ours]
        for name, thing in list(vars(owner).items())
        if isinstance(thing, function)
    ]
