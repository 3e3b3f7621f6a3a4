"""Running statistics of batch norms: kept as they are, or taken from an epoch's batches, as in PySlowFast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import nn

from transm3e.config.frozen import is_frozen
from transm3e.data.loader import ClipLoader
from transm3e.data.types import Batch
from transm3e.engine.processes.parallel import forward_collective
from transm3e.tasks import Classify


def freeze_norms(model: nn.Module, below: Sequence[str]) -> None:
    """Batch norms of a model in training normalise by their running statistics, which stay as they are.

    Args:
        below: of which modules, as MODEL.FREEZE names them.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and is_frozen(name, below):
            module.eval()


def take_statistics(
    task: Classify, loader: ClipLoader, epoch: int, count: int, device: torch.device, frozen: Sequence[str] = ()
) -> None:
    """Replace the running statistics by the means over the first `count` batches of an epoch, or all, not mixed.

    An epoch's batches are the same when it is resumed, and so are the statistics (Wu and Johnson 2021, section 3). They are
    those of this process's clips; of several processes the first one's are saved and evaluated, as in training.

    Args:
        frozen: modules whose batch norms keep theirs, as in freeze_norms.
    """
    # Its package imports much that nothing else needs.
    from fvcore.nn.precise_bn import update_bn_stats

    task.train()
    freeze_norms(task.model, frozen)
    count = min(count, len(loader))
    with forward_collective(task.model):
        update_bn_stats(_Reads(task), _clips(islice(loader.epoch(epoch), count), device), count)


class _Reads(nn.Module):
    """The task's model, called with clips as the loader gives them."""

    def __init__(self, task: Classify) -> None:
        super().__init__()
        self.model, self._inputs = task.model, [task.inputs]

    def forward(self, clips: dict[str, torch.Tensor]) -> None:
        self.model(self._inputs[0](clips))


def _clips(batches: Iterator[Batch], device: torch.device) -> Iterator[dict[str, torch.Tensor]]:
    for batch in batches:
        yield batch.to(device).clips
