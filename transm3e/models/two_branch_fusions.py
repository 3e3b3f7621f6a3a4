"""Fusions of two modalities (paper, table 6): of scores, of class tokens, by attention, of embedded patches.

The paper names and cites them; its published code has none of them. B clips, N patches, K tokens, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from transm3e.layers.common import class_tokens, init_weights
from transm3e.layers.relative_position import Size
from transm3e.layers.transformer_block import TransformerBlock
from transm3e.models.mvit import MViTBackbone

Clips = dict[str, Tensor]
# Two tensors of one shape -> one of that shape.
Combine = Callable[[Tensor, Tensor], Tensor]
# Beginning of a name of one MViT's weights -> beginnings that replace it; () = the weight is dropped.
WeightMapping = dict[str, tuple[str, ...]]
IN_BOTH: WeightMapping = {
    "backbone.": ("branches.0.backbone.", "branches.1.backbone."),
    "cls_token": ("branches.0.cls_token", "branches.1.cls_token"),
}


class Branch(nn.Module):
    """MViTv2 of one modality with a class token, without a classifier.

    Args:
        backbone: with the modality's channels.
        modality: the clip it reads.
    """

    def __init__(self, backbone: MViTBackbone, modality: str) -> None:
        super().__init__()
        self.backbone, self.modality = backbone, modality
        self.cls_token = class_tokens(1, backbone.embed_dim)

    def forward(self, clips: Clips) -> Tensor:
        """The class token after the last norm, (B, D)."""
        return self.backbone(clips[self.modality], self.cls_token)[1][:, 0]

    def tokens(self, clips: Clips) -> Tensor:
        """The class token and then the patches of the last block, before the last norm, (B, 1 + N, D)."""
        per_block, patches = self.backbone.encode(clips[self.modality], self.cls_token, read_patches=True)
        assert patches is not None
        return torch.cat((per_block[-1], patches), dim=1)


class BranchFusion(nn.Module):
    """Clips of both modalities -> logits (B, C)."""

    weight_mapping: ClassVar[WeightMapping]


class LateFusion(BranchFusion):
    """Two whole classifiers whose scores are fused (decision-level fusion, Roitberg et al., IV 2022).

    Args:
        branches: two modules, clips -> (B, D).
        dims: their D.
        num_classes: C.
        combine: logits (B, C) of both -> logits.
        dropout: before the linear layers.
    """

    weight_mapping: ClassVar[WeightMapping] = {**IN_BOTH, "head.": ("heads.0.", "heads.1.")}

    def __init__(
        self,
        branches: Sequence[nn.Module],
        dims: Sequence[int],
        num_classes: int,
        combine: Combine,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.branches, self.combine = nn.ModuleList(branches), combine
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(dim, num_classes) for dim in dims)
        self.apply(init_weights)

    def forward(self, clips: Clips) -> Tensor:
        pairs = zip(self.branches, self.heads, strict=True)
        one, other = (head(self.dropout(branch(clips))) for branch, head in pairs)
        return self.combine(one, other)


class LateConcatFusion(BranchFusion):
    """The class tokens of two branches side by side, and one linear layer.

    Args:
        branches, dims, num_classes, dropout: as in LateFusion.
    """

    weight_mapping: ClassVar[WeightMapping] = {**IN_BOTH, "head.": ()}

    def __init__(
        self, branches: Sequence[nn.Module], dims: Sequence[int], num_classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.branches, self.dropout = nn.ModuleList(branches), nn.Dropout(dropout)
        self.head = nn.Linear(sum(dims), num_classes)
        self.apply(init_weights)

    def forward(self, clips: Clips) -> Tensor:
        return self.head(self.dropout(torch.cat([branch(clips) for branch in self.branches], dim=-1)))


class AttentionFusion(BranchFusion):
    """Two branches; after their last blocks each class token attends to the tokens of the other branch, or of both.

    Nagrani et al.'s (NeurIPS 2021) fusion without a bottleneck, in one layer, the last: each modality has a
    cross-transformer of its own; then one linear layer for both class tokens, whose logits are averaged: those of the
    mean of the tokens. Nothing but the class tokens is read behind it, so only they are computed.

    Args:
        branches: two Branches of one D.
        blocks: their cross-transformers.
        num_classes: C.
        mixed: False: keys and values are the other branch's tokens (cross attention). True: those of both, so that one
            softmax weighs the own tokens against the other's (mixed attention).
        dropout: before the linear layer.
    """

    weight_mapping: ClassVar[WeightMapping] = {**IN_BOTH, "head.": ("head.",)}

    def __init__(
        self,
        branches: Sequence[Branch],
        blocks: Sequence[TransformerBlock],
        num_classes: int,
        mixed: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.branches, self.blocks, self.mixed = nn.ModuleList(branches), nn.ModuleList(blocks), mixed
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(branches[0].backbone.dim_out, num_classes)
        self.apply(init_weights)

    def forward(self, clips: Clips) -> Tensor:
        branches = [cast(Branch, branch) for branch in self.branches]
        tokens = [branch.tokens(clips) for branch in branches]
        contexts = [torch.cat(tokens, dim=1)] * 2 if self.mixed else tokens[::-1]
        read = [
            branch.backbone.norm(block(own_BND[:, :1], context))
            for branch, block, own_BND, context in zip(branches, self.blocks, tokens, contexts, strict=True)
        ]
        return self.head(self.dropout((read[0] + read[1])[:, 0] / 2))


class PatchFusion(BranchFusion):
    """Two patch embeddings whose patches are fused one by one; one backbone and classifier behind.

    Args:
        backbone: with the first modality's patch embedding.
        other: the patch embedding of the second modality.
        modalities: the clips they read.
        combine: patches (B, N, D) of both -> (B, N, D).
        num_classes: C.
        dropout: before the linear layer.
    """

    weight_mapping: ClassVar[WeightMapping] = {"backbone.patch_embed.": ("backbone.patch_embed.", "other."), "": ("",)}

    def __init__(
        self,
        backbone: MViTBackbone,
        other: nn.Module,
        modalities: tuple[str, str],
        combine: Combine,
        num_classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone, self.other, self.modalities, self.combine = backbone, other, modalities, combine
        self.cls_token = class_tokens(1, backbone.embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.dim_out, num_classes)
        self.apply(init_weights)

    def forward(self, clips: Clips) -> Tensor:
        per_block, _ = self.backbone.encode(clips, self.cls_token, embed=self._embed)
        return self.head(self.dropout(self.backbone.norm(per_block[-1])[:, 0]))

    def _embed(self, clips: Clips) -> tuple[Tensor, Size]:
        one, other = (clips[name] for name in self.modalities)
        patches, size = self.backbone.patch_embed(one)
        return self.combine(patches, self.other(other)[0]), size
