"""The output of every model."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class ModelOutput:
    """Predictions for a batch, and the tensors that distillation compares.

    Attributes:
        logits: (B, C) before softmax or sigmoid: the prediction.
        mcts: the multi-classification tokens before the first block, the same for all clips, and after each block,
            (B, K, D_i) each; empty for models without MCTs.
        receivers: the receivers, in the same form.
        class_logits, distill_logits: (B, C) of the heads trained by labels and by a teacher, if `logits` fuses two heads;
            None for models with one head.
    """

    logits: Tensor
    mcts: list[Tensor] = field(default_factory=list)
    receivers: list[Tensor] = field(default_factory=list)
    class_logits: Tensor | None = None
    distill_logits: Tensor | None = None

    @property
    def labelled_logits(self) -> Tensor:
        """(B, C) of the head that the labels train."""
        return self.logits if self.class_logits is None else self.class_logits
