"""Registry of distillers (DISTILL.METHOD), and their base class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.distill.pairs import check_pairs
from transm3e.distill.positions import DENSE
from transm3e.errors import UserError
from transm3e.models.output import ModelOutput
from transm3e.registry import Registry

DISTILLERS: Registry[Any] = Registry("DISTILL.METHOD")


class Distiller(ABC):
    """A distillation loss, and its requirements on configs and models (transm3e.models.registry.Model).

    Attributes:
        compares: "tokens" or "logits"; teacher and student must agree in the keys that determine their shapes.
        teaches_receivers, teaches_head: requires a student with receivers, or with a distillation head; distillers
            without it refuse such students.
    """

    compares: ClassVar[str] = "logits"
    teaches_receivers: ClassVar[bool] = False
    teaches_head: ClassVar[bool] = False

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> Any:
        """The distiller with the settings of a config."""
        return cls()

    @abstractmethod
    def __call__(self, student: ModelOutput, teacher: ModelOutput) -> dict[str, Tensor]:
        """Outputs for paired clips -> name -> scalar loss; DISTILL.WEIGHT weighs their sum."""

    @classmethod
    def check(cls, cfg: CfgNode, student: Any) -> None:
        """Refuse a student class that lacks what the distiller teaches, and contradictory settings.

        Raises:
            UserError: names the key, its value, what is allowed and what to change.
        """
        check_pairs(cfg)
        name, method, receivers = cfg.MODEL.MODEL_NAME, cfg.DISTILL.METHOD, student.has_receivers(cfg)
        if cls.compares == "tokens" and not student.has_mcts:
            raise UserError(
                f"DISTILL.METHOD {method} needs a model with MCTs, but MODEL.MODEL_NAME {name} has none; "
                "set TransM3E, or METHOD logits"
            )
        if cls.teaches_head != student.has_distill_head:
            raise UserError(
                f"DISTILL.METHOD {method} {'teaches' if cls.teaches_head else 'does not teach'} a distillation head, which "
                f"MODEL.MODEL_NAME {name} {'has' if student.has_distill_head else 'has not'}; change one of them (METHOD deit "
                "belongs to DeiT)"
            )
        if cls.teaches_receivers and not receivers:
            raise UserError(f"DISTILL.METHOD {method} needs receivers; set TRANSM3E.RECEIVERS True, or METHOD kd")
        if not cls.teaches_receivers and receivers:
            raise UserError(
                f"TRANSM3E.RECEIVERS is True, but DISTILL.METHOD {method} teaches no receivers; set it False, or METHOD mctkd"
            )
        if cfg.DISTILL.CENTRE and cls.compares != "tokens":
            raise UserError(
                f"DISTILL.CENTRE centres tokens, but DISTILL.METHOD {method} compares logits; set CENTRE False"
            )

    @classmethod
    def warnings_of(cls, cfg: CfgNode) -> Iterable[str]:
        """Settings without effect in a config that passed `check`."""
        method, position = cfg.DISTILL.METHOD, cfg.DISTILL.POSITION
        if cls.compares != "tokens" and position != DENSE:
            yield f"DISTILL.POSITION {position} has no effect on DISTILL.METHOD {method}, which compares logits"


def build_distiller(cfg: CfgNode) -> Distiller:
    """The distiller that DISTILL.METHOD names.

    Raises:
        UserError: no distiller has this name.
    """
    return DISTILLERS[cfg.DISTILL.METHOD].from_cfg(cfg)
