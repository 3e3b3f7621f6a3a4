"""CTR-GCN (Chen et al., ICCV 2021): graph convolutions with a topology refined per channel; a baseline of table 2.

Shapes: N skeletons (persons of all clips), C channels, T frames, V joints.
Sizes, order of layers and initialisation are those of the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional

from transm3e.errors import UserError
from transm3e.layers.graph import Graph, RefinedGraphConv
from transm3e.layers.temporal_graph import MultiScaleTemporalConv, he_shortcut
from transm3e.models.registry import MODELS
from transm3e.models.skeleton import SkeletonModel, block_sizes, check_scales

# Initial scale of the graph convolution's branch, so that a block starts as its shortcut.
SMALL_SCALE = 1e-6


class CTRGCNBlock(nn.Module):
    """Refined graph convolution over joints, then multi-scale temporal convolutions, each with a shortcut.

    Args:
        in_channels, out_channels: of a joint.
        relation_channels: of the correlation of two joints.
        topology: (3, V, V), see RefinedGraphConv.
        kernel, dilations: of the temporal convolutions.
        stride: of the temporal convolutions.
        dropout: after the temporal convolutions.
        residual: whether the whole block has a shortcut.
        pyskl: as PYSKL's code, see CTRGCN.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        relation_channels: int,
        topology: Tensor,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 2),
        stride: int = 1,
        dropout: float = 0.0,
        residual: bool = True,
        pyskl: bool = False,
    ) -> None:
        super().__init__()
        self.spatial = RefinedGraphConv(in_channels, out_channels, relation_channels, topology, pyskl)
        self.spatial_norm = nn.BatchNorm2d(out_channels)
        self.spatial_around = he_shortcut(in_channels, out_channels)
        self.temporal = MultiScaleTemporalConv(out_channels, out_channels, kernel, stride, dilations)
        self.after = nn.ReLU() if pyskl else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.around = he_shortcut(in_channels, out_channels, stride) if residual else None
        nn.init.constant_(self.spatial_norm.weight, SMALL_SCALE)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, ceil(T / stride), V)."""
        joints = functional.relu(self.spatial_norm(self.spatial(x_NCTV)) + self.spatial_around(x_NCTV))
        out = self.dropout(self.after(self.temporal(joints)))
        return functional.relu(out if self.around is None else out + self.around(x_NCTV))


@MODELS.register("CTRGCN")
class CTRGCN(SkeletonModel):
    """CTR-GCN with ten blocks.

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        num_classes: width of the output.
        num_persons: of a clip; each has its own batch norm of the coordinates.
        width: channels of the first four blocks; they double twice.
        temporal_kernel: frames of the temporal convolutions, odd.
        dilations: of the temporal convolutions, a branch each.
        reduction: ratio of a block's input channels to the channels of a correlation of two joints; the first block,
            which reads coordinates, uses `width` instead of its input channels.
        pyskl: the topology is applied transposed, and a ReLU follows the temporal convolutions, as in PYSKL and MMAction2.
        dropout: in every block but the first.
        head_dropout: before the last linear layer.
        modality: the clip it reads: joints, bones, or the motion of either.
        coordinates: key of transm3e.joints.COORDINATES.

    Raises:
        UserError: unknown layout, an even temporal kernel, a width that does not divide.
    """

    config_keys = ("CTRGCN.", "SKELETON.")

    def __init__(
        self,
        layout: str,
        num_classes: int,
        num_persons: int = 2,
        width: int = 64,
        temporal_kernel: int = 5,
        dilations: Sequence[int] = (1, 2),
        reduction: int = 8,
        pyskl: bool = False,
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        modality: str = "skeleton",
        coordinates: str = "image",
    ) -> None:
        check_scales("CTRGCN", width, temporal_kernel, dilations)
        _check_reduction(reduction, width)
        topology, blocks = Graph(layout).directions(), nn.Sequential()
        for number, (before, after, stride) in enumerate(block_sizes(width, coordinates)):
            relations = (before if number else width) // reduction
            rate = dropout if number else 0.0
            sizes = (before, after, relations, topology, temporal_kernel, dilations)
            blocks.append(CTRGCNBlock(*sizes, stride, rate, residual=number > 0, pyskl=pyskl))
        super().__init__(layout, blocks, 4 * width, num_classes, num_persons, head_dropout, modality, coordinates)
        nn.init.normal_(self.head.weight, 0.0, math.sqrt(2 / num_classes))

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        own = cfg.CTRGCN
        check_scales("CTRGCN", own.WIDTH, own.TEMPORAL_KERNEL, own.DILATIONS)
        _check_reduction(own.REDUCTION, own.WIDTH)


def _check_reduction(reduction: int, width: int) -> None:
    if not 1 <= reduction <= width:
        raise UserError(f"CTRGCN.REDUCTION is {reduction}; allowed: 1 to CTRGCN.WIDTH, which is {width}")
