"""Small layers that several models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        if torch.compiler.is_compiling():
            return shortcut + (branch if factors is None else branch * factors)
        return _AddBranch.apply(shortcut, branch, factors)
    if factors is not None:
        branch.mul_(factors)
    return branch.add_(shortcut)


class _AddBranch(torch.autograd.Function):
    """The same for a narrow branch: one pass forward and one backward, without a wide copy of the branch."""

    @staticmethod
    def forward(ctx: Any, shortcut: Tensor, branch: Tensor, factors: Tensor | None) -> Tensor:
        ctx.save_for_backward(factors)
        ctx.dtype = branch.dtype
        with torch.autocast(shortcut.device.type, enabled=False):
            return shortcut + branch if factors is None else torch.addcmul(shortcut, branch, factors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (factors,) = ctx.saved_tensors
        if factors is None:
            return gradient, gradient.to(ctx.dtype), None
        out = torch.empty_like(gradient, dtype=ctx.dtype)
        return gradient, torch.mul(gradient, factors, out=out), None


def narrow(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors in the type that automatic mixed precision multiplies in: cast once for several products, and together."""
    device = tensors[0].device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    wide = [tensor for tensor in tensors if tensor.dtype != dtype]
    if len(wide) < 2 or torch.compiler.is_compiling():
        return tuple(tensor.to(dtype) for tensor in tensors)
    cast = iter(_Narrow.apply(*wide, dtype))
    return tuple(tensor if tensor.dtype == dtype else next(cast) for tensor in tensors)


class _Narrow(torch.autograd.Function):
    """Casts of several tensors, and of their gradients, in one pass each."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        *tensors, dtype = args
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        ctx.set_materialize_grads(False)
        return _cast(tensors, [dtype] * len(tensors))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        there = [
            (gradient, dtype) for gradient, dtype in zip(gradients, ctx.dtypes, strict=True) if gradient is not None
        ]
        wide = iter(_cast(*zip(*there, strict=True)) if there else ())
        return *(None if gradient is None else next(wide) for gradient in gradients), None


def _cast(tensors: tuple[Tensor, ...] | list[Tensor], dtypes: Sequence[torch.dtype]) -> tuple[Tensor, ...]:
    out = tuple(torch.empty_like(tensor, dtype=dtype) for tensor, dtype in zip(tensors, dtypes, strict=True))
    torch._foreach_copy_(out, tensors)
    return out


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


def init_as_pyslowfast(module: nn.Module) -> None:
    """Weights of linear layers and convolutions from N(0, 0.02) truncated at 2, biases of linear layers and norms' shifts
    0.02; for nn.Module.apply (as PySlowFast's MViT)."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
        nn.init.constant_(module.bias, INIT_STD)
