"""Optimiser and learning-rate schedule, as PySlowFast defines them."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.errors import UserError

# Beginnings of the last part of the names of tokens and relative positions.
TOKENS = ("cls_token", "dist_token", "mcts", "receivers")
SPARED = (*TOKENS, "rel_pos")


@dataclass(frozen=True)
class Schedule:
    """Learning rate as a function of the epochs passed.

    Attributes:
        policy: "cosine", "constant" or "steps_with_relative_lrs".
        base, end: learning rate at the top and at the end of the cosine.
        max_epoch: length of the training.
        warmup_epochs, warmup_start: linear warm-up from this rate to the policy's rate at its end.
        after_warmup: the cosine begins after the warm-up instead of under it.
        steps, shares: from epoch steps[i] on the rate is shares[i] of the base.
    """

    policy: str
    base: float
    end: float
    max_epoch: float
    warmup_epochs: float
    warmup_start: float
    after_warmup: bool
    steps: tuple[float, ...] = (0,)
    shares: tuple[float, ...] = (1,)

    @classmethod
    def from_cfg(cls, cfg: CfgNode, hosts: int) -> Schedule:
        """As configured, for this number of hosts."""
        solver = cfg.SOLVER
        factor = hosts if solver.BASE_LR_SCALE_NUM_SHARDS else 1
        return cls(
            policy=solver.LR_POLICY,
            base=solver.BASE_LR * factor,
            end=solver.COSINE_END_LR * factor,
            max_epoch=solver.MAX_EPOCH,
            warmup_epochs=solver.WARMUP_EPOCHS,
            warmup_start=solver.WARMUP_START_LR * factor,
            after_warmup=solver.COSINE_AFTER_WARMUP,
            steps=tuple(solver.STEPS) or (0,),
            shares=tuple(solver.LRS) or (1,),
        )

    def rate(self, epoch: float) -> float:
        """The rate after `epoch` epochs (a fraction within one)."""
        if epoch >= self.warmup_epochs:
            return self._policy_rate(epoch)
        top = self._policy_rate(self.warmup_epochs)
        return self.warmup_start + (top - self.warmup_start) * epoch / self.warmup_epochs

    def _policy_rate(self, epoch: float) -> float:
        if self.policy == "constant":
            return self.base
        if self.policy == "steps_with_relative_lrs":
            return self.base * self.shares[bisect_right(self.steps, epoch) - 1]
        offset = self.warmup_epochs if self.after_warmup else 0.0
        length = self.max_epoch - offset
        # If the warm-up is as long as the training there is no cosine part: the warm-up ends at the base rate.
        progress = (epoch - offset) / length if length > 0 else 0.0
        return self.end + (self.base - self.end) * (math.cos(math.pi * progress) + 1) / 2


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD over the trainable parameters, with the weight decay and learning rate of Decays.

    Raises:
        UserError: as layer_scales.
    """
    solver = cfg.SOLVER
    spared = SPARED if cfg.MVIT.ZERO_DECAY_POS_CLS else ()
    decays = Decays(solver.WEIGHT_DECAY, solver.ZERO_WD_1D_PARAM, cfg.BN.WEIGHT_DECAY, spared, solver.LAYER_DECAY)
    groups = parameter_groups(model, decays)
    if solver.OPTIMIZING_METHOD == "sgd":
        # Fused on GPUs, where the gradient scaler would wait for the others' result; not of shards, which have no such kernel.
        fused = all(p.is_cuda and not hasattr(p, "full_tensor") for p in model.parameters())
        rates = {"lr": solver.BASE_LR, "momentum": solver.MOMENTUM, "dampening": solver.DAMPENING}
        optimizer = torch.optim.SGD(groups, **rates, nesterov=solver.NESTEROV and solver.MOMENTUM > 0, fused=fused)
        # Checkpoints bring the setting of where they were written.
        optimizer.register_load_state_dict_post_hook(partial(_set_fused, fused))
        return optimizer
    # Fused: one pass over the parameters instead of a dozen.
    return torch.optim.AdamW(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS), eps=1e-8, fused=True)


def _set_fused(fused: bool, optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["fused"] = fused


def read_numbers(scalars: Sequence[Tensor]) -> list[float]:
    """Scalars on any device, in one transfer, which waits for what they are computed from."""
    return torch.stack(list(scalars)).tolist()


@dataclass(frozen=True)
class Decays:
    """Weight decay and learning rate of single parameters, as PySlowFast's.

    Attributes:
        weight: weight decay.
        spare_1d: none of biases and other 1-D parameters.
        norm: weight decay of batch norms, whatever spare_1d is.
        spared: beginnings of the last parts of names of parameters without weight decay.
        layer: factor of the learning rate from block to block towards the input, in (0, 1].
    """

    weight: float
    spare_1d: bool = False
    norm: float = 0.0
    spared: tuple[str, ...] = ()
    layer: float = 1.0

    def of(self, name: str, parameter: Tensor, of_norm: bool) -> float | None:
        """The weight decay of a parameter; None for one that is spared."""
        if of_norm:
            return self.norm or None
        flat = self.spare_1d and (parameter.dim() == 1 or name.endswith(".bias"))
        return None if flat or _last(name).startswith(self.spared) else self.weight


def parameter_groups(model: nn.Module, decays: Decays) -> Sequence[dict]:
    """Trainable parameters by weight decay and by "scale" of the learning rate, in the model's order within each group.

    The first two have the weight decay and none, and scale 1, as in checkpoints of earlier versions.

    Raises:
        UserError: as layer_scales.
    """
    norms = {id(p) for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase) for p in m.parameters()}
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    scales = layer_scales(model, decays.layer) if decays.layer < 1 else dict.fromkeys(trainable, 1.0)
    groups: dict[tuple[float | None, float], list[Tensor]] = {(decays.weight, 1.0): [], (None, 1.0): []}
    for name, p in trainable.items():
        groups.setdefault((decays.of(name, p, id(p) in norms), scales[name]), []).append(p)
    return [{"params": ps, "weight_decay": decay or 0.0, "scale": scale} for (decay, scale), ps in groups.items() if ps]


def clip_gradient(model: nn.Module, norm: float, value: float) -> Tensor:
    """Clip each number of the gradient to [-value, value], or if `value` is 0 its L2 norm to `norm`; 0 = not.

    Returns:
        The norm before, a scalar.
    """
    total = nn.utils.clip_grad_norm_(model.parameters(), math.inf if value else norm or math.inf)
    if value:
        nn.utils.clip_grad_value_(model.parameters(), value)
    return total


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """Parameter -> factor of its learning rate: decay ** (N - i) in block i of N, ** (N + 1) before them, 1 after them.

    Raises:
        UserError: the model has batch norms or no blocks, so that its layers are not numbered.
    """
    names = [name for name, _ in model.named_parameters()]
    found = {name: re.search(r"(?:^|\.)blocks\.(\d+)\.", name) for name in names}
    blocks = [int(match[1]) for match in found.values() if match]
    if not blocks or any(isinstance(m, nn.modules.batchnorm._NormBase) for m in model.modules()):
        raise UserError(
            f"SOLVER.LAYER_DECAY is {decay:g}, but only transformers of blocks without batch norms have it; set it to 1"
        )
    count = max(blocks) + 1

    def power(name: str) -> int:
        if match := found[name]:
            return count - int(match[1])
        return count + 1 if _last(name).startswith(TOKENS) or "patch_embed." in name else 0

    return {name: decay ** power(name) for name in names}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group, times its scale; checkpoints of earlier versions have none."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
