"""A model whose gradients several processes share: in DDP or in shards, with its norms synchronised if asked."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from transm3e.engine.processes.distributed import meeting
from transm3e.engine.processes.sharding import is_sharded


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model in DDP if there are several processes."""
    if not dist.is_initialized():
        return model
    # Of the MCTs, a few kilobytes, whose gradients come out of the attention's in another layout.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    with meeting("the comparison of models"):
        return DistributedDataParallel(
            model,
            device_ids=[device.index] if device.type == "cuda" else None,
            # Gradients lie in the buckets that are exchanged: one copy of them less. No static_graph: DDP would look for
            # tensors in what the model returns, finds none in a ModelOutput, and then never sums the gradients.
            gradient_as_bucket_view=True,
        )


def share_buffers(replica: nn.Module) -> None:
    """The main process's running statistics on all, which DDP itself shares out in the next forward pass only."""
    if isinstance(replica, DistributedDataParallel):
        with meeting("the sharing of buffers"):
            for buffer in replica.module.buffers():
                dist.broadcast(buffer, 0)


def synchronise_norms(model: nn.Module) -> nn.Module:
    """Batch norms that see the clips of all processes, under the same names; GPUs only."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if dist.is_initialized() else model


def exchanging(replica: nn.Module) -> AbstractContextManager:
    """A forward pass in training: within, shards are gathered, and DDP compares its buckets and shares out buffers."""
    together = is_sharded(replica) or isinstance(replica, DistributedDataParallel)
    return meeting("a forward pass") if together else nullcontext()


@contextmanager
def summing(replica: nn.Module, last: bool) -> Iterator[None]:
    """Forward and backward pass of one batch of a step; gradients are exchanged after the last one only."""
    if is_sharded(replica):
        cast(Any, replica).set_requires_gradient_sync(last)
    with replica.no_sync() if isinstance(replica, DistributedDataParallel) and not last else nullcontext():
        yield
