"""The MLP of a transformer block, with less memory than its four operations keep.

Shapes: N rows (clips x tokens), D width, H hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from transm3e.layers.common import narrow, widen
from transm3e.layers.linear import linear

# Numbers of the hidden layer that are worked on at once on a CPU, so that they stay in its cache.
CPU_CHUNK = 3 << 19


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

    def forward(self, x: Tensor, weights: Sequence[Tensor] = ()) -> Tensor:
        """(..., dim) -> the same shape; `weights`, as `self.weights()` gives them, where it is called several times."""
        if self.drop.p or torch.compiler.is_compiling():
            return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
        rows, weights = narrow(x.flatten(0, -2))[0], weights or self.weights()
        run = _LeanMlp.apply if torch.is_grad_enabled() else _without_gradient
        return run(rows, *weights).view_as(x)

    def weights(self) -> tuple[Tensor, ...]:
        """Of both layers, in the type that they are multiplied in."""
        return narrow(self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)


def _without_gradient(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return _join([linear(F.gelu(linear(part, w1, b1)), w2, b2) for part in _parts(x, len(w1))])


class _LeanMlp(torch.autograd.Function):
    """fc2(gelu(fc1(x))) that keeps x and the hidden layer before GELU; after GELU it is computed again.

    GELU's output is the largest tensor that a block would keep, and costs a hundredth of the step to compute again.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        hidden = [linear(part, w1, b1) for part in _parts(x, len(w1))]
        ctx.save_for_backward(x, w1, w2, *hidden)
        return _join([F.linear(F.gelu(part), w2, b2) for part in hidden])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, w1, w2, *hidden = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x, of_w1, of_b1, of_w2 = [], None, None, None
        for x_part, hidden_part, part in zip(_parts(x, len(w1)), hidden, _parts(gradient, len(w1)), strict=True):
            of_w2 = _plus_product(of_w2, part.t(), F.gelu(hidden_part))
            of_hidden = torch.ops.aten.gelu_backward(linear(part, w2.t(), None), hidden_part)
            of_w1 = _plus_product(of_w1, of_hidden.t(), x_part)
            of_b1 = of_hidden.sum(0) if of_b1 is None else widen(of_b1) + of_hidden.sum(0)
            of_x.append(linear(of_hidden, w1.t(), None))
        assert of_w1 is not None
        assert of_w2 is not None
        assert of_b1 is not None
        return _join(of_x), of_w1.to(w1.dtype), of_b1.to(w1.dtype), of_w2.to(w1.dtype), gradient.sum(0)


def _plus_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """total, which may be written over, + a @ b; several products are summed in float32 at least."""
    if total is None:
        return a @ b
    wide = widen(total)
    return wide.addmm_(a, b) if wide.dtype == a.dtype else wide.add_(a @ b)


def _parts(x: Tensor, hidden: int) -> tuple[Tensor, ...]:
    """Parts of about equally many rows; a GPU takes all at once."""
    number = -(-len(x) * hidden // CPU_CHUNK) if x.device.type == "cpu" else 1
    return x.chunk(max(1, number))


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
