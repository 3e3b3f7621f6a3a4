"""Centres the teacher's tokens by their mean over clips: DISTILL.CENTRE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.models.output import ModelOutput


class Centre(nn.Module):
    """Subtracts from the teacher's MCTs their mean over clips, for each position, token and channel.

    Most of a teacher's tokens is the same for every clip, so receivers come close to them with a constant. Once the mean is
    subtracted, that constant is 0 (for AXIS "token" and "full", whose softmaxes are then uniform), and only differences
    between clips remain in the loss. Receivers learn these differences, and the fusion reads them unchanged.

    The mean is over all clips since training began, on all processes, including this batch and PAIR_CASE's clips of zeros.
    As the teacher is frozen, it converges; the moving average of DINO (Caron et al., ICCV 2021) is not needed, nor is a
    first pass over the data. It is saved with checkpoints.

    Args:
        shapes: (K, D) of the tokens before the first block and after each.
    """

    count: Tensor
    mean: Tensor

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.shapes = shapes
        self.register_buffer("count", torch.zeros(()))
        # All positions in one vector, for a single all-reduce.
        self.register_buffer("mean", torch.zeros(sum(tokens * width for tokens, width in shapes)))

    @torch.no_grad()
    def forward(self, sent: ModelOutput) -> ModelOutput:
        """Update the mean by the teacher's mcts, (B, K, D_i) each, and return its output with mcts centred."""
        self._update(sent.mcts)
        means = self.mean.split([tokens * width for tokens, width in self.shapes])
        centred = [tokens - mean.view(shape) for tokens, mean, shape in zip(sent.mcts, means, self.shapes, strict=True)]
        # Not dataclasses.replace, which torch before 2.6 does not compile.
        return ModelOutput(sent.logits, centred, sent.receivers, sent.class_logits, sent.distill_logits)

    def _update(self, positions: list[Tensor]) -> None:
        sums = torch.cat([tokens.to(self.mean.dtype).sum(0).flatten() for tokens in positions])
        share = torch.cat((sums, self.count.new_full((1,), len(positions[0]))))
        if dist.is_initialized():
            # Within the forward pass, where the engine's timeout covers processes that do not respond.
            dist.all_reduce(share)
        self.count += share[-1]
        self.mean += (share[:-1] - share[-1] * self.mean) / self.count


def build_centre(cfg: CfgNode, teacher: Any) -> Centre | None:
    """A new Centre for the teacher's tokens, or None if DISTILL.CENTRE is False."""
    return Centre(teacher.mct_shapes) if cfg.DISTILL.CENTRE else None
