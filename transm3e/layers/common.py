"""Small layers that several models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# As torchvision's and PySlowFast's MViTv2.
NORM_EPS = 1e-6
INIT_STD = 0.02


class DropPath(nn.Module):
    """Stochastic depth: in training, a whole sample's branch is dropped with probability `rate` (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def factors(self, like: Tensor) -> Tensor | None:
        """For each sample of `like` (B, ...) 0 or 1 / (1 - rate), as (B, 1, ...); None where nothing is dropped."""
        if not self.training or self.rate == 0:
            return None
        keep = torch.empty((like.shape[0],) + (1,) * (like.dim() - 1), dtype=like.dtype, device=like.device)
        return keep.bernoulli_(1 - self.rate).div_(1 - self.rate)

    def forward(self, x: Tensor) -> Tensor:
        factors = self.factors(x)
        return x if factors is None else x * factors

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def add_branch(shortcut: Tensor, branch: Tensor, factors: Tensor | None) -> Tensor:
    """shortcut + branch * factors, written over the branch, which nobody else may read."""
    if branch.dtype != shortcut.dtype:
        # Under automatic mixed precision the residual stream stays wide.
        return shortcut + (branch if factors is None else branch * factors)
    if factors is not None:
        branch.mul_(factors)
    return branch.add_(shortcut)


def narrow(x: Tensor) -> Tensor:
    """x in the type that automatic mixed precision multiplies in, so that it is cast once for several products."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))


def widen(x: Tensor) -> Tensor:
    """x in float32 at least, in which sums keep their digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def class_tokens(number: int, width: int, init: str = "normal") -> nn.Parameter:
    """Learnable class tokens (1, number, width), drawn from N(0, 0.02) or zeros."""
    tokens = nn.Parameter(torch.zeros(1, number, width))
    if init == "normal":
        nn.init.trunc_normal_(tokens, std=INIT_STD)
    return tokens


def init_weights(module: nn.Module) -> None:
    """Linear weights from N(0, 0.02) truncated at 2, their biases 0; for nn.Module.apply (as MViTv2)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
