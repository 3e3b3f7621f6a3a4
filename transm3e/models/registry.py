"""Names of MODEL.MODEL_NAME -> model classes, and the builder."""

from __future__ import annotations

from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from transm3e.registry import Registry

# Classes with `from_cfg(cfg)` whose `forward(clips: dict[modality, Tensor])` returns a ModelOutput.
MODELS: Registry[Any] = Registry("MODEL.MODEL_NAME")


def build_model(cfg: CfgNode) -> nn.Module:
    """The model that MODEL.MODEL_NAME names, with weights drawn from RNG_SEED, on the CPU, in training mode.

    Raises:
        UserError: no model has this name.
    """
    model_class = MODELS[cfg.MODEL.MODEL_NAME]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.RNG_SEED)
        return model_class.from_cfg(cfg)


def count_parameters(module: nn.Module, trainable_only: bool = False) -> int:
    """Numbers in a module's parameters, each shared one once: all of them, or those that training changes.

    A student and its teacher are two modules; what predicts is the student alone.
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)
