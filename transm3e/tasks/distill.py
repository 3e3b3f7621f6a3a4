"""Train a student on labels and on what a frozen teacher of another modality sends (stage 2 of TransM3E)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transm3e.data.modalities import ModalityInput
from transm3e.data.types import Batch
from transm3e.distill import Distiller
from transm3e.distill.pairs import ZERO, teacher_clip_of
from transm3e.losses import Loss
from transm3e.models.output import ModelOutput
from transm3e.tasks.classify import Classify


class Distill(Classify):
    """Classification of the student plus a weighted distillation loss.

    The teacher is frozen, always in evaluation mode, never wrapped, saved or used by `predict`.

    Args:
        student: the trainable model.
        teacher: model of the auxiliary modality.
        loss, inputs: as in Classify, for the student.
        teacher_inputs: uint8 clips -> what the teacher reads.
        distiller: compares their outputs.
        weight: factor on the distillation losses (paper: 1).
        pair_case: which teacher clip a student clip learns from (table 14).
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        loss: Loss,
        inputs: ModalityInput,
        teacher_inputs: ModalityInput,
        distiller: Distiller,
        weight: float,
        pair_case: int,
    ) -> None:
        super().__init__(student, loss, inputs)
        self.teacher = teacher.eval().requires_grad_(False)
        self.teacher_inputs, self.distiller = teacher_inputs, distiller
        self.weight, self.pair_case = weight, pair_case
        self._sent_for_zeros: list[Tensor] | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss", "loss_class", the distiller's losses, "logits"} of a batch."""
        student = self.model(self.inputs(batch.clips))
        losses = self.distiller(student, self._teach(batch))
        loss_class = self.loss(student.logits, batch.labels)
        loss = loss_class + self.weight * torch.stack(list(losses.values())).sum()
        return {"loss": loss, "loss_class": loss_class, **losses, "logits": student.logits}

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.teacher.to(device)
        self.teacher_inputs.to(device)

    @torch.no_grad()
    def _teach(self, batch: Batch) -> ModelOutput:
        """The teacher's tokens for each student clip; clips of zeros are run once and remembered, as it is frozen."""
        clips = self.teacher_inputs(batch.clips)
        partner = teacher_clip_of(len(batch.labels), batch.samples, self.pair_case).to(batch.labels.device)
        seen = partner[partner != ZERO]
        sent: list[Tensor] = []
        if len(seen):
            sent = self.teacher({name: clip[seen] for name, clip in clips.items()}).mcts
        if len(seen) < len(partner):
            zeros = self._senders_for_zeros(clips)
            sent = _merge(sent, zeros, partner)
        return ModelOutput(logits=batch.labels, mcts=sent)

    def _senders_for_zeros(self, clips: dict[str, Tensor]) -> list[Tensor]:
        if self._sent_for_zeros is None:
            self._sent_for_zeros = self.teacher({name: torch.zeros_like(clip[:1]) for name, clip in clips.items()}).mcts
        return self._sent_for_zeros


def _merge(sent: list[Tensor], zeros: list[Tensor], partner: Tensor) -> list[Tensor]:
    """Put sent (S, K, D) and zeros (1, K, D) of every block in the order of partner (B,)."""
    source = torch.where(partner == ZERO, 0, (partner != ZERO).cumsum(0))
    sent = sent or [zero[:0] for zero in zeros]
    return [torch.cat((zero, tokens))[source] for zero, tokens in zip(zeros, sent, strict=True)]
