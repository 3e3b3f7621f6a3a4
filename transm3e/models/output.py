"""What every model returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class ModelOutput:
    """Predictions of a batch, and what distillation reads.

    Attributes:
        logits: (B, C) before softmax or sigmoid: the prediction.
        mcts: the multi-classification tokens as they enter the first block, which is the same for all clips, and after
            each block, (B, K, D_i) each; empty for models without.
        receivers: likewise the receivers.
        class_logits, distill_logits: (B, C) of the heads that labels and a teacher teach, where `logits` is made of
            two; None for models of one head.
    """

    logits: Tensor
    mcts: list[Tensor] = field(default_factory=list)
    receivers: list[Tensor] = field(default_factory=list)
    class_logits: Tensor | None = None
    distill_logits: Tensor | None = None

    @property
    def labelled_logits(self) -> Tensor:
        """(B, C) of the head that labels teach beside a teacher."""
        return self.logits if self.class_logits is None else self.class_logits
