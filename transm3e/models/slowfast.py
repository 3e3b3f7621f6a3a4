"""SlowFast (Feichtenhofer et al., ICCV 2019) on pytorchvideo's net; a baseline of table 2.

Shapes: B clips, C channels, T frames of H x W pixels, S frames of the slow pathway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from transm3e.errors import UserError
from transm3e.modalities import MODALITIES
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model, See
from transm3e.models.resnet3d import (
    ARCHS,
    check_bottleneck,
    common_args,
    find_builder,
    finish,
    read_temporal_blocks,
    stage_kernels,
    temporal_kernels,
)

# Temporal kernel sizes of the stages of each pathway; the fast one has temporal kernels in all blocks.
SLOW, FAST = ARCHS["slow"].stages, ((3,),) * 4


@MODELS.register("SlowFast")
class SlowFast(Model):
    """Two ResNets, one of few frames and many channels, one the other way round, joined after every stage.

    pytorchvideo's net is `net`. SlowFast 8x8 is 32 frames with alpha 4 and a fusion kernel of 7; 4x16 is 32 frames
    with alpha 8 and a kernel of 5. See ResNet3D for the head's windows.

    Args:
        num_classes: width of the output.
        alpha: frames of the fast pathway for each of the slow one.
        beta_inv: channels of the slow pathway for each of the fast one.
        fusion_ratio: channels that go from fast to slow, in those of the fast pathway.
        fusion_kernel: frames of the fusion's kernel, odd.
        depth, width, dropout, fc_init_std, zero_init_final_bn, act_checkpoint, modality, temporal_blocks, window, sigmoid:
            see ResNet3D; the width is that of the slow pathway, and temporal_blocks may hold a number for each pathway.

    Raises:
        UserError: unknown depth, a width that beta_inv does not divide, an even kernel, numbers below 1, or
            pytorchvideo does not import.
    """

    config_keys = ("RESNET.", "SLOWFAST.")
    can_checkpoint = True
    # As ResNet3D's.
    some_blocks: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: int,
        alpha: int = 4,
        beta_inv: int = 8,
        fusion_ratio: int = 2,
        fusion_kernel: int = 7,
        depth: int = 50,
        width: int = 64,
        dropout: float = 0.0,
        fc_init_std: float = 0.01,
        zero_init_final_bn: bool = True,
        act_checkpoint: bool = False,
        modality: str = "rgb",
        temporal_blocks: Sequence[int | Sequence[int]] | None = None,
        window: int = 0,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        _check_ratios(width, alpha, beta_inv, fusion_ratio, fusion_kernel)
        self.alpha, self.modality = alpha, modality
        self.net = find_builder("create_slowfast")(
            slowfast_channel_reduction_ratio=(beta_inv,),
            slowfast_conv_channel_fusion_ratio=fusion_ratio,
            slowfast_fusion_conv_kernel_size=(fusion_kernel, 1, 1),
            slowfast_fusion_conv_stride=(alpha, 1, 1),
            input_channels=(MODALITIES[modality].channels,) * 2,
            model_depth=depth,
            stage_conv_a_kernel_sizes=[
                stage_kernels(stages, depth, temporal_blocks, pathway, 2) for pathway, stages in enumerate((SLOW, FAST))
            ],
            model_num_class=num_classes,
            dropout_rate=dropout,
            stem_dim_outs=(width, width // beta_inv),
            head_pool=nn.AdaptiveAvgPool3d,
        )
        finish(self.net, fc_init_std, zero_init_final_bn, act_checkpoint, window, sigmoid)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        check_bottleneck(cfg)
        temporal_kernels(cfg.RESNET.DEPTH, read_temporal_blocks(cfg, cls.some_blocks), 2)
        alpha, ratio = cfg.SLOWFAST.ALPHA, cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO
        _check_ratios(cfg.RESNET.WIDTH_PER_GROUP, alpha, cfg.SLOWFAST.BETA_INV, ratio, cfg.SLOWFAST.FUSION_KERNEL_SZ)
        slow_indices(cfg.DATA.NUM_FRAMES, alpha)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> SlowFast:
        return cls(
            alpha=cfg.SLOWFAST.ALPHA,
            beta_inv=cfg.SLOWFAST.BETA_INV,
            fusion_ratio=cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO,
            fusion_kernel=cfg.SLOWFAST.FUSION_KERNEL_SZ,
            temporal_blocks=read_temporal_blocks(cfg, cls.some_blocks),
            **common_args(cfg),
        )

    def watch_features(self, see: See) -> RemovableHandle:
        # The slow pathway after its last stage, before both are pooled and joined.
        blocks: Any = self.net.blocks
        return blocks[-3].register_forward_hook(lambda _, __, out: see(out[0], lambda x: x) and None)

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) float, T a multiple of alpha, any H and W -> logits (B, num_classes).

        Raises:
            UserError: alpha does not divide T.
        """
        x_BCTHW = clips[self.modality]
        # The net writes into the list.
        return ModelOutput(self.net([slow_frames(x_BCTHW, self.alpha), x_BCTHW]))


@MODELS.register("PTVSlowFast")
class PTVSlowFast(SlowFast):
    """PySlowFast's name of the same net as pytorchvideo builds it: RESNET.NUM_BLOCK_TEMP_KERNEL is not read."""

    also_starts_from = ("SlowFast",)
    some_blocks = False


def slow_frames(x_BCTHW: Tensor, alpha: int) -> Tensor:
    """What the slow pathway sees of a clip: (B, C, T, H, W) -> (B, C, T / alpha, H, W); see slow_indices."""
    indices_S = slow_indices(x_BCTHW.shape[2], alpha)
    return x_BCTHW.index_select(2, indices_S.to(x_BCTHW.device, non_blocking=True))


def slow_indices(frames: int, alpha: int) -> Tensor:
    """The slow pathway's frames: as PySlowFast and pytorchvideo, from the first to the last, rounded down.

    Args:
        frames: of the clip.
        alpha: SLOWFAST.ALPHA.

    Returns:
        (frames / alpha,) int64 on the CPU; 0, 4, 8, 13, 17, 22, 26, 31 for 32 frames and alpha 4.

    Raises:
        UserError: alpha does not divide the frames.
    """
    if frames < 1 or frames % alpha:
        raise UserError(
            f"a clip has {frames} frames, which SLOWFAST.ALPHA {alpha} does not divide; "
            f"set DATA.NUM_FRAMES to a multiple of {alpha}, or ALPHA to a divisor of it"
        )
    # In float32 on the CPU, as they do: elsewhere a number may round to the other side.
    return torch.linspace(0, frames - 1, frames // alpha, dtype=torch.float32, device="cpu").long()


def _check_ratios(width: int, alpha: int, beta_inv: int, fusion_ratio: int, fusion_kernel: int) -> None:
    numbers = {"ALPHA": alpha, "BETA_INV": beta_inv, "FUSION_CONV_CHANNEL_RATIO": fusion_ratio}
    for key, number in numbers.items():
        if number < 1:
            raise UserError(f"SLOWFAST.{key} is {number}; it must be 1 or more")
    if fusion_kernel < 1 or fusion_kernel % 2 == 0:
        raise UserError(f"SLOWFAST.FUSION_KERNEL_SZ is {fusion_kernel}; allowed: odd numbers of frames, as 7")
    if width % beta_inv:
        raise UserError(
            f"RESNET.WIDTH_PER_GROUP {width} must be a multiple of SLOWFAST.BETA_INV {beta_inv}: the fast pathway has "
            "1 / BETA_INV of the channels; change one of them"
        )
