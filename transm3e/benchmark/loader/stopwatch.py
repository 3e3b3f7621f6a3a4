"""Time of the stages of a pipeline, by timing its functions while it runs unchanged."""

from __future__ import annotations

import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np

STAGES = ("open", "seek", "decode", "crop", "augment", "normalise", "collate")
OPEN, SEEK, DECODE, CROP, AUGMENT, NORMALISE, COLLATE = STAGES
Frames = Iterator[tuple[int, np.ndarray]]


class Stopwatch:
    """Adds up seconds by stage; time in a nested stage counts for that stage only.

    Attributes:
        seconds: stage -> seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []  # of each stage that is running: seconds of the stages within it

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        begin = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            taken = time.perf_counter() - begin
            self.seconds[name] -= self._inner.pop()
            self._add(name, taken)

    @contextmanager
    def watching(
        self, calls: Mapping[Callable, str], reads: Mapping[Callable[..., Frames], int] | None = None
    ) -> Iterator[None]:
        """Time functions and methods of this package wherever its modules and classes hold them, and restore them at the end.

        Args:
            calls: function -> stage.
            reads: FrameSource.read or the like -> stride of the clips. A frame further than that from the one before it
                counts as SEEK, the others as DECODE.
        """
        counted: dict[Callable, Callable] = {call: self._counted(call, stage) for call, stage in calls.items()}
        counted |= {read: self._counted_read(read, stride) for read, stride in (reads or {}).items()}
        holders = [(owner, name, call) for owner, name, call in _functions_of_package() if call in counted]
        assert {call for _, _, call in holders} == set(counted), "each function is found somewhere"
        for owner, name, call in holders:
            setattr(owner, name, counted[call])
        try:
            yield
        finally:
            for owner, name, call in holders:
                setattr(owner, name, call)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] += seconds
        if self._inner:
            self._inner[-1] += seconds

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
                self._add(DECODE if is_near else SEEK, time.perf_counter() - begin)
                if item is None:
                    return
                last = item[0]
                yield item

        return counted


def _functions_of_package() -> Iterator[tuple[Any, str, Callable]]:
    """(module or class, name, function) of all functions in the package's modules and their classes."""

    def is_ours(name: str) -> bool:
        return name.partition(".")[0] == "transm3e"

    modules = [module for name, module in list(sys.modules.items()) if is_ours(name)]
    things = {thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}
    for owner in [*modules, *(thing for thing in things if is_ours(thing.__module__))]:
        yield from ((owner, name, it) for name, it in list(vars(owner).items()) if isinstance(it, FunctionType))
