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
        self._zeros: ModelOutput | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss", "loss_class", the distiller's losses, "logits"} of a batch."""
        student = self.replica(self.inputs(batch.clips))
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
        """What the teacher says to each student clip; a clip of zeros is run once and remembered, as it is frozen."""
        clips = self.teacher_inputs(batch.clips)
        partner = teacher_clip_of(len(batch.labels), batch.samples, self.pair_case).to(batch.labels.device)
        seen = partner[partner != ZERO]
        if not len(seen):
            return _pick(self._taught_by_zeros(clips), torch.zeros_like(partner))
        taught = self.teacher({name: clip[seen] for name, clip in clips.items()})
        if len(seen) == len(partner):
            return taught
        # Row 0 is the clip of zeros, the seen clips follow in order.
        return _pick(
            _join(self._taught_by_zeros(clips), taught), torch.where(partner == ZERO, 0, (partner != ZERO).cumsum(0))
        )

    def _taught_by_zeros(self, clips: dict[str, Tensor]) -> ModelOutput:
        if self._zeros is None:
            self._zeros = self.teacher({name: torch.zeros_like(clip[:1]) for name, clip in clips.items()})
        return self._zeros


def _join(one: ModelOutput, other: ModelOutput) -> ModelOutput:
    """Two outputs' rows, one after the other."""
    mcts = [torch.cat(pair) for pair in zip(one.mcts, other.mcts, strict=True)]
    return ModelOutput(torch.cat((one.logits, other.logits)), mcts=mcts)


def _pick(output: ModelOutput, rows: Tensor) -> ModelOutput:
    """An output's rows by number, as often as named."""
    return ModelOutput(output.logits[rows], mcts=[tokens[rows] for tokens in output.mcts])
