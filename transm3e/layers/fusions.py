"""Fusions of MCTs with receivers (paper, table 5): two streams of tokens become one.

Every fusion is a module (mcts (B, K, D), receivers (B, K, D)) -> fused tokens (B, K, D), float. The three that are
transformer blocks share everything but who reads whom: pre-norm blocks of one head and MLP ratio 1, as MCTF has them
(D.3), with the usual factor head_dim^-0.5 on q.k, and the mean of the two streams at the end.
Parameters at TransM3E-S's width, D = 768, with its defaults, are given per class; MCTF has 10,131,456.
Shapes: B clips, K tokens of each stream, N bottleneck tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transm3e.layers.common import class_tokens
from transm3e.layers.token_fusion import TokenFusion
from transm3e.layers.transformer_block import TransformerBlock
from transm3e.registry import Registry


@dataclass(frozen=True)
class FusionSettings:
    """What fusions are built from; each reads what it needs.

    Attributes:
        num_tokens: K.
        dim: D.
        num_heads, qkv_bias, dropout, drop_path, mlp_ratio: of every fusion by attention.
        scale, maps, authors_view: of MCTF alone; see TokenFusion.
    """

    num_tokens: int
    dim: int
    num_heads: int
    qkv_bias: bool
    dropout: float
    drop_path: float
    mlp_ratio: float
    scale: float
    maps: Sequence[str]
    authors_view: bool


@dataclass(frozen=True)
class Fusion:
    """A fusion, and what it says of itself.

    Attributes:
        build: its module.
        learns: it has parameters.
        has_heads: it attends by MCTF.NUM_HEADS.
    """

    build: Callable[[FusionSettings], nn.Module]
    learns: bool = True
    has_heads: bool = True

    def __call__(self, settings: FusionSettings) -> nn.Module:
        return self.build(settings)


FUSIONS: Registry[Fusion] = Registry("TRANSM3E.FUSION")


class ElementwiseFusion(nn.Module):
    """The same operation on every pair of numbers; no parameters.

    Args:
        combine: (mcts, receivers) -> fused tokens. Sum and product are two of the rules of Roitberg et al. (2022),
            whose streams are class scores; here they are tokens.
    """

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.combine = combine

    def forward(self, mcts_BKD: Tensor, receivers_BKD: Tensor) -> Tensor:
        return self.combine(mcts_BKD, receivers_BKD)


class ConcatFusion(nn.Module):
    """A token's channels of both streams side by side, and one linear layer back to D: 1,180,416 parameters."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(2 * dim, dim)

    def forward(self, mcts_BKD: Tensor, receivers_BKD: Tensor) -> Tensor:
        return self.reduce(torch.cat((mcts_BKD, receivers_BKD), dim=-1))


class SelfAttentionFusion(nn.Module):
    """One block over all 2K tokens: "vanilla self-attention" of Nagrani et al. (2021), 3,546,624 parameters.

    Args:
        dim: D.
        block: arguments of TransformerBlock.
    """

    def __init__(self, dim: int, **block: Any) -> None:
        super().__init__()
        self.block = TransformerBlock(dim, **block)

    def forward(self, mcts_BKD: Tensor, receivers_BKD: Tensor) -> Tensor:
        both = self.block(torch.cat((mcts_BKD, receivers_BKD), dim=1))
        return mean(*both.chunk(2, dim=1))


class CrossAttentionFusion(nn.Module):
    """A block of its own for each stream, whose queries read the other stream's keys and values: 7,093,248 parameters.

    Nagrani et al. (2021) let the queries of a modality read both modalities in their cross-transformer, and allow for
    any two sequences. Here they read only the other: with both, the rows SelfAttention and CrossAttention would
    differ in shared or separate weights alone.

    Args:
        dim: D.
        block: arguments of TransformerBlock.
    """

    def __init__(self, dim: int, **block: Any) -> None:
        super().__init__()
        self.block_m = TransformerBlock(dim, **block)
        self.block_r = TransformerBlock(dim, **block)

    def forward(self, mcts_BKD: Tensor, receivers_BKD: Tensor) -> Tensor:
        return mean(self.block_m(mcts_BKD, receivers_BKD), self.block_r(receivers_BKD, mcts_BKD))


class BottleneckFusion(nn.Module):
    """Attention bottlenecks (Nagrani et al. 2021): the streams exchange through N tokens only: 14,189,568 parameters.

    In each layer either stream runs through its own block together with the bottleneck tokens, and the two results
    for those tokens are averaged. What one stream writes there the other reads a layer later, hence two layers: with
    one, nothing would be exchanged.

    Args:
        dim: D.
        num_bottlenecks: N; 4 there.
        depth: layers; 4 of the 12 there.
        block: arguments of TransformerBlock.
    """

    def __init__(self, dim: int, num_bottlenecks: int = 4, depth: int = 2, **block: Any) -> None:
        super().__init__()
        self.bottlenecks = class_tokens(num_bottlenecks, dim)
        self.blocks_m = nn.ModuleList(TransformerBlock(dim, **block) for _ in range(depth))
        self.blocks_r = nn.ModuleList(TransformerBlock(dim, **block) for _ in range(depth))

    def forward(self, mcts_BKD: Tensor, receivers_BKD: Tensor) -> Tensor:
        m, r, sizes = mcts_BKD, receivers_BKD, (mcts_BKD.shape[1], self.bottlenecks.shape[1])
        shared_BND = self.bottlenecks.expand(m.shape[0], -1, -1)
        for block_m, block_r in zip(self.blocks_m, self.blocks_r, strict=True):
            m, from_m = block_m(torch.cat((m, shared_BND), dim=1)).split(sizes, dim=1)
            r, from_r = block_r(torch.cat((r, shared_BND), dim=1)).split(sizes, dim=1)
            shared_BND = mean(from_m, from_r)
        return mean(m, r)


def mean(a: Tensor, b: Tensor) -> Tensor:
    """Half the sum of two tensors of one shape."""
    return (a + b) / 2


def _block(settings: FusionSettings) -> dict[str, Any]:
    names = ("num_heads", "qkv_bias", "dropout", "drop_path", "mlp_ratio")
    return {name: getattr(settings, name) for name in names}


FUSIONS.register("mean")(Fusion(lambda settings: ElementwiseFusion(mean), learns=False, has_heads=False))
FUSIONS.register("sum")(Fusion(lambda settings: ElementwiseFusion(torch.add), learns=False, has_heads=False))
FUSIONS.register("multiply")(Fusion(lambda settings: ElementwiseFusion(torch.mul), learns=False, has_heads=False))
FUSIONS.register("concat")(Fusion(lambda settings: ConcatFusion(settings.dim), has_heads=False))
FUSIONS.register("self_attention")(Fusion(lambda settings: SelfAttentionFusion(settings.dim, **_block(settings))))
FUSIONS.register("cross_attention")(Fusion(lambda settings: CrossAttentionFusion(settings.dim, **_block(settings))))
FUSIONS.register("bottleneck")(Fusion(lambda settings: BottleneckFusion(settings.dim, **_block(settings))))
FUSIONS.register("mctf")(Fusion(lambda settings: TokenFusion(**asdict(settings))))
