"""Training a model in several processes: in DDP or in shards, with synchronised batch norms if configured."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from transm3e.engine.processes.distributed import collective
from transm3e.engine.processes.sharding import is_sharded


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, in DDP if there are several processes."""
    if not dist.is_initialized():
        return model
    # About the MCTs, a few kilobytes, whose gradients have another memory layout after the attention.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    with collective("the check that models are alike"):
        return DistributedDataParallel(
            model,
            device_ids=[device.index] if device.type == "cuda" else None,
            # Gradients are views of the all-reduced buckets, which saves a copy. No static_graph: DDP would look for
            # tensors in the model's output, find none in a ModelOutput, and never all-reduce the gradients.
            gradient_as_bucket_view=True,
        )


def share_buffers(replica: nn.Module) -> None:
    """Broadcast the main process's running statistics, which DDP itself does only in the next forward pass."""
    if isinstance(replica, DistributedDataParallel):
        with collective("the broadcast of buffers"):
            for buffer in replica.module.buffers():
                dist.broadcast(buffer, 0)


def synchronise_norms(model: nn.Module) -> nn.Module:
    """Replace batch norms by ones over the clips of all processes, under the same names; GPUs only."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if dist.is_initialized() else model


def forward_collective(replica: nn.Module) -> AbstractContextManager:
    """Around a forward pass in training, where shards are gathered, or DDP checks its buckets and broadcasts buffers."""
    communicates = is_sharded(replica) or isinstance(replica, DistributedDataParallel)
    return collective("a forward pass") if communicates else nullcontext()


@contextmanager
def gradient_sync(replica: nn.Module, last: bool) -> Iterator[None]:
    """Around forward and backward pass of one batch of a step; gradients are all-reduced after the last one only."""
    if is_sharded(replica):
        cast(Any, replica).set_requires_gradient_sync(last)
    with replica.no_sync() if isinstance(replica, DistributedDataParallel) and not last else nullcontext():
        yield
