"""Attention of an MViT backbone's class tokens: of one block, or rolled out over all blocks.

Attention runs fused and keeps no weights; here softmax(q.k) is computed from the very queries and keys that a block
attends with, relative positions included, so that these are the weights that the model used.

Shapes: B clips, K class tokens, Q pooled queries, N keys (T'*H'*W'), H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from transm3e.explain.cam import enlarged, scaled
from transm3e.layers.attention import MultiScaleAttention
from transm3e.layers.pooling import pooled_size
from transm3e.layers.relative_position import Size

METHODS = ("rollout", "attention")


@dataclass
class Attended:
    """What one block attended to.

    Attributes:
        size, q_size, k_size: (T, H, W) of its patches, pooled queries and keys.
        weights: (B, K [+ Q], K + N) float32, mean over heads; rows of patches are missing in the last block.
    """

    size: Size = (0, 0, 0)
    q_size: Size = (0, 0, 0)
    k_size: Size = (0, 0, 0)
    rows: list[Tensor] = field(default_factory=list)

    @property
    def weights(self) -> Tensor:
        return torch.cat(self.rows, 1)


@contextmanager
def watch_attention(backbone: Any) -> Iterator[list[Attended]]:
    """Collect the attention of every block of an MViTBackbone during one forward pass."""
    found = [Attended() for _ in backbone.blocks]
    handles = []

    def watch(attn: MultiScaleAttention, seen: Attended) -> None:
        plain = attn._attend

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            dots = torch.einsum("bqhc,bnhc->bhqn", q.float(), k.float()) * attn.scale
            seen.rows.append(dots.softmax(-1).mean(1))
            return plain(q, k, v)

        def sizes(_: Any, args: tuple) -> None:
            seen.size = args[2]
            seen.q_size = pooled_size(seen.size, attn.stride_q or (1, 1, 1))
            seen.k_size = pooled_size(seen.size, attn.stride_kv)

        attn._attend = attend  # type: ignore[method-assign]
        handles.append(attn.register_forward_pre_hook(sizes))

    for block, seen in zip(backbone.blocks, found, strict=True):
        watch(block.attn, seen)
    try:
        yield found
    finally:
        for block in backbone.blocks:
            del block.attn._attend
        for handle in handles:
            handle.remove()


@torch.no_grad()
def token_attention(model: Any, clips: dict[str, Tensor], block: int = -1) -> Tensor:
    """Which patches each class token of a block reads: (B, K, T, H, W) in [0, 1], the largest value of each token 1."""
    with watch_attention(model.backbone) as found:
        model.eval()(clips)
    of, size = found[block], clips[model.modality].shape[2:]
    tokens = of.rows[0].shape[1]
    grid = of.rows[0][:, :, tokens:].unflatten(2, of.k_size)
    return scaled(enlarged(grid.flatten(0, 1), size)).unflatten(0, (-1, tokens))


@torch.no_grad()
def rollout(model: Any, clips: dict[str, Tensor]) -> Tensor:
    """Attention rollout (Abnar and Zuidema, ACL 2020): what reaches each class token through all blocks.

    Half of what a block passes on is attention, half its shortcut. A pooled key or query stands for the patches it was
    pooled from, in equal parts. Computed from the tokens backwards, so that no map of patches to patches is made.

    Returns:
        (B, K, T, H, W) in [0, 1], the largest value of each token 1.
    """
    with watch_attention(model.backbone) as found:
        model.eval()(clips)
    batch, tokens = found[-1].rows[0].shape[:2]
    share_of_tokens = torch.eye(tokens, device=found[-1].rows[0].device).expand(batch, -1, -1)
    share = torch.zeros(batch, tokens, prod(found[-1].q_size), device=share_of_tokens.device)
    for of in reversed(found):
        read = share_of_tokens @ of.rows[0]
        if len(of.rows) > 1:
            read = read + share @ of.rows[1]
        direct, through_keys = read.split([tokens, prod(of.k_size)], 2)
        share_of_tokens = (share_of_tokens + direct) / 2
        share = (_spread(share, of.q_size, of.size) + _spread(through_keys, of.k_size, of.size)) / 2
    grid = share.unflatten(2, found[0].size)
    return scaled(enlarged(grid.flatten(0, 1), clips[model.modality].shape[2:])).unflatten(0, (-1, tokens))


def _spread(share: Tensor, pooled: Size, size: Size) -> Tensor:
    """(B, K, prod(pooled)) -> (B, K, prod(size)): each cell's share in equal parts to those it was pooled from."""
    if pooled == size:
        return share
    number = torch.arange(prod(pooled), device=share.device, dtype=torch.float32).view(1, 1, *pooled)
    cell = functional.interpolate(number, size=size, mode="nearest").flatten().long()
    return (share / cell.bincount(minlength=prod(pooled)).clamp_min(1))[:, :, cell]


@torch.no_grad()
def token_similarity(model: Any, clips: dict[str, Tensor]) -> Tensor:
    """Cosine similarities of the class tokens after the last block, those of receivers first: (B, K, K) in [-1, 1]."""
    output = model.eval()(clips)
    last = torch.cat([part[-1] for part in (output.receivers, output.mcts) if part], 1)
    unit = functional.normalize(last.float(), dim=-1)
    return unit @ unit.transpose(1, 2)
