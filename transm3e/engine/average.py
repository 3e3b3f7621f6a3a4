"""Exponential moving average of a model's weights (SOLVER.EMA_DECAY)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from transm3e.engine.processes.sharding import is_sharded


class WeightAverage:
    """The average of each trained parameter; the others, and buffers, are the model's own.

    It begins with the model's weights. Each process of a sharded model averages its own part. `AveragedModel` of torch would
    copy the model, which neither DDP nor shards allow here.

    Args:
        model: in shards or not; not wrapped in DDP.
        decay: weight of the average so far, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self._update = model, get_ema_multi_avg_fn(decay)
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def update(self) -> None:
        """After a step of the optimiser."""
        with torch.no_grad():
            self._update([_own(w) for w in self.weights.values()], [_own(p) for p in self._trained()], 0)

    def restart(self) -> None:
        """Begin again with the model's weights."""
        with torch.no_grad():
            for average, p in zip(self.weights.values(), self._trained(), strict=True):
                _own(average).copy_(_own(p))

    def state_dict(self) -> dict[str, Tensor]:
        """The model's, with averages."""
        return {**self.model.state_dict(), **self.weights}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Meanwhile the model has the averages as its weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, p in zip(self.weights.values(), self._trained(), strict=True):
            kept = _own(p).clone()
            _own(p).copy_(_own(average))
            _own(average).copy_(kept)

    def _trained(self) -> list[Tensor]:
        if is_sharded(self.model):
            # A forward pass without a backward one leaves parameters gathered, with the values of that time.
            cast(Any, self.model).reshard()
        return [p for p in self.model.parameters() if p.requires_grad]


def _own(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    tensor = tensor.detach()
    return cast(Any, tensor).to_local() if hasattr(tensor, "to_local") else tensor
