"""KL divergence between softened softmaxes, the basis of every distiller."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The axes of the softmax over tokens (B, K, D); "full" is over both after flattening.
AXES = {"token": 1, "channel": 2, "full": 1}


def soft_kl(student: Tensor, teacher: Tensor, dim: int, temperature: float, reduction: str) -> Tensor:
    """KL(teacher || student) between softmaxes at a temperature (Hinton et al. 2015), without the factor temperature^2.

    Args:
        student, teacher: (B, ...) of one shape, before the softmax; computed in float32 or better.
        dim: axis of the softmax.
        temperature: divides both before the softmax.
        reduction: "mean": the sum divided by all elements (PyTorch 2's mean), or "batchmean": by B.

    Returns:
        scalar.
    """
    with torch.autocast(student.device.type, enabled=False):
        log_s = F.log_softmax(_wide(student) / temperature, dim=dim)
        log_t = F.log_softmax(_wide(teacher) / temperature, dim=dim)
        # PyTorch announces a change of its "mean", so the sum is divided here.
        total = F.kl_div(log_s, log_t, reduction="sum", log_target=True)
    return total / (student.numel() if reduction == "mean" else len(student))


def token_kl(receiver: Tensor, sender: Tensor, axis: str, temperature: float, reduction: str) -> Tensor:
    """soft_kl between class tokens (B, K, D); `axis`, a key of AXES, is the axis of the softmax."""
    if axis == "full":
        receiver, sender = receiver.flatten(1), sender.flatten(1)
    return soft_kl(receiver, sender, AXES[axis], temperature, reduction)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
