"""Multi-scale attention with pooled q, k, v and decomposed relative positions, and its block (MViTv2).

Shapes: B clips, H heads, C channels of a head, K class tokens, N patches (T*H*W), Q pooled patches, D width.
Class tokens and patches are kept apart: class tokens skip the pooling and carry no relative position.
Parameter names are PySlowFast's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transm3e.layers.common import INIT_STD, NORM_EPS, DropPath, add_branch, narrow, widen
from transm3e.layers.linear import linear
from transm3e.layers.mlp import Mlp
from transm3e.layers.pooling import conv_pool, max_pool, pooled_size, take_read
from transm3e.layers.relative_position import Size, key_codes, query_terms, table_length

# Fused attention kernels want head dimensions that are multiples of 8.
KERNEL_MULTIPLE = 8


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

    pool_q: nn.Module
    norm_q: nn.Module
    norm_k: nn.Module
    norm_v: nn.Module
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
        self.num_heads, self.dim_out = num_heads, dim_out
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
        self.kernel, self.stride_q, self.stride_kv = kernel, stride_q, stride_kv

    def forward(
        self, patches_BND: Tensor, tokens_BKD: Tensor, size: Size, read_patches: bool = True
    ) -> tuple[Tensor | None, Tensor]:
        """Patches of (T, H, W) and class tokens -> the same, attended to and pooled.

        Args:
            read_patches: False where nobody reads the patches that would come out: they are not computed.

        Returns:
            patches (B, Q, D_out) or None, class tokens (B, K, D_out).
        """
        q_tokens, k_tokens, v_tokens = self.qkv(tokens_BKD).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        k, v = self._keys_values(patches_BND, size)
        k = torch.cat((_norm(self.norm_k, k_tokens), k), dim=1)
        v = torch.cat((_norm(self.norm_v, v_tokens), v), dim=1)
        tokens = self.proj(_attend(_norm(self.norm_q, q_tokens, self.scale), k, v).flatten(2))
        if not read_patches:
            return None, tokens + self._without_effect() if torch.is_grad_enabled() else tokens

        k_size = pooled_size(size, self.stride_kv)
        codes = F.pad(
            key_codes(k_size, like=k), (0, -(k.shape[-1] + sum(k_size)) % KERNEL_MULTIPLE, k_tokens.shape[1], 0)
        )
        k = torch.cat((k, codes[None, :, None].expand(*k.shape[:3], -1)), dim=-1)
        v = F.pad(v, (0, codes.shape[-1]))
        q, query = self._queries(patches_BND, size, k_size, codes.shape[-1])
        # Residual pooling (MViTv2, eq. 5), on patches only.
        patches = torch.add(_attend(query, k, v)[..., : q.shape[-1]], q, alpha=1 / self.scale)
        return linear(patches.flatten(2), self.proj.weight, self.proj.bias), tokens

    def _keys_values(self, patches_BND: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Pooled keys and values, (B, N', H, C) each."""
        read, size, stride = take_read(patches_BND, size, self.kernel, self.stride_kv)
        kv = linear(read, self.qkv.weight[self.dim_out :], _part(self.qkv.bias, self.dim_out, None))
        weight = torch.cat([self._pool_weight(name) for name in "kv"])
        k, v = conv_pool(kv, weight, size, stride).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        return _norm(self.norm_k, k), _norm(self.norm_v, v)

    def _queries(self, patches_BND: Tensor, size: Size, k_size: Size, extra: int) -> tuple[Tensor, Tensor]:
        """Scaled queries (B, Q, H, C), and the same with their relative-position terms, padded to C + extra."""
        q = linear(patches_BND, self.qkv.weight[: self.dim_out], _part(self.qkv.bias, None, self.dim_out))
        if self.stride_q is not None:
            q = conv_pool(q, self._pool_weight("q"), size, self.stride_q)
            size = pooled_size(size, self.stride_q)
        q = _norm(self.norm_q, q.unflatten(-1, (self.num_heads, -1)), self.scale)
        tables = [table / self.scale for table in (self.rel_pos_t, self.rel_pos_h, self.rel_pos_w)]
        terms = query_terms(q, tables, size, k_size)
        padding = q.new_zeros(()).expand(*q.shape[:3], extra - sum(k_size))
        return q, torch.cat((q, *terms, padding), dim=-1)

    def _pool_weight(self, name: str) -> Tensor:
        # All heads share a kernel; repeated, one convolution pools them all where they stand.
        return self.get_parameter(f"pool_{name}.weight").repeat(self.num_heads, 1, 1, 1, 1)

    def _without_effect(self) -> Tensor:
        """Zero, for what only patches' queries use: so its gradient is zero and not absent, which DDP would wait for."""
        unread = [self.rel_pos_t, self.rel_pos_h, self.rel_pos_w, *self.pool_q.parameters()]
        return torch.stack([parameter.sum() for parameter in unread]).sum() * 0


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

    def forward(
        self, patches_BND: Tensor, tokens_BKD: Tensor, size: Size, read_patches: bool = True
    ) -> tuple[Tensor | None, Tensor, Size]:
        """Patches of (T, H, W) and class tokens through the block.

        Args:
            read_patches: False where nobody reads the patches that would come out: they are not computed.

        Returns:
            patches (B, Q, D_out) or None, class tokens (B, K, D_out), the (T, H, W) of the Q patches.
        """
        pooled = pooled_size(size, self.stride_q)
        normed_patches, normed_tokens = narrow(self.norm1(patches_BND)), narrow(self.norm1(tokens_BKD))
        patches, tokens = self.attn(normed_patches, normed_tokens, size, read_patches)
        # A sample is dropped as a whole: the same factors for its patches and class tokens.
        after_attention, after_mlp = self.drop_path.factors(tokens_BKD), self.drop_path.factors(tokens_BKD)
        tokens = add_branch(self._widen(tokens_BKD, normed_tokens), tokens, after_attention)
        tokens = add_branch(tokens, self.mlp(self.norm2(tokens)), after_mlp)
        if patches is None:
            return None, tokens, pooled
        shortcut = max_pool(self._widen(patches_BND, normed_patches), size, self.stride_q)
        patches = add_branch(shortcut, patches, after_attention)
        return add_branch(patches, self.mlp(self.norm2(patches)), after_mlp), tokens, pooled

    def _widen(self, x: Tensor, normed: Tensor) -> Tensor:
        if not isinstance(self.proj, nn.Linear):
            return x
        # Under automatic mixed precision the residual stream stays wide.
        return linear(normed, self.proj.weight, self.proj.bias).to(x.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (B, Q, H, C) to (B, N, H, C) -> (B, Q, H, C); q is scaled already."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2)


def _norm(norm: nn.Module, x: Tensor, scale: float = 1.0) -> Tensor:
    """norm(x) * scale, in x's type; the scale goes into the norm's few weights."""
    if not isinstance(norm, nn.LayerNorm):
        return x * scale
    out = F.layer_norm(widen(x), norm.normalized_shape, norm.weight * scale, norm.bias * scale, norm.eps)
    return out.to(x.dtype)


def _part(bias: Tensor | None, start: int | None, stop: int | None) -> Tensor | None:
    return None if bias is None else bias[start:stop]


def _depthwise(channels: int, kernel: Size, stride: Size) -> nn.Conv3d:
    t, h, w = (k // 2 for k in kernel)
    return nn.Conv3d(channels, channels, kernel, stride, (t, h, w), groups=channels, bias=False)
