"""What every model returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class ModelOutput:
    """Predictions of a batch, and the class tokens that distillation reads.

    Attributes:
        logits: (B, C) before softmax or sigmoid.
        mcts: the multi-classification tokens after each block, (B, K, D_i) each; empty for models without.
        receivers: likewise the receivers.
    """

    logits: Tensor
    mcts: list[Tensor] = field(default_factory=list)
    receivers: list[Tensor] = field(default_factory=list)
