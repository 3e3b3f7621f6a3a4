"""The next batch is loaded, and on its way to the GPU, while the GPU still computes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from transm3e.data.types import Batch


class Ahead:
    """Batches with their copies on a device.

    Args:
        batches: in page-locked memory where their copies are to overlap with what runs.
        device: where they go.
        on: `load` loads; None: on GPUs, as there is nothing to overlap with elsewhere.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device, on: bool | None = None) -> None:
        self._batches, self._device, self._on = batches, device, device.type == "cuda" if on is None else on
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._waiting: list[tuple[Batch, Batch] | Exception] = []

    def load(self) -> None:
        """Load the next batch now, if there is one; what goes wrong is raised when the batch is asked for."""
        if self._on and not self._waiting:
            try:
                self._waiting.append(self._next())
            except Exception as error:
                self._waiting.append(error)

    def __next__(self) -> tuple[Batch, Batch]:
        """A batch as it was loaded, and on the device.

        Raises:
            StopIteration: there is none.
        """
        found = self._waiting.pop() if self._waiting else self._next()
        if isinstance(found, Exception):
            raise found
        if self._stream is not None:
            now = torch.cuda.current_stream(self._device)
            now.wait_stream(self._stream)
            _, copy = found
            for tensor in (*copy.clips.values(), copy.labels, copy.rows, copy.views):
                # Its memory was taken on the other stream, which must not give it away before this one is done.
                tensor.record_stream(now)
        return found

    def _next(self) -> tuple[Batch, Batch]:
        batch = next(self._batches)
        with torch.cuda.stream(self._stream):
            return batch, batch.to(self._device)
