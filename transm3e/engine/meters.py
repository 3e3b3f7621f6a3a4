"""Time per training step, split into waiting for data and computing."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta


class Timer:
    """Mean seconds of recent steps: waiting for data, computing, and total.

    Args:
        window: number of steps that are averaged.
    """

    def __init__(self, window: int = 20) -> None:
        self.steps: deque[tuple[float, float]] = deque(maxlen=window)
        self._begin, self._waited = time.perf_counter(), 0.0

    def start(self) -> None:
        """A step begins."""
        self._begin, self._waited = time.perf_counter(), 0.0

    def loaded(self, since: float) -> None:
        """A batch has arrived that was requested at `since` (time.perf_counter)."""
        self._waited += time.perf_counter() - since

    def stop(self) -> None:
        """The step is done."""
        self.steps.append((time.perf_counter() - self._begin, self._waited))

    def stats(self, steps_left: int) -> dict[str, float | str]:
        """dt, dt_data, dt_net in seconds per step, and the time left as h:mm:ss."""
        dt, dt_data = (sum(each) / len(self.steps) for each in zip(*self.steps, strict=True))
        return {
            "dt": dt,
            "dt_data": dt_data,
            "dt_net": dt - dt_data,
            "eta": str(timedelta(seconds=int(dt * steps_left))),
        }
