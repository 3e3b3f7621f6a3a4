"""TransM3E (paper, section 4): MViTv2 with MCTs, receivers and their fusion. No teacher and no loss live here.

With receivers off it is the paper's "only MCTs" model: stage 1 of either modality, and the teacher.
Shapes: B clips, K tokens of a kind, D width.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.errors import UserError
from transm3e.layers.common import class_tokens, init_weights
from transm3e.layers.fusions import FUSIONS, FusionSettings
from transm3e.layers.transformer_block import head_width
from transm3e.models.mvit import MViTBackbone, check_mvit, last_width
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model


@MODELS.register("TransM3E")
class TransM3E(Model):
    """MViTv2 whose prediction is read from its multi-classification tokens.

    Two readouts: the mean of the tokens and a linear layer (the paper, section 4); or token i averaged over its
    channels as the logit of class i, without a linear layer (Xu et al., CVPR 2022, MCTformer; tables 3 and 9). The
    latter has no last norm either, as there: behind it a token's channels average to 0, whatever the token.

    Args:
        backbone: with its own modality's channels.
        modality: the clip it reads; the auxiliary modality belongs to the teacher alone.
        num_classes: muscle regions.
        num_mcts: K.
        fusion: fuses MCTs with receivers after the last norm; None = no receivers.
        receiver_init: "normal" or "zeros".
        dropout: before the last linear layer, or of the tokens where there is none.
        readout: "mean" or "class_tokens", for which K must be num_classes.
    """

    config_keys = ("MVIT.", "TRANSM3E.", "MCTF.")
    can_checkpoint = True
    has_mcts = True
    new_in_stage_2 = ("receivers", "fusion.")

    def __init__(
        self,
        backbone: MViTBackbone,
        modality: str,
        num_classes: int,
        num_mcts: int,
        fusion: nn.Module | None = None,
        receiver_init: str = "normal",
        dropout: float = 0.0,
        readout: str = "mean",
    ) -> None:
        super().__init__()
        self.modality, self.num_mcts = modality, num_mcts
        self.backbone = backbone
        self.mcts = class_tokens(num_mcts, backbone.embed_dim)
        self.receivers = class_tokens(num_mcts, backbone.embed_dim, receiver_init) if fusion else None
        self.fusion = fusion
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.dim_out, num_classes) if readout == "mean" else None
        if self.head is None:
            assert num_mcts == num_classes, "a class is read from its own token"
            backbone.add_module("norm", nn.Identity())
            # Pretrained weights have both; loading drops them (transm3e.models.weights.rename.apply_weight_mapping).
            self.weight_mapping: dict[str, tuple[str, ...]] = {"backbone.norm.": (), "head.": ()}
        self.apply(init_weights)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        check_mvit(cfg)
        tokens, classes = cfg.TRANSM3E.NUM_MCTS, cfg.MODEL.NUM_CLASSES
        if cfg.TRANSM3E.READOUT == "class_tokens" and tokens != classes:
            raise UserError(
                f"TRANSM3E.READOUT class_tokens reads each class from its own token, but TRANSM3E.NUM_MCTS is {tokens} "
                f"and MODEL.NUM_CLASSES {classes}; make them equal, or set READOUT mean"
            )
        fusion, receivers = cfg.TRANSM3E.FUSION, cfg.TRANSM3E.RECEIVERS
        # A trained student is scored without a teacher.
        if receivers and cfg.TASK != "distill" and cfg.TRAIN.ENABLE and not FUSIONS[fusion].learns:
            raise UserError(
                f"TRANSM3E.RECEIVERS is True, but TASK {cfg.TASK} has no teacher; set TASK distill or RECEIVERS False"
            )
        if fusion != "mean" and not receivers:
            raise UserError(
                f"TRANSM3E.FUSION {fusion} fuses MCTs with receivers; set TRANSM3E.RECEIVERS True or FUSION mean"
            )

    @classmethod
    def has_receivers(cls, cfg: CfgNode) -> bool:
        return cfg.TRANSM3E.RECEIVERS

    @property
    def mct_shapes(self) -> list[tuple[int, int]]:
        return [(self.num_mcts, width) for width in self.backbone.widths]

    @classmethod
    def warnings_of(cls, cfg: CfgNode) -> Iterable[str]:
        # The authors' view has one head, whatever their number.
        one = cfg.TRANSM3E.FUSION == "mctf" and cfg.MCTF.AUTHORS_VIEW
        by_heads = FUSIONS[cfg.TRANSM3E.FUSION].has_heads and not one
        dim, heads = last_width(cfg), cfg.MCTF.NUM_HEADS
        if cfg.TRANSM3E.RECEIVERS and by_heads and dim % heads:
            width = head_width(dim, heads)
            yield (
                f"MCTF.NUM_HEADS {heads} does not divide {dim}, the width of the tokens: "
                f"each head is {width} wide, all together {heads * width}"
            )

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> TransM3E:
        backbone = MViTBackbone.from_cfg(cfg)
        return cls(
            backbone,
            modality=cfg.DATA.MODALITY,
            num_classes=cfg.MODEL.NUM_CLASSES,
            num_mcts=cfg.TRANSM3E.NUM_MCTS,
            fusion=_fusion_from_cfg(cfg, backbone.dim_out) if cfg.TRANSM3E.RECEIVERS else None,
            receiver_init=cfg.TRANSM3E.RECEIVER_INIT,
            dropout=cfg.MODEL.DROPOUT_RATE,
            readout=cfg.TRANSM3E.READOUT,
        )

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) float -> logits (B, num_classes), tokens before and after blocks."""
        if self.receivers is None or self.fusion is None:
            mcts, fused_BKD = self.backbone(clips[self.modality], self.mcts)
            return ModelOutput(self._classify(fused_BKD), mcts=mcts)
        # Order of the authors' code: receivers, MCTs, patches.
        tokens, last_BKD = self.backbone(clips[self.modality], torch.cat((self.receivers, self.mcts), dim=1))
        receivers, mcts = zip(*(t.split(self.num_mcts, dim=1) for t in tokens), strict=True)
        last_receivers, last_mcts = last_BKD.split(self.num_mcts, dim=1)
        logits = self._classify(self.fusion(last_mcts, last_receivers))
        return ModelOutput(logits, mcts=list(mcts), receivers=list(receivers))

    def _classify(self, tokens_BKD: Tensor) -> Tensor:
        if self.head is None:
            return self.dropout(tokens_BKD).mean(dim=2)
        return self.head(self.dropout(tokens_BKD.mean(dim=1)))


def _fusion_from_cfg(cfg: CfgNode, dim: int) -> nn.Module:
    settings = FusionSettings(
        num_tokens=cfg.TRANSM3E.NUM_MCTS,
        dim=dim,
        num_heads=cfg.MCTF.NUM_HEADS,
        qkv_bias=cfg.MCTF.QKV_BIAS,
        dropout=cfg.MCTF.DROPOUT,
        drop_path=cfg.MCTF.DROPPATH_RATE,
        mlp_ratio=cfg.MCTF.MLP_RATIO,
        scale=cfg.MCTF.SCALE,
        maps=cfg.MCTF.MAPS,
        authors_view=cfg.MCTF.AUTHORS_VIEW,
    )
    return FUSIONS[cfg.TRANSM3E.FUSION](settings)
