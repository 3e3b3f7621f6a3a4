"""Class tokens that learn the teacher's MCTs: MCTKD and the KD beside it in table 4 (paper, equation 1, section C.2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.distill.kl import token_kl
from transm3e.distill.positions import DENSE, places_of
from transm3e.distill.registry import DISTILLERS, Distiller
from transm3e.models.output import ModelOutput


class TokenKD(Distiller):
    """Mean over places of token_kl(learners, senders) * alpha * temperature^2; the senders are the teacher's MCTs.

    Args:
        places: of the tokens that are compared, see positions.places_of.
        axis, temperature, reduction: see token_kl.
        alpha: factor beside temperature^2 (authors' code: 0.9).
        divisor: what the sum over the places is divided by; 0 = their number, which makes it their mean.
    """

    compares = "tokens"
    loss_name: ClassVar[str]

    def __init__(
        self, places: Sequence[int], axis: str, temperature: float, alpha: float, reduction: str, divisor: int = 0
    ) -> None:
        self.places, self.divisor = tuple(places), divisor or len(places)
        self.axis, self.temperature, self.alpha, self.reduction = axis, temperature, alpha, reduction

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> Any:
        distill = cfg.DISTILL
        return cls(
            places_of(distill.POSITION, cfg.MVIT.POOL_Q_STRIDE, cfg.MVIT.DEPTH),
            distill.AXIS,
            distill.TEMPERATURE,
            distill.ALPHA,
            distill.REDUCTION,
            # The number of all blocks has no meaning where few are compared.
            distill.NUM_BLOCKS if distill.POSITION == DENSE else 0,
        )

    @staticmethod
    @abstractmethod
    def learners(student: ModelOutput) -> list[Tensor]:
        """The student's tokens that learn, before the first block and after each, (B, K, D_i) each."""

    def __call__(self, student: ModelOutput, teacher: ModelOutput) -> dict[str, Tensor]:
        """Tokens of both at all places -> {loss_name: scalar}."""
        learners, senders = self.learners(student), teacher.mcts
        assert len(learners) == len(senders), "student and teacher have different depths"
        losses = [
            token_kl(learners[place], senders[place], self.axis, self.temperature, self.reduction)
            for place in self.places
        ]
        return {self.loss_name: torch.stack(losses).sum() / self.divisor * (self.alpha * self.temperature**2)}


@DISTILLERS.register("mctkd")
class MCTKD(TokenKD):
    """The receivers learn the teacher's MCTs; the student's own MCTs are left alone (Figure 6 d)."""

    teaches_receivers = True
    loss_name = "loss_mctkd"

    @staticmethod
    def learners(student: ModelOutput) -> list[Tensor]:
        return student.receivers


@DISTILLERS.register("kd")
class KD(TokenKD):
    """The student's own MCTs learn the teacher's; it has no receivers (Figure 6 c)."""

    loss_name = "loss_kd"

    @staticmethod
    def learners(student: ModelOutput) -> list[Tensor]:
        return student.mcts
