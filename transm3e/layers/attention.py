"""Multi-scale attention with pooled q, k, v and decomposed relative positions, and its block (MViTv2).

Shapes: B clips, H heads, C channels of a head, K class tokens, N patches (T*H*W), Q pooled patches, D width.
Class tokens and patches are kept apart: class tokens skip the pooling and carry no relative position.
Parameter names are PySlowFast's.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transm3e.layers.common import INIT_STD, NORM_EPS, DropPath, add_branch, narrow
from transm3e.layers.linear import linear
from transm3e.layers.mlp import Mlp
from transm3e.layers.pooling import conv_pool, max_pool, pooled_size, take_read
from transm3e.layers.relative_position import Positions, Size, table_length

# Fused attention kernels want head dimensions that are multiples of 8.
KERNEL_MULTIPLE = 8
# GPUs from here on have kernels of flash attention, in half precision.
FLASH_CAPABILITY = (8, 0)


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
        self._made: dict[Any, Positions] = {}

    def forward(
        self, patches_BND: Tensor, tokens_BKD: Tensor, size: Size, read_patches: bool = True
    ) -> tuple[Tensor | None, Tensor]:
        """Patches of (T, H, W) and class tokens -> the same, attended to and pooled.

        Args:
            read_patches: False where nobody reads the patches that would come out: they are not computed.

        Returns:
            patches (B, Q, D_out) or None, class tokens (B, K, D_out).
        """
        weights = self._weights()
        q_weight, kv_weight = weights["qkv.weight"].split([self.dim_out, 2 * self.dim_out])
        bias = weights.get("qkv.bias")
        q_bias, kv_bias = (None, None) if bias is None else bias.split([self.dim_out, 2 * self.dim_out])
        parts = linear(tokens_BKD, weights["qkv.weight"], bias).unflatten(-1, (3, self.num_heads, -1))
        q_tokens, k_tokens, v_tokens = parts.unbind(2)
        k, v = self._keys_values(patches_BND, size, weights, kv_weight, kv_bias)
        # One norm of both, in the copy that makes them one sequence.
        k, v = (
            self._norm(name, torch.cat(pair, 1), weights) for name, *pair in (("k", k_tokens, k), ("v", v_tokens, v))
        )
        positions = self._positions(size, k_tokens.shape[1], k)
        k = torch.cat((k, positions.codes[None, :, None].expand(k.shape[0], k.shape[1], k.shape[2], -1)), dim=-1)
        v = F.pad(v, (0, positions.extra)) if _must_be_as_wide(v) else v
        q_tokens = F.pad(self._norm("q", q_tokens, weights), (0, positions.extra))
        proj = weights["proj.weight"], weights["proj.bias"]
        tokens = linear(self._attend(q_tokens, k, v).flatten(2), *proj)
        if not read_patches:
            return None, tokens + self._without_effect() if torch.is_grad_enabled() else tokens

        q = linear(patches_BND, q_weight, q_bias)
        if self.stride_q is not None:
            q = conv_pool(q, _repeated(self.num_heads, weights["pool_q.weight"]), size, self.stride_q)
        q = self._norm("q", q.unflatten(-1, (self.num_heads, -1)), weights)
        query, q = positions.queries(q, (self.rel_pos_t, self.rel_pos_h, self.rel_pos_w), 1 / self.scale)
        # Residual pooling (MViTv2, eq. 5), on patches only.
        patches = self._attend(query, k, v) + q
        return linear(patches.flatten(2), *proj), tokens

    def _weights(self) -> dict[str, Tensor]:
        """All but the tables, which are scaled first, in the type that they are multiplied in."""
        named = {name: weight for name, weight in self.named_parameters() if not name.startswith("rel_pos")}
        return dict(zip(named, narrow(*named.values()), strict=True))

    def _positions(self, size: Size, tokens: int, like: Tensor) -> Positions:
        q_size, k_size = pooled_size(size, self.stride_q or (1, 1, 1)), pooled_size(size, self.stride_kv)
        make = partial(Positions, q_size, k_size, tokens, like.shape[-1], KERNEL_MULTIPLE, like.dtype, like.device)
        if torch.compiler.is_compiling():
            return make()
        key = (size, tokens, like.dtype, like.device)
        if key not in self._made:
            # They may be made in evaluation and serve training.
            with torch.inference_mode(False):
                self._made[key] = make()
        return self._made[key]

    def _keys_values(
        self, patches_BND: Tensor, size: Size, weights: dict[str, Tensor], weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Pooled keys and values, (B, N', H, C) each, before their norms."""
        read, size, stride = take_read(patches_BND, size, self.kernel, self.stride_kv)
        pool = _repeated(self.num_heads, weights["pool_k.weight"], weights["pool_v.weight"])
        pooled = conv_pool(linear(read, weight, bias), pool, size, stride)
        return pooled.unflatten(-1, (2, self.num_heads, -1)).unbind(2)

    def _norm(self, name: str, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """The norm of q, k or v in x's type, its sums in float32."""
        norm = getattr(self, f"norm_{name}")
        if not isinstance(norm, nn.LayerNorm):
            return x
        # Beside wide weights, which only CPUs take, mean and deviation are kept wide, too.
        own = (norm.weight, norm.bias)
        weight, bias = (
            own if x.device.type == "cpu" else (weights[f"norm_{name}.{part}"] for part in ("weight", "bias"))
        )
        # The meta device has no autocast.
        with nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of (B, Q, H, C + extra) to (B, N, H, C + extra) -> (B, Q, H, C); v may be padded or not."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale).transpose(1, 2)
        width = self.dim_out // self.num_heads
        return out if out.shape[-1] == width else out[..., :width]

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
        normed_patches, normed_tokens = narrow(self.norm1(patches_BND), self.norm1(tokens_BKD))
        patches, tokens = self.attn(normed_patches, normed_tokens, size, read_patches)
        # A sample is dropped as a whole: the same factors for its patches and class tokens.
        after_attention, after_mlp = self.drop_path.factors(tokens_BKD), self.drop_path.factors(tokens_BKD)
        shortcut, wide = tokens_BKD, patches_BND
        if isinstance(self.proj, nn.Linear):
            weights = narrow(self.proj.weight, self.proj.bias)
            shortcut, wide = (linear(normed, *weights) for normed in (normed_tokens, normed_patches))
        tokens = add_branch(shortcut.to(tokens_BKD.dtype), tokens, after_attention)
        weights = self.mlp.weights()
        if patches is None:
            return None, add_branch(tokens, self.mlp(self.norm2(tokens), weights), after_mlp), pooled
        # Under automatic mixed precision the residual stream stays wide.
        patches = add_branch(max_pool(wide, size, self.stride_q).to(patches_BND.dtype), patches, after_attention)
        normed_tokens, normed_patches = narrow(self.norm2(tokens), self.norm2(patches))
        tokens = add_branch(tokens, self.mlp(normed_tokens, weights), after_mlp)
        return add_branch(patches, self.mlp(normed_patches, weights), after_mlp), tokens, pooled


def _must_be_as_wide(v: Tensor) -> bool:
    """Whether a kernel that is faster than the memory-efficient one takes these values if they are as wide as the keys."""
    if v.device.type != "cuda" or torch.compiler.is_compiling():
        return True
    return v.dtype in (torch.float16, torch.bfloat16) and torch.cuda.get_device_capability(v.device) >= FLASH_CAPABILITY


def _repeated(heads: int, *weights: Tensor) -> Tensor:
    """Kernels (C, 1, kt, kh, kw) that all heads share, for each head: one convolution pools them all where they stand."""
    whole = torch.stack(weights) if len(weights) > 1 else weights[0][None]
    return whole[:, None].expand(-1, heads, *(-1,) * whole[0].dim()).flatten(0, 2)


def _depthwise(channels: int, kernel: Size, stride: Size) -> nn.Conv3d:
    t, h, w = (k // 2 for k in kernel)
    return nn.Conv3d(channels, channels, kernel, stride, (t, h, w), groups=channels, bias=False)
