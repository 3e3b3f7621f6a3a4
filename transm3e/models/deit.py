"""DeiT's distillation token (Touvron et al., ICML 2021, section 4) on MViTv2: a baseline of table 6.

Shapes: B clips, C classes, D width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.layers.common import class_tokens, init_weights, widen
from transm3e.models.mvit import MViTBackbone, check_mvit
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model
from transm3e.registry import component


def mean_score_logits(one: Tensor, other: Tensor, sigmoid: bool = False) -> Tensor:
    """Logits whose scores are the mean of two heads' scores, as DeiT adds the heads' softmaxes.

    Args:
        one, other: logits (B, C); computed in float32 or better.
        sigmoid: scores are sigmoids, independent for each class; else the softmax over the classes.

    Returns:
        (B, C): the logarithm of the mean probability, or its log odds.
    """
    one, other = widen(one), widen(other)
    if sigmoid:
        yes = torch.logaddexp(F.logsigmoid(one), F.logsigmoid(other))
        return yes - torch.logaddexp(F.logsigmoid(-one), F.logsigmoid(-other))
    return torch.logaddexp(one.log_softmax(dim=1), other.log_softmax(dim=1)) - math.log(2)


@MODELS.register("DeiT")
class DeiT(Model):
    """MViTv2 with a class token and a distillation token, a linear head on each; it predicts the mean of their scores.

    Args:
        backbone: with its own modality's channels.
        modality: the clip it reads.
        num_classes: width of the output.
        dropout: before the linear layers.
        sigmoid: as mean_score_logits.
    """

    config_keys = ("MVIT.",)
    can_checkpoint = True
    has_distill_head = True
    also_starts_from = ("MViT",)
    new_in_stage_2 = ("dist_token", "head_dist.")

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        check_mvit(cfg)

    def __init__(
        self, backbone: MViTBackbone, modality: str, num_classes: int, dropout: float = 0.0, sigmoid: bool = False
    ) -> None:
        super().__init__()
        self.modality, self.sigmoid = modality, sigmoid
        self.backbone = backbone
        self.cls_token = class_tokens(1, backbone.embed_dim)
        self.dist_token = class_tokens(1, backbone.embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.dim_out, num_classes)
        self.head_dist = nn.Linear(backbone.dim_out, num_classes)
        self.apply(init_weights)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> DeiT:
        return cls(
            MViTBackbone.from_cfg(cfg),
            cfg.DATA.MODALITY,
            cfg.MODEL.NUM_CLASSES,
            cfg.MODEL.DROPOUT_RATE,
            sigmoid=component("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC).of_each,
        )

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) float -> logits (B, num_classes), fused and of each head."""
        both_12D = torch.cat((self.cls_token, self.dist_token), dim=1)
        _, tokens_B2D = self.backbone(clips[self.modality], both_12D)
        tokens_B2D = self.dropout(tokens_B2D)
        by_class, by_distill = self.head(tokens_B2D[:, 0]), self.head_dist(tokens_B2D[:, 1])
        fused = mean_score_logits(by_class, by_distill, self.sigmoid)
        return ModelOutput(fused, class_logits=by_class, distill_logits=by_distill)
