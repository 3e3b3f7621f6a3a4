"""Video Swin Transformer (Liu et al., CVPR 2022) on torchvision's SwinTransformer3d; a baseline of table 2.

Shapes: B clips, C channels, T frames, (T', H', W') patches, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from transm3e.errors import UserError
from transm3e.modalities import MODALITIES
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model, See


@MODELS.register("VideoSwin")
class VideoSwin(Model):
    """Attention within windows of patches, shifted by half a window in every second block; the mean of all patches.

    Clips of any size go in. Frames and patches are filled up with zeros to whole patches and windows, and these zeros
    take part in attention where windows are not shifted. A clip smaller than a window in time or space has one window
    of its own size there, not shifted. Positions are then still told apart rightly in time; in space they are read as
    those of the large window's first patches, as in the authors' code, so for small clips choose a smaller window.

    Args:
        modality: the clip it reads, with its channels.
        num_classes: width of the output.
        patch_size, window_size: (t, h, w) in frames and pixels, and in patches.
        embed_dim: width of the first stage; it doubles from stage to stage, while sides halve.
        depths, num_heads: of each stage; together two blocks at least.
        mlp_ratio: width of the MLP in block widths.
        dropout, attention_dropout: of tokens, outputs of attention and MLPs; of attention weights.
        drop_path: rate at the last block, rising linearly from 0 at the first.
        head_dropout: before the last linear layer; torchvision has none.
        act_checkpoint: keep only each block's input for the backward pass and compute the block again there.

    Raises:
        UserError: one block only.
    """

    config_keys = ("VIDEOSWIN.",)
    can_checkpoint = True

    def __init__(
        self,
        modality: str,
        num_classes: int,
        patch_size: Sequence[int] = (2, 4, 4),
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: Sequence[int] = (8, 7, 7),
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.1,
        head_dropout: float = 0.0,
        act_checkpoint: bool = False,
    ) -> None:
        # Here, as importing torchvision doubles the time that a program takes to start, and no other model needs it.
        from torchvision.models.video.swin_transformer import PatchEmbed3d, SwinTransformer3d

        super().__init__()
        if sum(depths) < 2:
            raise UserError(f"VIDEOSWIN.DEPTHS is {list(depths)}; it must name two blocks at least, as [2]")
        self.modality, self.act_checkpoint = modality, act_checkpoint
        self.net = SwinTransformer3d(
            patch_size=list(patch_size),
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=list(window_size),
            mlp_ratio=mlp_ratio,
            dropout=dropout,
            attention_dropout=attention_dropout,
            stochastic_depth_prob=drop_path,
            num_classes=num_classes,
            patch_embed=partial(PatchEmbed3d, in_channels=MODALITIES[modality].channels),
        )
        self.dropout = nn.Dropout(head_dropout)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        depths, heads = cfg.VIDEOSWIN.DEPTHS, cfg.VIDEOSWIN.NUM_HEADS
        for key, value in (("DEPTHS", depths), ("NUM_HEADS", heads)):
            if not value or not all(type(number) is int and number >= 1 for number in value):
                raise UserError(f"VIDEOSWIN.{key} is {value}; it must be a list of whole numbers, one for each stage")
        if len(depths) != len(heads):
            raise UserError(f"VIDEOSWIN.DEPTHS {depths} and NUM_HEADS {heads} must have one number for each stage")
        for stage, count in enumerate(heads):
            if cfg.VIDEOSWIN.EMBED_DIM * 2**stage % count:
                raise UserError(
                    f"VIDEOSWIN.NUM_HEADS is {heads}, but {count} heads do not divide {cfg.VIDEOSWIN.EMBED_DIM * 2**stage}, the "
                    f"width of stage {stage + 1}; change NUM_HEADS or VIDEOSWIN.EMBED_DIM"
                )

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> VideoSwin:
        return cls(
            modality=cfg.DATA.MODALITY,
            num_classes=cfg.MODEL.NUM_CLASSES,
            patch_size=cfg.VIDEOSWIN.PATCH_SIZE,
            embed_dim=cfg.VIDEOSWIN.EMBED_DIM,
            depths=cfg.VIDEOSWIN.DEPTHS,
            num_heads=cfg.VIDEOSWIN.NUM_HEADS,
            window_size=cfg.VIDEOSWIN.WINDOW_SIZE,
            mlp_ratio=cfg.VIDEOSWIN.MLP_RATIO,
            dropout=cfg.VIDEOSWIN.DROPOUT_RATE,
            attention_dropout=cfg.VIDEOSWIN.ATTENTION_DROPOUT_RATE,
            drop_path=cfg.VIDEOSWIN.DROPPATH_RATE,
            head_dropout=cfg.MODEL.DROPOUT_RATE,
            act_checkpoint=cfg.MODEL.ACT_CHECKPOINT,
        )

    def watch_features(self, see: See) -> RemovableHandle:
        return self.net.norm.register_forward_hook(
            lambda _, __, out: see(out, lambda x: x.permute(0, 4, 1, 2, 3)) and None
        )

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) float -> logits (B, num_classes)."""
        x_BTHWD = self.net.pos_drop(self.net.patch_embed(clips[self.modality]))
        for stage in self.net.features:
            # A stage of blocks, or the merging of patches between two stages.
            for layer in stage if isinstance(stage, nn.Sequential) else (stage,):
                x_BTHWD = self._run(layer, x_BTHWD)
        features_BD = self.net.avgpool(self.net.norm(x_BTHWD).permute(0, 4, 1, 2, 3)).flatten(1)
        return ModelOutput(self.net.head(self.dropout(features_BD)))

    def _run(self, layer: nn.Module, x: Tensor) -> Tensor:
        if self.act_checkpoint and torch.is_grad_enabled():
            return checkpoint(layer, x, use_reentrant=False)
        return layer(x)
