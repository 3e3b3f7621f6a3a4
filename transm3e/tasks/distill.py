"""Train a student on labels and on a frozen teacher, usually of another modality (stage 2 of TransM3E)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from transm3e.data.activities import Activities
from transm3e.data.modalities import ModalityInput
from transm3e.data.types import Batch, mixed, numbers_on
from transm3e.distill import Centre, Distiller
from transm3e.distill.pairs import ZERO, teacher_clip_of
from transm3e.layers.common import DropPath
from transm3e.losses import Loss
from transm3e.models.output import ModelOutput
from transm3e.tasks.classify import Classify

# Computed here, as torch.compile cannot trace fields().
FIELDS = tuple(field.name for field in fields(ModelOutput))


class Distill(Classify):
    """Weighted classification and distillation losses of the student.

    The teacher is frozen, in evaluation mode (but for teacher_drop_path), never wrapped, saved or used by `predict`.

    Args:
        student: the trainable model.
        teacher: model of the auxiliary modality, or of the student's own.
        loss, inputs, activities: as in Classify, for the student.
        teacher_inputs: uint8 clips -> what the teacher reads.
        distiller: compares their outputs.
        weight, class_weight: factors on the distillation losses and on the classification loss (paper: 1 and 1).
        pair_case: which teacher clip a student clip learns from (table 14).
        teacher_drop_path: the teacher's drop path stays active, as in the authors' code.
        centre: subtracts the mean of the teacher's tokens; None = tokens are compared unchanged.
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
        teacher_drop_path: bool = False,
        activities: Activities | None = None,
        class_weight: float = 1.0,
        centre: Centre | None = None,
    ) -> None:
        super().__init__(student, loss, inputs, activities)
        self.teacher = teacher.eval().requires_grad_(False)
        self.teacher_inputs, self.distiller, self.centre = teacher_inputs, distiller, centre
        self.weight, self.class_weight = weight, class_weight
        self.pair_case, self.teacher_drop_path = pair_case, teacher_drop_path
        self._zeros: ModelOutput | None = None
        self._step = self.distill
        for module in self.teacher.modules():
            if isinstance(module, DropPath):
                module.train(teacher_drop_path)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """{"loss", "loss_class", the distiller's losses, "logits"} of a batch."""
        batch = mixed(batch)
        partners = teacher_clip_of(len(batch.labels), batch.samples, self.pair_case)
        # The teacher is frozen, so its output for a clip of zeros is computed once, unless drop path changes it.
        if ZERO in partners and self._zeros is None and not self.teacher_drop_path:
            one = self.teacher_inputs({name: clip[:1] for name, clip in batch.clips.items()})
            self._zeros = self._teach({name: torch.zeros_like(clip) for name, clip in one.items()})
        return self._step(batch.clips, batch.labels, partners, self._zeros)

    def distill(
        self, clips: dict[str, Tensor], labels: Tensor, partners: Sequence[int], of_zeros: ModelOutput | None
    ) -> dict[str, Tensor]:
        """The same from tensors and the rows of the teacher's clips."""
        taught = self._teach_partners(clips, partners, of_zeros)
        if self.centre:
            taught = self.centre(taught)
        student = self.replica(self.inputs(clips))
        losses = self.distiller(student, taught)
        loss_class = self.loss(student.labelled_logits, labels)
        loss = self.class_weight * loss_class + self.weight * torch.stack(list(losses.values())).sum()
        return {"loss": loss, "loss_class": loss_class, **losses, "logits": student.logits}

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.teacher.to(device)
        self.teacher_inputs.to(device)
        if self.centre:
            self.centre.to(device)

    def state(self) -> dict[str, Tensor]:
        return dict(self.centre.state_dict()) if self.centre else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        super().load_state(state)
        if self.centre:
            self.centre.load_state_dict(state)

    def _teach_partners(
        self, clips: dict[str, Tensor], partners: Sequence[int], of_zeros: ModelOutput | None
    ) -> ModelOutput:
        """The teacher's outputs for the partner of each student clip; `of_zeros` is reused for clips of zeros."""
        if of_zeros is None:
            inputs = self.teacher_inputs(clips)
            return self._teach({name: _rows_or_zeros(clip, partners) for name, clip in inputs.items()})
        seen = [row for row in partners if row != ZERO]
        if not seen:
            return _pick([0] * len(partners), of_zeros)
        rows = numbers_on(next(iter(clips.values())).device, seen)
        taught = self._teach(self.teacher_inputs({name: clip.index_select(0, rows) for name, clip in clips.items()}))
        # Row 0 is the clip of zeros, the seen clips follow in order.
        order = iter(range(1, len(seen) + 1))
        return _pick([0 if row == ZERO else next(order) for row in partners], of_zeros, taught)

    @torch.no_grad()
    def _teach(self, clips: dict[str, Tensor]) -> ModelOutput:
        return self.teacher(clips)


def _rows_or_zeros(clips: Tensor, rows: Sequence[int]) -> Tensor:
    """Clips by row number, ZERO as a clip of zeros."""
    chosen = clips.index_select(0, numbers_on(clips.device, [max(row, 0) for row in rows]))
    zeros = [place for place, row in enumerate(rows) if row == ZERO]
    return chosen.index_fill_(0, numbers_on(clips.device, zeros), 0) if zeros else chosen


def _pick(rows: list[int], *outputs: ModelOutput) -> ModelOutput:
    """Rows by number, as often as named, of outputs one after the other."""
    # One tensor for all blocks: a list would go to the GPU once for each.
    where = numbers_on(outputs[0].logits.device, rows)

    def picked(*parts: Any) -> Any:
        if parts[0] is None:
            return None
        if isinstance(parts[0], list):
            return [picked(*places) for places in zip(*parts, strict=True)]
        return torch.cat(parts)[where]

    return ModelOutput(*(picked(*(getattr(output, name) for output in outputs)) for name in FIELDS))
