"""Small layers that several models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# As torchvision's and PySlowFast's MViTv2.
NORM_EPS = 1e-6
INIT_STD = 0.02


class Mlp(nn.Module):
    """Linear -> GELU -> dropout -> linear -> dropout on the last axis.

    Args:
        dim: width of input and output.
        hidden: width between.
        dropout: dropout rate.
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class DropPath(nn.Module):
    """Stochastic depth: in training, zero a whole sample with probability `rate` and scale the rest up (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty((x.shape[0],) + (1,) * (x.dim() - 1), dtype=x.dtype, device=x.device)
        return x * keep.bernoulli_(1 - self.rate).div_(1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


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
