"""ST-GCN (Yan et al., AAAI 2018): graph convolutions over joints, convolutions over time; a baseline of table 2.

Shapes: N skeletons (persons of all clips), C channels, T frames, V joints.
Sizes, order of layers and initialisation are those of the authors' code.
"""

from __future__ import annotations

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional

from transm3e.layers.common import INIT_STD
from transm3e.layers.graph import Graph, GraphConv
from transm3e.layers.temporal_graph import over_time, shortcut
from transm3e.models.registry import MODELS
from transm3e.models.skeleton import SkeletonModel, block_sizes, check_kernel


class STGCNBlock(nn.Module):
    """Graph convolution over joints, then convolution over time, and a shortcut around both.

    Args:
        in_channels, out_channels: of a joint.
        adjacency: (K, V, V), see GraphConv.
        temporal_kernel: frames, odd.
        stride: of the temporal convolution.
        dropout: after the temporal convolution.
        residual: whether the block has a shortcut.
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
            over_time(out_channels, out_channels, temporal_kernel, stride),
            nn.BatchNorm2d(out_channels),
            nn.Dropout(dropout, inplace=True),
        )
        self.around = shortcut(in_channels, out_channels, stride) if residual else None

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, ceil(T / stride), V)."""
        out = self.temporal(self.spatial(x_NCTV))
        return functional.relu(out if self.around is None else out + self.around(x_NCTV))


@MODELS.register("STGCN")
class STGCN(SkeletonModel):
    """ST-GCN with ten blocks, for any number of persons.

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        partition: of a joint's neighbours, a value of STGCN.PARTITION.
        num_classes: width of the output.
        width: channels of the first four blocks; they double twice.
        temporal_kernel: frames that a temporal convolution sees, odd.
        dropout: in every block but the first.
        head_dropout: before the last linear layer.
        modality: the clip it reads: joints, bones, or the motion of either.
        coordinates: key of transm3e.joints.COORDINATES.

    Raises:
        UserError: unknown layout or partition, an even temporal kernel.
    """

    config_keys = ("STGCN.", "SKELETON.")
    counts_persons = False

    def __init__(
        self,
        layout: str,
        partition: str,
        num_classes: int,
        width: int = 64,
        temporal_kernel: int = 9,
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        modality: str = "skeleton",
        coordinates: str = "image",
    ) -> None:
        check_kernel("STGCN", temporal_kernel)
        adjacency = Graph(layout).adjacency(partition)
        blocks = nn.Sequential()
        for number, (before, after, stride) in enumerate(block_sizes(width, coordinates)):
            rate = dropout if number else 0.0
            blocks.append(STGCNBlock(before, after, adjacency, temporal_kernel, stride, rate, residual=number > 0))
        super().__init__(layout, blocks, 4 * width, num_classes, None, head_dropout, modality, coordinates)
        self.apply(_init_weights)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        check_kernel("STGCN", cfg.STGCN.TEMPORAL_KERNEL)


def _init_weights(module: nn.Module) -> None:
    """Convolutions and the head from N(0, 0.02), scales of batch norms from N(1, 0.02), biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)):
        is_norm = isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        nn.init.normal_(module.weight, float(is_norm), INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
