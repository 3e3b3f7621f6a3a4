"""A model whose gradients several processes share: in DDP, with its norms synchronised if asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from transm3e.engine.distributed import meeting


def wrap(model: nn.Module, device: torch.device, static_graph: bool = False) -> nn.Module:
    """The model in DDP if there are several processes.

    Args:
        static_graph: every step uses the same parameters in the same order and sums its gradients at once, which lets
            DDP plan ahead; parameters that no loss reaches are found once.
    """
    if not dist.is_initialized():
        return model
    with meeting("the comparison of models"):
        return DistributedDataParallel(
            model,
            device_ids=[device.index] if device.type == "cuda" else None,
            # Gradients lie in the buckets that are exchanged: one copy of them less.
            gradient_as_bucket_view=True,
            static_graph=static_graph,
        )


def synchronise_norms(model: nn.Module) -> nn.Module:
    """Batch norms that see the clips of all processes, under the same names; GPUs only."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if dist.is_initialized() else model


@contextmanager
def summing(replica: nn.Module, last: bool) -> Iterator[None]:
    """Forward and backward pass of one batch of a step; gradients are exchanged after the last one only."""
    with replica.no_sync() if isinstance(replica, DistributedDataParallel) and not last else nullcontext():
        yield
