"""Classification losses on logits (B, C) and labels (B, C), and the scores that go with each.

All compute in float32 or better, also under automatic mixed precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.registry import Registry


@dataclass(frozen=True)
class Loss:
    """A loss and the activation that turns its logits into scores.

    Attributes:
        function: (logits (B, C), labels (B, C) in [0, 1]) -> scalar, the mean over clips, and over classes if each is
            a binary decision.
        scores: logits (B, C) -> scores (B, C) in [0, 1].
        of_each: scores are sigmoids, independent for each class; else the softmax over classes.
        exclusive: classes are mutually exclusive, as activities are and muscles are not.
        weighs: `function` also takes pos_weight (C,), see weighted.
    """

    function: Callable[..., Tensor]
    scores: Callable[[Tensor], Tensor]
    of_each: bool = False
    exclusive: bool = False
    weighs: bool = False

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return self.function(wide, labels.to(wide.dtype))

    def from_cfg(self, cfg: CfgNode) -> Loss:
        """The loss with the settings of a config."""
        return self

    def weighted(self, weights: Sequence[float]) -> Loss:
        """The loss with the positive labels of each class weighted (MODEL.POS_WEIGHT); it must be one that `weighs`."""
        return replace(self, function=partial(self.function, pos_weight=torch.tensor(weights)))


class AsymmetricLoss(Loss):
    """`asymmetric` with the settings of group ASL."""

    def from_cfg(self, cfg: CfgNode) -> Loss:
        asl = cfg.ASL
        function = partial(asymmetric, gamma_neg=asl.GAMMA_NEG, gamma_pos=asl.GAMMA_POS, clip=asl.CLIP)
        return replace(self, function=function)


LOSSES: Registry[Loss] = Registry("MODEL.LOSS_FUNC")


def bce(logits: Tensor, labels: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross entropy on sigmoids."""
    weight = None if pos_weight is None else pos_weight.to(logits.device)
    return F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)


def softmax_bce(logits: Tensor, labels: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross entropy on the softmax over the muscles: the paper's loss (section 4) and its code's.

    Logarithms of p and 1 - p are computed from the logits, so a confident error gives a large loss, not an infinite one.
    """
    log_p = F.log_softmax(logits, dim=-1)
    # log(1 - p): expm1 keeps the digits where p is close to 0; the floor keeps p = 1 finite, as PyTorch's BCE does.
    log_not_p = torch.log((-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny))
    positive = labels if pos_weight is None else labels * pos_weight.to(logits.device)
    return -(positive * log_p + (1 - labels) * log_not_p).mean()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross entropy with labels that sum to 1, such as one activity per clip, with or without Mixup; mean over clips."""
    return -(labels * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()


def asymmetric(
    logits: Tensor, labels: Tensor, gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float = 0.05
) -> Tensor:
    """Asymmetric loss for multi-label classification (Ridnik et al., ICCV 2021, equations 4 to 7) on sigmoids.

    Args:
        gamma_neg, gamma_pos: focusing exponents of negatives and positives.
        clip: margin that is subtracted from a negative's probability.
    """
    p, info = logits.sigmoid(), torch.finfo(logits.dtype)
    # Off 0, where powers below 1 have no gradient, and off 1, where the logarithm is infinite.
    shifted = (p - clip).clamp(info.tiny, 1 - info.eps)
    positive = labels * (1 - p).clamp_min(info.tiny) ** gamma_pos * F.logsigmoid(logits)
    negative = (1 - labels) * shifted**gamma_neg * torch.log1p(-shifted)
    return -(positive + negative).mean()


def _softmax(logits: Tensor) -> Tensor:
    return logits.float().softmax(dim=-1)


def _sigmoid(logits: Tensor) -> Tensor:
    return logits.float().sigmoid()


# MODEL.HEAD_ACT.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"softmax": _softmax, "sigmoid": _sigmoid}

LOSSES.register("bce_softmax")(Loss(softmax_bce, _softmax, weighs=True))
LOSSES.register("bce_logits")(Loss(bce, _sigmoid, of_each=True, weighs=True))
# PySlowFast's name.
LOSSES.register("bce_logit")(Loss(bce, _sigmoid, of_each=True, weighs=True))
LOSSES.register("cross_entropy")(Loss(cross_entropy, _softmax, exclusive=True))
# PySlowFast's name where labels are mixed; here labels are always vectors.
LOSSES.register("soft_cross_entropy")(Loss(cross_entropy, _softmax, exclusive=True))
LOSSES.register("asl")(AsymmetricLoss(asymmetric, _sigmoid, of_each=True))
# The authors' name for binary cross entropy on a softmax.
LOSSES.register("focal_loss_multilabel")(Loss(softmax_bce, _softmax, weighs=True))


def build_loss(cfg: CfgNode) -> Loss:
    """The loss that MODEL.LOSS_FUNC names.

    Raises:
        UserError: no loss has this name.
    """
    loss = LOSSES[cfg.MODEL.LOSS_FUNC].from_cfg(cfg)
    if cfg.MODEL.HEAD_ACT == "auto":
        return loss
    return replace(loss, scores=ACTIVATIONS[cfg.MODEL.HEAD_ACT], of_each=cfg.MODEL.HEAD_ACT == "sigmoid")
