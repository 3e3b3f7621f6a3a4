"""ST-GCN (Yan et al., AAAI 2018): graph convolutions over joints, convolutions over time; a baseline of table 2.

Shapes: B clips, M persons, N = B x M skeletons, C channels, T frames, V joints.
Sizes, order of layers and starting weights are those of the authors' code.
"""

from __future__ import annotations

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional

from transm3e.errors import UserError
from transm3e.layers.common import INIT_STD
from transm3e.layers.graph import Graph, GraphConv
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS

IN_CHANNELS = 3  # x, y, score
WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)  # a block that widens also halves the frames


class STGCNBlock(nn.Module):
    """Graph convolution over joints, then convolution over time, and the way around both.

    Args:
        in_channels, out_channels: of a joint.
        adjacency: (K, V, V), see GraphConv.
        temporal_kernel: frames, odd.
        stride: of the temporal convolution.
        dropout: after the temporal convolution.
        residual: whether there is a way around.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        adjacency: Tensor,
        temporal_kernel: int = 9,
        stride: int = 1,
        dropout: float = 0.0,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.spatial = GraphConv(in_channels, out_channels, adjacency)
        self.temporal = nn.Sequential(
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            _over_time(out_channels, out_channels, temporal_kernel, stride),
            nn.BatchNorm2d(out_channels),
            nn.Dropout(dropout, inplace=True),
        )
        self.around = _way_around(in_channels, out_channels, stride) if residual else None

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, ceil(T / stride), V)."""
        out = self.temporal(self.spatial(x_NCTV))
        return functional.relu(out if self.around is None else out + self.around(x_NCTV))


@MODELS.register("STGCN")
class STGCN(nn.Module):
    """ST-GCN with ten blocks.

    A clip's score comes from the mean over its M persons, whatever M is. As in the authors' code a person who is absent
    (all zero) is a skeleton like any other, in that mean and in the batch norms: so feed all clips with the same M.

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        partition: of a joint's neighbours, one of transm3e.layers.graph.PARTITIONS.
        num_classes: width of the output.
        temporal_kernel: frames that a temporal convolution sees, odd.
        dropout: in every block but the first.
        head_dropout: before the last linear layer.
        modality: what it reads: joints, their bones, or how either moves.

    Raises:
        UserError: unknown layout or partition, an even temporal kernel.
    """

    def __init__(
        self,
        layout: str,
        partition: str,
        num_classes: int,
        temporal_kernel: int = 9,
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        modality: str = "skeleton",
    ) -> None:
        super().__init__()
        if temporal_kernel < 1 or temporal_kernel % 2 == 0:
            raise UserError(f"STGCN.TEMPORAL_KERNEL is {temporal_kernel}; allowed: odd numbers of frames, as 9")
        graph = Graph(layout)
        adjacency = graph.adjacency(partition)
        self.layout, self.num_joints, self.modality = layout, graph.num_joints, modality
        self.data_norm = nn.BatchNorm1d(graph.num_joints * IN_CHANNELS)
        self.blocks = nn.Sequential()
        for number, (width_in, width) in enumerate(zip((IN_CHANNELS, *WIDTHS), WIDTHS, strict=False)):
            first, stride = number == 0, 2 if number and width > width_in else 1
            rate = 0.0 if first else dropout
            self.blocks.append(STGCNBlock(width_in, width, adjacency, temporal_kernel, stride, rate, not first))
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(WIDTHS[-1], num_classes)
        self.apply(_init_weights)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> STGCN:
        return cls(
            layout=cfg.SKELETON.LAYOUT,
            partition=cfg.STGCN.PARTITION,
            num_classes=cfg.MODEL.NUM_CLASSES,
            temporal_kernel=cfg.STGCN.TEMPORAL_KERNEL,
            dropout=cfg.STGCN.DROPOUT,
            head_dropout=cfg.MODEL.DROPOUT_RATE,
            modality=cfg.DATA.MODALITY,
        )

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """its modality's clips: (B, 3, T, V, M) float, x, y and score, 0 where missing -> logits (B, num_classes).

        Raises:
            UserError: another number of joints than the layout's.
        """
        x_BCTVM = clips[self.modality]
        features_ND = self.blocks(self._normalised(x_BCTVM)).mean((2, 3))
        features_BD = features_ND.unflatten(0, (len(x_BCTVM), -1)).mean(1)
        return ModelOutput(self.head(self.dropout(features_BD)))

    def _normalised(self, x_BCTVM: Tensor) -> Tensor:
        """(B, 3, T, V, M) -> (N, 3, T, V): each channel of each joint to mean 0 and variance 1, as seen in training."""
        channels, _, joints = x_BCTVM.shape[1:4]
        if (channels, joints) != (IN_CHANNELS, self.num_joints):
            raise UserError(
                f"a skeleton clip has {channels} channels and {joints} joints, SKELETON.LAYOUT {self.layout} asks for "
                f"{IN_CHANNELS} and {self.num_joints}; set SKELETON.LAYOUT to the layout of the skeleton files"
            )
        rows_NET = x_BCTVM.permute(0, 4, 3, 1, 2).flatten(2, 3).flatten(0, 1)
        return self.data_norm(rows_NET).unflatten(1, (joints, channels)).permute(0, 2, 3, 1)


def _over_time(in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, (kernel, 1), (stride, 1), (kernel // 2, 0))


def _way_around(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(_over_time(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def _init_weights(module: nn.Module) -> None:
    """Convolutions and the head from N(0, 0.02), scales of batch norms from N(1, 0.02), biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)):
        is_norm = isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        nn.init.normal_(module.weight, float(is_norm), INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
