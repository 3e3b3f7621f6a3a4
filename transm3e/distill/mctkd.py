"""Distillation of the teacher's MCTs into tokens: MCTKD, and the KD of table 4 (paper, equation 1, section C.2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.distill.kl import token_kl
from transm3e.distill.pairs import CASES, ZERO
from transm3e.distill.positions import DENSE, PATCH_EMBED, positions_of
from transm3e.distill.registry import DISTILLERS, Distiller
from transm3e.errors import UserError
from transm3e.models.output import ModelOutput


class TokenKD(Distiller):
    """Mean over positions of token_kl(learners, senders) * alpha * temperature^2; the senders are the teacher's MCTs.

    Args:
        positions: indices of the tokens that are compared, see positions_of.
        axis, temperature, reduction: see token_kl.
        alpha: further factor, besides temperature^2 (authors' code: 0.9).
        divisor: what the sum over the positions is divided by; 0 = their number, which makes it their mean.
    """

    compares = "tokens"
    loss_name: ClassVar[str]

    def __init__(
        self, positions: Sequence[int], axis: str, temperature: float, alpha: float, reduction: str, divisor: int = 0
    ) -> None:
        self.positions, self.divisor = tuple(positions), divisor or len(positions)
        self.axis, self.temperature, self.alpha, self.reduction = axis, temperature, alpha, reduction

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> Any:
        distill = cfg.DISTILL
        return cls(
            positions_of(distill.POSITION, cfg.MVIT.POOL_Q_STRIDE, cfg.MVIT.DEPTH),
            distill.AXIS,
            distill.TEMPERATURE,
            distill.ALPHA,
            distill.REDUCTION,
            # A number of blocks is meaningless if only some are compared.
            distill.NUM_BLOCKS if distill.POSITION == DENSE else 0,
        )

    @classmethod
    def check(cls, cfg: CfgNode, student: Any) -> None:
        super().check(cfg, student)
        distill = cfg.DISTILL
        if distill.CENTRE and distill.POSITION == PATCH_EMBED:
            raise UserError(
                "DISTILL.CENTRE makes the tokens at DISTILL.POSITION patch_embed zero, as they are the same for every "
                "clip; set CENTRE False or another POSITION"
            )
        if distill.CENTRE and set(CASES[distill.PAIR_CASE]) == {ZERO}:
            raise UserError(
                f"DISTILL.CENTRE makes all targets of DISTILL.PAIR_CASE {distill.PAIR_CASE} zero, as the teacher sees zeros only; "
                "set CENTRE False or another PAIR_CASE"
            )
        if distill.MODALITY == cfg.DATA.MODALITY:
            raise UserError(
                f"student and teacher both see {distill.MODALITY}; set DATA.MODALITY or DISTILL.MODALITY to another"
            )

    @classmethod
    def warnings_of(cls, cfg: CfgNode) -> Iterable[str]:
        distill = cfg.DISTILL
        if distill.POSITION != DENSE and distill.NUM_BLOCKS:
            yield (
                f"DISTILL.NUM_BLOCKS {distill.NUM_BLOCKS} has no effect on DISTILL.POSITION {distill.POSITION}, where the "
                "loss is the mean over its positions"
            )
        if distill.AXIS == "token" and cfg.TRANSM3E.NUM_MCTS == 1:
            yield (
                "DISTILL.AXIS token is a softmax over the tokens, always 1 for a single one, and TRANSM3E.NUM_MCTS is 1: "
                "the distillation loss is always 0; set AXIS channel, or more tokens"
            )

    @staticmethod
    @abstractmethod
    def learners(student: ModelOutput) -> list[Tensor]:
        """The student's tokens that are compared, before the first block and after each, (B, K, D_i) each."""

    def __call__(self, student: ModelOutput, teacher: ModelOutput) -> dict[str, Tensor]:
        """Tokens of both at all positions -> {loss_name: scalar}."""
        learners, senders = self.learners(student), teacher.mcts
        assert len(learners) == len(senders), "student and teacher have different depths"
        losses = [
            token_kl(learners[position], senders[position], self.axis, self.temperature, self.reduction)
            for position in self.positions
        ]
        return {self.loss_name: torch.stack(losses).sum() / self.divisor * (self.alpha * self.temperature**2)}


@DISTILLERS.register("mctkd")
class MCTKD(TokenKD):
    """The receivers learn the teacher's MCTs; the student's own MCTs are not compared (Figure 6 d)."""

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
