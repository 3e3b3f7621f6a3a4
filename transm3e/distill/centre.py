"""Senders without what all clips share: DISTILL.CENTRE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.models.output import ModelOutput


class Centre(nn.Module):
    """The teacher's MCTs minus their mean over the clips that it was asked about: each place, token and channel its own.

    Most of what a teacher sends is the same for every clip, so a receiver comes near to it with a constant. Without the
    mean that constant is 0 (for AXIS "token" and "full", whose softmaxes are uniform then), and the loss is left with what
    differs between clips. Receivers learn these differences, and the fusion reads them as they are.

    The mean is over all clips since training began, of all processes, this batch and the clips of zeros of PAIR_CASE
    included: the teacher is frozen, so it approaches a fixed value, and nothing need be forgotten, as the centre of DINO
    (Caron et al., ICCV 2021) does with its moving teacher. It is saved with checkpoints. What a batch is centred by
    depends on the batches before it, so a first pass over the data is not needed.

    Args:
        shapes: (K, D) of the tokens before the first block and after each.
    """

    count: Tensor
    mean: Tensor

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.shapes = shapes
        self.register_buffer("count", torch.zeros(()))
        # All places in one vector, so that processes exchange once.
        self.register_buffer("mean", torch.zeros(sum(tokens * width for tokens, width in shapes)))

    @torch.no_grad()
    def forward(self, sent: ModelOutput) -> ModelOutput:
        """What the teacher says, mcts (B, K, D_i) -> the same with mcts centred, after they are counted in."""
        self._count_in(sent.mcts)
        means = self.mean.split([tokens * width for tokens, width in self.shapes])
        centred = [tokens - mean.view(shape) for tokens, mean, shape in zip(sent.mcts, means, self.shapes, strict=True)]
        return replace(sent, mcts=centred)

    def _count_in(self, places: list[Tensor]) -> None:
        sums = torch.cat([tokens.to(self.mean.dtype).sum(0).flatten() for tokens in places])
        share = torch.cat((sums, self.count.new_full((1,), len(places[0]))))
        if dist.is_initialized():
            # Within the forward pass, in which the engine looks after processes that do not come.
            dist.all_reduce(share)
        self.count += share[-1]
        self.mean += (share[:-1] - share[-1] * self.mean) / self.count


def build_centre(cfg: CfgNode, teacher: Any) -> Centre | None:
    """A Centre of the teacher's tokens that has seen nothing, or None without DISTILL.CENTRE."""
    return Centre(teacher.mct_shapes) if cfg.DISTILL.CENTRE else None
