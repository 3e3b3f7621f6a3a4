"""Two modalities in one model, both read in training and at test time: the multimodal fusions of the paper's table 6."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.errors import UserError
from transm3e.layers.attention import MultiScaleBlock
from transm3e.layers.common import widen
from transm3e.layers.transformer_block import TransformerBlock
from transm3e.models.deit import mean_score_logits
from transm3e.models.mvit import MViTBackbone, PatchEmbed, check_mvit
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model
from transm3e.models.two_branch_fusions import (
    AttentionFusion,
    Branch,
    BranchFusion,
    Clips,
    Combine,
    LateConcatFusion,
    LateFusion,
    PatchFusion,
)
from transm3e.registry import Registry, component

# Config -> fusion.
TWO_BRANCH_FUSIONS: Registry[Callable[[CfgNode], BranchFusion]] = Registry("TWO_BRANCH.FUSION")


@MODELS.register("TwoBranch")
class TwoBranch(Model):
    """MViTv2 on two modalities.

    Args:
        net: clips of both modalities -> logits (B, num_classes).
        modalities: the major one and the other.
    """

    config_keys = ("MVIT.", "TWO_BRANCH.")
    can_checkpoint = True

    def __init__(self, net: BranchFusion, modalities: tuple[str, str]) -> None:
        super().__init__()
        self.net, self.modalities, self.modality = net, modalities, modalities[0]
        # How load_weights renames the weights of one MViT.
        self.weight_mapping = {
            start: tuple(f"net.{name}" for name in names) for start, names in net.weight_mapping.items()
        }

    @classmethod
    def modalities_of(cls, cfg: CfgNode) -> list[str]:
        return list(_pair(cfg))

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        if cfg.DATA.MODALITY == cfg.TWO_BRANCH.MODALITY:
            raise UserError(
                f"both branches see {cfg.DATA.MODALITY}; set DATA.MODALITY or TWO_BRANCH.MODALITY to another"
            )
        check_mvit(cfg)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> TwoBranch:
        return cls(TWO_BRANCH_FUSIONS[cfg.TWO_BRANCH.FUSION](cfg), _pair(cfg))

    def forward(self, clips: Clips) -> ModelOutput:
        """clips of both modalities, (B, C, T, H, W) float each -> logits (B, num_classes)."""
        return ModelOutput(self.net(clips))


class PatchConcat(nn.Module):
    """Patches of both side by side, brought back to their width by a linear layer.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * dim, dim)

    def forward(self, one_BND: Tensor, other_BND: Tensor) -> Tensor:
        """(B, N, D) twice -> (B, N, D)."""
        return self.proj(torch.cat((one_BND, other_BND), dim=-1))


def product_score_logits(one: Tensor, other: Tensor) -> Tensor:
    """Logits (B, C) whose scores are the product of both models' scores, scaled so that they are probabilities again.

    That is the sum of the logits: of softmaxes p and q it has the softmax p q / sum(p q), of sigmoids the sigmoid
    p q / (p q + (1 - p)(1 - q)).
    """
    return widen(one) + widen(other)


def _build_late_sum(cfg: CfgNode) -> BranchFusion:
    of_each = component("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC).of_each
    return _build_late(cfg, partial(mean_score_logits, sigmoid=of_each))


def _build_late_concat(cfg: CfgNode) -> BranchFusion:
    branches = _build_branches(cfg)
    return LateConcatFusion(branches, _dims(branches), cfg.MODEL.NUM_CLASSES, cfg.MODEL.DROPOUT_RATE)


def _build_late(cfg: CfgNode, combine: Combine) -> BranchFusion:
    branches = _build_branches(cfg)
    return LateFusion(branches, _dims(branches), cfg.MODEL.NUM_CLASSES, combine, cfg.MODEL.DROPOUT_RATE)


def _build_attention(cfg: CfgNode, mixed: bool) -> BranchFusion:
    """Its cross-transformers are as wide as the backbones' last blocks, with their heads, MLP and drop path."""
    branches = _build_branches(cfg)
    heads = cast(MultiScaleBlock, branches[0].backbone.blocks[-1]).attn.num_heads
    options = {
        "qkv_bias": cfg.MVIT.QKV_BIAS,
        "dropout": cfg.MVIT.DROPOUT_RATE,
        "drop_path": cfg.MVIT.DROPPATH_RATE,
        "mlp_ratio": cfg.MVIT.MLP_RATIO,
    }
    blocks = [TransformerBlock(dim, heads, **options) for dim in _dims(branches)]
    return AttentionFusion(branches, blocks, cfg.MODEL.NUM_CLASSES, mixed, cfg.MODEL.DROPOUT_RATE)


def _build_patch(cfg: CfgNode, combine: Callable[[CfgNode], Combine]) -> BranchFusion:
    backbone, pair = MViTBackbone.from_cfg(cfg), _pair(cfg)
    other = PatchEmbed.from_cfg(_reading(cfg, pair[1]))
    return PatchFusion(backbone, other, pair, combine(cfg), cfg.MODEL.NUM_CLASSES, cfg.MODEL.DROPOUT_RATE)


def _build_branches(cfg: CfgNode) -> list[Branch]:
    return [Branch(MViTBackbone.from_cfg(_reading(cfg, name)), name) for name in _pair(cfg)]


def _dims(branches: list[Branch]) -> list[int]:
    return [branch.backbone.dim_out for branch in branches]


def _pair(cfg: CfgNode) -> tuple[str, str]:
    return cfg.DATA.MODALITY, cfg.TWO_BRANCH.MODALITY


def _reading(cfg: CfgNode, modality: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.MODALITY = modality
    return cfg


_BUILDERS: dict[str, Callable[[CfgNode], BranchFusion]] = {
    "late_sum": _build_late_sum,
    "late_mul": partial(_build_late, combine=product_score_logits),
    "late_concat": _build_late_concat,
    "cross_attention": partial(_build_attention, mixed=False),
    "mixed": partial(_build_attention, mixed=True),
    "pe_sum": partial(_build_patch, combine=lambda cfg: torch.add),
    "pe_mul": partial(_build_patch, combine=lambda cfg: torch.mul),
    "pe_concat": partial(_build_patch, combine=lambda cfg: PatchConcat(cfg.MVIT.EMBED_DIM)),
}
for _name, _build in _BUILDERS.items():
    TWO_BRANCH_FUSIONS.register(_name)(_build)
