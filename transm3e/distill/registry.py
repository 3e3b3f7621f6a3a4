"""Names of DISTILL.METHOD -> distillers: callables (student output, teacher output) -> dict of scalar losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.models.output import ModelOutput
from transm3e.registry import Registry

Distiller = Callable[[ModelOutput, ModelOutput], dict[str, Tensor]]

DISTILLERS: Registry[Any] = Registry("DISTILL.METHOD")


def build_distiller(cfg: CfgNode) -> Distiller:
    """The distiller that DISTILL.METHOD names.

    Raises:
        UserError: no distiller has this name.
    """
    return DISTILLERS[cfg.DISTILL.METHOD].from_cfg(cfg)
