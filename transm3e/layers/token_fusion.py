"""MCTF: fusion of the major modality's MCTs with the receivers (paper, section 4, equations 2 to 7).

Shapes: B clips, K tokens, D width, H heads, C width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transm3e.config.schema import choices
from transm3e.layers.common import DropPath
from transm3e.layers.mlp import Mlp
from transm3e.layers.transformer_block import head_width, merge_heads, split_heads

# stream_queryKey: A^m_mr of equation 3 is the map of stream m with queries of m and keys of r; values are the stream's.
MAPS = choices("MCTF.MAPS")
# The paper is silent; the authors' code leaves MCTF's norms at PyTorch's default, unlike the backbone's 1e-6.
NORM_EPS = 1e-5


class TokenFusion(nn.Module):
    """Six attention maps over two token streams, summed per stream, fused by an MLP, with residuals on their mean.

    Args:
        num_tokens: K, tokens of each stream.
        dim: D.
        num_heads: heads of every map (D.3: 1). Where they do not divide D (table 11: 5 heads, D = 768), C is rounded up
            (154): q, k and v are H * C wide (770), and each output projection leads back to D.
        scale: factor on q.k (D.3: 0.8); 0 = C^-0.5 (the authors' code).
        qkv_bias: biases of the q, k and v projections.
        dropout: after each attention (DP of equation 3), and on nothing else.
        drop_path: on the last residual branch.
        mlp_ratio: width of the MLP of equation 7 in D.
        maps: which of MAPS are summed, at least one; a stream with none counts as zeros in the concatenation.
        authors_view: as in the authors' code, heads change the scale only (C is D / H rounded down), and the result of
            a map, (B, K, D), is transposed to (B, D, K) and its memory read as (B, K, D), which mixes tokens with
            channels.
    """

    def __init__(
        self,
        num_tokens: int,
        dim: int,
        num_heads: int = 1,
        scale: float = 0.8,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.2,
        mlp_ratio: float = 1.0,
        maps: Sequence[str] = MAPS,
        authors_view: bool = False,
    ) -> None:
        super().__init__()
        self.maps, self.authors_view = tuple(maps), authors_view
        self.num_heads = 1 if authors_view else num_heads
        width = dim // num_heads if authors_view else head_width(dim, num_heads)
        inner = dim if authors_view else num_heads * width
        self.scale = scale or width**-0.5
        # Only norms and projections that a map of `maps` reads, so that every parameter gets a gradient.
        inputs = sorted({f"{kind}_{stream}" for name in self.maps for kind, stream in _inputs(name)})
        read = {name[-1] for name in inputs}
        self.norm_m = nn.LayerNorm((num_tokens, dim), NORM_EPS) if "m" in read else nn.Identity()
        self.norm_r = nn.LayerNorm((num_tokens, dim), NORM_EPS) if "r" in read else nn.Identity()
        self.inputs = nn.ModuleDict({name: nn.Linear(dim, inner, bias=qkv_bias) for name in inputs})
        self.outputs = nn.ModuleDict({name: nn.Linear(inner, dim) for name in self.maps})
        self.dropout = nn.Dropout(dropout)
        self.fuse = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.norm_f = nn.LayerNorm((num_tokens, dim), NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, mcts_BKD: Tensor, receivers_BKD: Tensor) -> Tensor:
        """MCTs and receivers after the last norm -> fused tokens (B, K, D)."""
        mean = (mcts_BKD + receivers_BKD) / 2
        fused = mean + self._attend(self.norm_m(mcts_BKD), self.norm_r(receivers_BKD))
        return mean + self.drop_path(self.mlp(self.norm_f(fused)))

    def _attend(self, m_BKD: Tensor, r_BKD: Tensor) -> Tensor:
        tokens = {"m": m_BKD, "r": r_BKD}
        heads = {name: split_heads(project(tokens[name[-1]]), self.num_heads) for name, project in self.inputs.items()}
        total = {"m": torch.zeros_like(m_BKD), "r": torch.zeros_like(r_BKD)}
        for name in self.maps:
            q, k, v = (heads[f"{kind}_{stream}"] for kind, stream in _inputs(name))
            attention = (q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)
            mixed = self._merge(attention @ v)
            total[name[0]] = total[name[0]] + self.outputs[name](self.dropout(mixed))
        return self.fuse(torch.cat((total["m"], total["r"]), dim=-1))

    def _merge(self, x_BHKC: Tensor) -> Tensor:
        x_BKD = merge_heads(x_BHKC)
        return x_BKD.transpose(1, 2).reshape(x_BKD.shape) if self.authors_view else x_BKD


def _inputs(name: str) -> tuple[tuple[str, str], ...]:
    return ("q", name[2]), ("k", name[3]), ("v", name[0])
