"""A transformer block over few tokens, whose queries may read another sequence, and the heads of attention.

Shapes: B clips, Q queries, K keys, D width, H heads, C width of a head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from transm3e.layers.common import NORM_EPS, DropPath
from transm3e.layers.mlp import Mlp


def head_width(dim: int, num_heads: int) -> int:
    """Width of a head: dim / num_heads, rounded up, so that the heads together are never narrower than dim."""
    return -(-dim // num_heads)


def split_heads(x_BKD: Tensor, num_heads: int) -> Tensor:
    """(B, K, H * C) -> (B, H, K, C)."""
    return x_BKD.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x_BHKC: Tensor) -> Tensor:
    """(B, H, K, C) -> (B, K, H * C)."""
    return x_BHKC.transpose(1, 2).flatten(2)


class TransformerBlock(nn.Module):
    """y = x + attention(LN(x), LN(context)), then y + MLP(LN(y)): the pre-norm block of Dosovitskiy et al. (2021).

    With a context it is the cross-transformer of Nagrani et al. (2021), whose one LayerNorm serves both sequences.

    Args:
        dim: D.
        num_heads: H; where it does not divide D, see head_width. The factor on q.k is C^-0.5.
        qkv_bias: biases of the q, k and v projections.
        dropout: after the attention's output projection.
        drop_path: on both residual branches.
        mlp_ratio: width of the MLP in D.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 1,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        mlp_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = num_heads * head_width(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim, NORM_EPS)
        self.q = nn.Linear(dim, inner, bias=qkv_bias)
        self.k = nn.Linear(dim, inner, bias=qkv_bias)
        self.v = nn.Linear(dim, inner, bias=qkv_bias)
        self.proj = nn.Linear(inner, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(dim, NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BQD: Tensor, context_BKD: Tensor | None = None) -> Tensor:
        """x (B, Q, D), and the sequence (B, K, D) whose keys and values it reads, its own where None -> (B, Q, D)."""
        queries = self.norm1(x_BQD)
        keys = queries if context_BKD is None else self.norm1(context_BKD)
        x_BQD = x_BQD + self.drop_path(self._attend(queries, keys))
        return x_BQD + self.drop_path(self.mlp(self.norm2(x_BQD)))

    def _attend(self, queries_BQD: Tensor, keys_BKD: Tensor) -> Tensor:
        projected = (self.q(queries_BQD), self.k(keys_BKD), self.v(keys_BKD))
        q, k, v = (split_heads(part, self.num_heads) for part in projected)
        return self.dropout(self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v))))
