"""Distillation of logits: conventional KD, and the distillation token of DeiT (table 6)."""

from __future__ import annotations

from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.distill.kl import soft_kl
from transm3e.distill.registry import DISTILLERS, Distiller
from transm3e.models.output import ModelOutput


@DISTILLERS.register("logits")
class LogitsKD(Distiller):
    """KL between the softened softmaxes of teacher and student over the classes, * alpha * temperature^2.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2: the factor temperature^2
    makes the size of gradients independent of the temperature. They use alpha 1 and reduction "batchmean" (the mean over
    clips of sums over classes). Student and teacher can be any models of the same classes.

    Args:
        temperature, reduction: see soft_kl.
        alpha: further factor, besides temperature^2.
    """

    loss_name = "loss_logits"

    def __init__(self, temperature: float, alpha: float, reduction: str) -> None:
        self.temperature, self.alpha, self.reduction = temperature, alpha, reduction

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> Any:
        return cls(cfg.DISTILL.TEMPERATURE, cfg.DISTILL.ALPHA, cfg.DISTILL.REDUCTION)

    @staticmethod
    def learners(student: ModelOutput) -> Tensor:
        """The student's logits that are compared, (B, C)."""
        return student.logits

    def __call__(self, student: ModelOutput, teacher: ModelOutput) -> dict[str, Tensor]:
        """Logits (B, C) of both -> {loss_name: scalar}."""
        kl = soft_kl(self.learners(student), teacher.logits, 1, self.temperature, self.reduction)
        return {self.loss_name: kl * (self.alpha * self.temperature**2)}


@DISTILLERS.register("deit")
class DeiTKD(LogitsKD):
    """LogitsKD on the distillation head only; labels train the class head (Touvron et al., ICML 2021, section 4).

    Soft distillation (their equation 2, with temperature 3). Their hard form takes the teacher's best class as the label,
    which is not defined for clips with several muscles.
    """

    teaches_head = True
    loss_name = "loss_deit"

    @staticmethod
    def learners(student: ModelOutput) -> Tensor:
        assert student.distill_logits is not None, "a model without a distillation head"
        return student.distill_logits
