"""Registry of models (MODEL.MODEL_NAME), their base class, and the builder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from transm3e.errors import UserError
from transm3e.layers.common import init_as_pyslowfast
from transm3e.modalities import PIXELS
from transm3e.registry import Registry

# Called with features, and with what turns them, or their gradient, into a grid (B, C, T', H', W').
See = Callable[[Tensor, Callable[[Tensor], Tensor]], object]


class Model(nn.Module):
    """A model, with the facts that configs, tables and reports need.

    A subclass has `from_cfg(cfg)`, and `forward(clips: dict[modality, Tensor])` that returns a ModelOutput.

    Attributes:
        reads: values of DATA.MODALITY that it takes, or kinds of them (PIXELS, JOINTS of transm3e.modalities).
        config_keys: its own keys; a name ending in "." stands for its group.
        learns: it has weights.
        draws: its scores are random, so results.json gives their spread over draws.
        can_checkpoint: it supports MODEL.ACT_CHECKPOINT.
        has_mcts, has_distill_head: what distillers can teach, besides its logits; with MCTs it has `mct_shapes`.
        also_starts_from: names of other models whose weights it can load; other parameters keep their random initialisation.
        new_in_stage_2: beginnings of parameter names that starting weights may lack; all of each beginning or none.
    """

    reads: ClassVar[tuple[str, ...]] = (PIXELS,)
    config_keys: ClassVar[tuple[str, ...]] = ()
    learns: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    can_checkpoint: ClassVar[bool] = False
    has_mcts: ClassVar[bool] = False
    has_distill_head: ClassVar[bool] = False
    also_starts_from: ClassVar[tuple[str, ...]] = ()
    new_in_stage_2: ClassVar[tuple[str, ...]] = ()

    @property
    def mct_shapes(self) -> list[tuple[int, int]]:
        """(tokens, width) of ModelOutput.mcts before the first block and after each."""
        return []

    @classmethod
    def has_receivers(cls, cfg: CfgNode) -> bool:
        """Whether it has tokens that learn from a teacher's (ModelOutput.receivers)."""
        return False

    @classmethod
    def modalities_of(cls, cfg: CfgNode) -> list[str]:
        """What it reads, in training and at test time; the first is the major modality."""
        return [cfg.DATA.MODALITY]

    def watch_features(self, see: See) -> RemovableHandle:
        """Call `see` in every forward pass with the last features that have positions in space and time, for Grad-CAM.

        Raises:
            UserError: the model has none.
        """
        if callable(watch := getattr(getattr(self, "backbone", None), "watch_features", None)):
            return watch(see)
        raise UserError(f"{type(self).__name__} has no features on a grid of space and time; choose another method")

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        """Refuse settings with which it cannot be built or cannot run.

        Raises:
            UserError: names the key, its value, what is allowed and what to change.
        """

    @classmethod
    def warnings_of(cls, cfg: CfgNode) -> Iterable[str]:
        """Warnings about settings that are adjusted, in a config that passed `check`."""
        return ()


MODELS: Registry[Any] = Registry("MODEL.MODEL_NAME")


def build_model(cfg: CfgNode) -> nn.Module:
    """The model that MODEL.MODEL_NAME names, with random initialisation from RNG_SEED, on the CPU, in training mode.

    Raises:
        UserError: no model has this name.
    """
    model_class = MODELS[cfg.MODEL.MODEL_NAME]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.RNG_SEED)
        model = model_class.from_cfg(cfg)
        if "MVIT." in model_class.config_keys and cfg.MVIT.INIT == "pyslowfast":
            model.apply(init_as_pyslowfast)
        return model


def count_parameters(module: nn.Module, trainable_only: bool = False) -> int:
    """Number of parameters of a module, shared ones counted once: all, or the trainable ones."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)
