"""Optimiser and learning-rate schedule, as PySlowFast defines them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn


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
    """AdamW or SGD over the trainable parameters, without weight decay on 1-D ones if ZERO_WD_1D_PARAM."""
    solver = cfg.SOLVER
    groups = parameter_groups(model, solver.WEIGHT_DECAY, solver.ZERO_WD_1D_PARAM)
    if solver.OPTIMIZING_METHOD == "sgd":
        # Fused on GPUs, where the gradient scaler would wait for the others' result; not of shards, which have no such kernel.
        fused = all(p.is_cuda and not hasattr(p, "full_tensor") for p in model.parameters())
        rates = {"lr": solver.BASE_LR, "momentum": solver.MOMENTUM, "nesterov": solver.MOMENTUM > 0}
        optimizer = torch.optim.SGD(groups, **rates, fused=fused)
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


def parameter_groups(model: nn.Module, weight_decay: float, spare_1d: bool) -> Sequence[dict]:
    """Trainable parameters with and without weight decay, in the model's order; empty groups are left out."""
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    spared = [p for name, p in trainable if spare_1d and (p.dim() == 1 or name.endswith(".bias"))]
    ids = {id(p) for p in spared}
    decayed = [p for _, p in trainable if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
