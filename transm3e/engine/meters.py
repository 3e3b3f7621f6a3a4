"""Where the time of a training step goes."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta


class Timer:
    """Seconds of the recent steps: waiting for data, computing, and in all.

    Args:
        window: steps that are averaged.
    """

    def __init__(self, window: int = 20) -> None:
        self.data: deque[float] = deque(maxlen=window)
        self.total: deque[float] = deque(maxlen=window)
        self._begin = self._loaded = time.perf_counter()

    def loaded(self, since: float) -> None:
        """A batch has arrived that was asked for at `since`."""
        self._loaded += time.perf_counter() - since

    def start(self) -> None:
        """A step begins."""
        self._begin = self._loaded = time.perf_counter()

    def stop(self) -> None:
        """The step is done."""
        self.total.append(time.perf_counter() - self._begin)
        self.data.append(self._loaded - self._begin)

    def stats(self, steps_left: int) -> dict[str, float | str]:
        """dt, dt_data, dt_net in seconds per step, and the time left as h:mm:ss."""
        dt = sum(self.total) / max(1, len(self.total))
        dt_data = sum(self.data) / max(1, len(self.data))
        eta = str(timedelta(seconds=int(dt * steps_left)))
        return {"dt": dt, "dt_data": dt_data, "dt_net": dt - dt_data, "eta": eta}
