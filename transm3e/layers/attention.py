"""Multi-scale attention with pooled q, k, v and decomposed relative positions, and its block (MViTv2).

Shapes: B clips, H heads, C channels of a head, K class tokens, N patches (T*H*W), Q pooled patches, D width.
Class tokens come first in every sequence; they skip the pooling and carry no relative position.
Parameter names are PySlowFast's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transm3e.layers.common import INIT_STD, NORM_EPS, DropPath, Mlp
from transm3e.layers.relative_position import Size, key_codes, query_terms, table_length

# Fused attention kernels want head dimensions that are multiples of 8.
KERNEL_MULTIPLE = 8


def pooled_size(size: Size, stride: Size) -> Size:
    """(T, H, W) after a convolution with kernel 3, padding 1 (or a max pool) of this stride."""
    t, h, w = (-(-n // s) for n, s in zip(size, stride, strict=True))
    return t, h, w


class MultiScaleAttention(nn.Module):
    """Attention of MViTv2: q, k and v are pooled over space-time, with relative positions and residual pooling.

    Args:
        dim, dim_out: width of input and output.
        num_heads: attention heads; divides dim_out.
        size: (T, H, W) of the input patches; the relative-position tables are made for it and interpolated for others.
        kernel: kernel of the pooling convolutions.
        stride_q: stride of q's pooling, or None: q is not pooled.
        stride_kv: stride of k's and v's pooling.
        qkv_bias: whether q, k and v have biases.
    """

    rel_pos_t: nn.Parameter
    rel_pos_h: nn.Parameter
    rel_pos_w: nn.Parameter

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        size: Size,
        kernel: Size,
        stride_q: Size | None,
        stride_kv: Size,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim_out // num_heads
        self.scale = head_dim**-0.5
        self.qkv = nn.Linear(dim, dim_out * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim_out, dim_out)
        for name, stride in (("q", stride_q), ("k", stride_kv), ("v", stride_kv)):
            pool = nn.Identity() if stride is None else _depthwise(head_dim, kernel, stride)
            self.add_module(f"pool_{name}", pool)
            self.add_module(f"norm_{name}", nn.Identity() if stride is None else nn.LayerNorm(head_dim, NORM_EPS))
        q_size, k_size = pooled_size(size, stride_q or (1, 1, 1)), pooled_size(size, stride_kv)
        for axis, n_q, n_k in zip("thw", q_size, k_size, strict=True):
            table = nn.Parameter(torch.zeros(table_length(n_q, n_k), head_dim))
            nn.init.trunc_normal_(table, std=INIT_STD)
            self.register_parameter(f"rel_pos_{axis}", table)
        self.stride_q, self.stride_kv = stride_q or (1, 1, 1), stride_kv

    def forward(self, x_BND: Tensor, num_tokens: int, size: Size) -> Tensor:
        """(B, K + N, D) -> (B, K + Q, D_out)."""
        q, k, v = self.qkv(x_BND).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q_tokens, q_patches = self._pool("q", q, num_tokens, size)
        k_tokens, k_patches = self._pool("k", k, num_tokens, size)
        v = torch.cat(self._pool("v", v, num_tokens, size), dim=2)
        q_size, k_size = pooled_size(size, self.stride_q), pooled_size(size, self.stride_kv)
        terms = query_terms(q_patches, (self.rel_pos_t, self.rel_pos_h, self.rel_pos_w), q_size, k_size)
        codes = key_codes(k_size, like=k_patches).expand(*k_patches.shape[:3], -1)

        head_dim = q.shape[-1]
        width = -(-(head_dim + codes.shape[-1]) // KERNEL_MULTIPLE) * KERNEL_MULTIPLE
        query = torch.cat(
            (_pad(q_tokens * self.scale, width), _pad(torch.cat((q_patches * self.scale, terms), -1), width)), 2
        )
        key = torch.cat((_pad(k_tokens, width), _pad(torch.cat((k_patches, codes), -1), width)), 2)
        x = F.scaled_dot_product_attention(query, key, _pad(v, width), scale=1.0)[..., :head_dim]
        # Residual pooling (MViTv2, eq. 5), on patches only.
        x = x + F.pad(q_patches, (0, 0, num_tokens, 0))
        return self.proj(x.transpose(1, 2).flatten(2))

    def _pool(self, name: str, x_BHNC: Tensor, num_tokens: int, size: Size) -> tuple[Tensor, Tensor]:
        conv, norm = self.get_submodule(f"pool_{name}"), self.get_submodule(f"norm_{name}")
        tokens, patches = x_BHNC[:, :, :num_tokens], x_BHNC[:, :, num_tokens:]
        if not isinstance(conv, nn.Conv3d):
            return tokens, patches
        batch, heads = patches.shape[:2]
        grid = patches.reshape(batch * heads, *size, -1).permute(0, 4, 1, 2, 3)
        pooled = conv(grid).permute(0, 2, 3, 4, 1).flatten(1, 3).unflatten(0, (batch, heads))
        return norm(tokens), norm(pooled)


class MultiScaleBlock(nn.Module):
    """Attention and MLP with pre-norm, drop path, and a max-pooled, projected shortcut where size or width change.

    Args:
        dim, dim_out: width before and after; it changes in the attention.
        mlp_ratio: width of the MLP in dim_out.
        dropout, drop_path: rates.
        The rest as in MultiScaleAttention.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        size: Size,
        kernel: Size,
        stride_q: Size | None,
        stride_kv: Size,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride_q = stride_q or (1, 1, 1)
        self.norm1 = nn.LayerNorm(dim, NORM_EPS)
        self.attn = MultiScaleAttention(dim, dim_out, num_heads, size, kernel, stride_q, stride_kv, qkv_bias)
        self.norm2 = nn.LayerNorm(dim_out, NORM_EPS)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio), dropout)
        self.drop_path = DropPath(drop_path)
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else nn.Identity()

    def forward(self, x_BND: Tensor, num_tokens: int, size: Size) -> tuple[Tensor, Size]:
        """(B, K + N, D) with patches of (T, H, W) -> (B, K + Q, D_out) and the patches' new size."""
        normed = self.norm1(x_BND)
        shortcut = x_BND if isinstance(self.proj, nn.Identity) else self.proj(normed)
        x = self._pool_shortcut(shortcut, num_tokens, size) + self.drop_path(self.attn(normed, num_tokens, size))
        return x + self.drop_path(self.mlp(self.norm2(x))), pooled_size(size, self.stride_q)

    def _pool_shortcut(self, x_BND: Tensor, num_tokens: int, size: Size) -> Tensor:
        if math.prod(self.stride_q) == 1:
            return x_BND
        kernel = [s + 1 if s > 1 else s for s in self.stride_q]
        grid = x_BND[:, num_tokens:].unflatten(1, size).permute(0, 4, 1, 2, 3)
        pooled = F.max_pool3d(grid, kernel, self.stride_q, [k // 2 for k in kernel])
        return torch.cat((x_BND[:, :num_tokens], pooled.flatten(2).transpose(1, 2)), dim=1)


def _depthwise(channels: int, kernel: Size, stride: Size) -> nn.Conv3d:
    t, h, w = (k // 2 for k in kernel)
    return nn.Conv3d(channels, channels, kernel, stride, (t, h, w), groups=channels, bias=False)


def _pad(x: Tensor, width: int) -> Tensor:
    return F.pad(x, (0, width - x.shape[-1]))
