"""X3D (Feichtenhofer 2020), CSN (Tran et al. 2019) and R(2+1)D (Tran et al. 2018) on pytorchvideo's nets, as PySlowFast's PTV models.

Shapes: B clips, C channels, T frames of H x W pixels.
"""

from __future__ import annotations

from typing import Any, ClassVar

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from transm3e.errors import UserError
from transm3e.modalities import MODALITIES
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model, See
from transm3e.models.resnet3d import (
    check_bottleneck,
    check_depth,
    common_args,
    find_builder,
    finish,
    net_args,
    watch_last_stage,
)


class PytorchvideoNet(Model):
    """A net of one of pytorchvideo's builders as `net`, with the head's windows of ResNet3D.

    Args:
        num_classes, dropout, fc_init_std, zero_init_final_bn, act_checkpoint, modality, window, sigmoid: see ResNet3D.
        settings: further arguments of the builder.

    Raises:
        UserError: pytorchvideo does not import.
    """

    builder: ClassVar[str]
    can_checkpoint = True

    def __init__(
        self,
        num_classes: int,
        dropout: float = 0.0,
        fc_init_std: float = 0.01,
        zero_init_final_bn: bool = True,
        act_checkpoint: bool = False,
        modality: str = "rgb",
        window: int = 0,
        sigmoid: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.modality = modality
        self.net = find_builder(self.builder)(
            input_channel=MODALITIES[modality].channels,
            model_num_class=num_classes,
            dropout_rate=dropout,
            head_activation=None,
            **settings,
        )
        finish(self.net, fc_init_std, zero_init_final_bn, act_checkpoint, window, sigmoid)

    def watch_features(self, see: See) -> RemovableHandle:
        return watch_last_stage(self.net, see)

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) float, any size -> logits (B, num_classes)."""
        return ModelOutput(self.net(clips[self.modality]))


@MODELS.register("PTVX3D")
class PTVX3D(PytorchvideoNet):
    """X3D as pytorchvideo builds it."""

    config_keys = ("X3D.", "RESNET.ZERO_INIT_FINAL_BN", "RESNET.TRANS_FUNC")
    builder = "x3d.create_x3d"

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        if cfg.RESNET.TRANS_FUNC != "x3d_transform":
            raise UserError(
                f"RESNET.TRANS_FUNC is {cfg.RESNET.TRANS_FUNC}, but MODEL.MODEL_NAME {cfg.MODEL.MODEL_NAME} has other blocks; "
                "set x3d_transform"
            )

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> PTVX3D:
        own = cfg.X3D
        return cls(
            width_factor=own.WIDTH_FACTOR,
            depth_factor=own.DEPTH_FACTOR,
            bottleneck_factor=own.BOTTLENECK_FACTOR,
            stem_dim_in=own.DIM_C1,
            head_dim_out=own.DIM_C5,
            head_bn_lin5_on=own.BN_LIN5,
            **net_args(cfg),
        )


@MODELS.register("X3D")
class X3D(PTVX3D):
    """X3D as PySlowFast builds it: with a batch norm in the first block's shortcut, where pytorchvideo has none.

    The arguments are those of PytorchvideoNet.
    """

    def __init__(self, num_classes: int, **settings: Any) -> None:
        super().__init__(num_classes, **settings)
        net: Any = self.net
        first = net.blocks[1].res_blocks[0]
        if first.branch1_norm is None:
            first.branch1_norm = nn.BatchNorm3d(first.branch1_conv.out_channels)


class _BottleneckNet(PytorchvideoNet):
    config_keys = ("RESNET.",)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        check_depth(cfg.RESNET.DEPTH)
        check_bottleneck(cfg)


def _settings(cfg: CfgNode) -> dict[str, Any]:
    """Arguments of both under the builder's names."""
    args = common_args(cfg)
    args |= {"model_depth": args.pop("depth"), "stem_dim_out": args.pop("width")}
    return args | {"head_pool": nn.AdaptiveAvgPool3d}


@MODELS.register("PTVCSN")
class CSN(_BottleneckNet):
    """Channel-separated bottleneck ResNet: create_csn of pytorchvideo, with a max pool in its stem."""

    builder = "csn.create_csn"

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> CSN:
        return cls(stem_pool=nn.MaxPool3d, **_settings(cfg))


@MODELS.register("PTVR2plus1D")
class R2Plus1D(_BottleneckNet):
    """Bottleneck ResNet whose kernels are of space, then of time: create_r2plus1d of pytorchvideo."""

    builder = "r2plus1d.create_r2plus1d"

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> R2Plus1D:
        return cls(**_settings(cfg))
