"""MCTKD: receivers of the student learn the teacher's MCTs, the senders, after every block (paper, equation 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.distill.registry import DISTILLERS
from transm3e.models.output import ModelOutput

# The axes of the softmax over tokens (B, K, D); "full" is over both after flattening.
AXES = {"token": 1, "channel": 2, "full": 1}


def token_kl(receiver: Tensor, sender: Tensor, axis: str, temperature: float, reduction: str) -> Tensor:
    """KL(sender || receiver) between softmaxes of class tokens.

    Args:
        receiver, sender: (B, K, D); computed in float32 or better.
        axis: "token", "channel" or "full": what the softmax runs over.
        temperature: divides both before the softmax.
        reduction: "mean": the sum divided by all elements (what PyTorch 2 calls mean), or "batchmean": by B.

    Returns:
        scalar.
    """
    if axis == "full":
        receiver, sender = receiver.flatten(1), sender.flatten(1)
    log_r = F.log_softmax(receiver / temperature, dim=AXES[axis])
    log_s = F.log_softmax(sender / temperature, dim=AXES[axis])
    # PyTorch announces another meaning of its "mean", so the sum is divided here.
    total = F.kl_div(log_r, log_s, reduction="sum", log_target=True)
    return total / (receiver.numel() if reduction == "mean" else len(receiver))


@DISTILLERS.register("mctkd")
class MCTKD:
    """Mean over blocks of token_kl(receivers, senders) * alpha * temperature^2.

    Args:
        axis, temperature, reduction: see token_kl.
        alpha: factor beside temperature^2 (authors' code: 0.9).
        num_blocks: what the sum over the blocks is divided by; 0 = their number, which makes it their mean.
    """

    def __init__(self, axis: str, temperature: float, alpha: float, reduction: str, num_blocks: int = 0) -> None:
        self.axis, self.temperature, self.alpha, self.reduction = axis, temperature, alpha, reduction
        self.num_blocks = num_blocks

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> MCTKD:
        distill = cfg.DISTILL
        return cls(distill.AXIS, distill.TEMPERATURE, distill.ALPHA, distill.REDUCTION, distill.NUM_BLOCKS)

    def __call__(self, student: ModelOutput, teacher: ModelOutput) -> dict[str, Tensor]:
        """Tokens of both after every block, (B, K, D_i) each -> {"loss_mctkd": scalar}."""
        assert len(student.receivers) == len(teacher.mcts), "student and teacher have different depths"
        factor = self.alpha * self.temperature**2
        with torch.autocast(student.logits.device.type, enabled=False):
            losses = [
                token_kl(_wide(r), _wide(s), self.axis, self.temperature, self.reduction)
                for r, s in zip(student.receivers, teacher.mcts, strict=True)
            ]
        return {"loss_mctkd": torch.stack(losses).sum() / (self.num_blocks or len(losses)) * factor}


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
