"""HD-GCN (Lee et al., ICCV 2023): graph convolutions over joints in levels around a centre; a baseline of table 2.

Shapes: N skeletons (persons of all clips), C channels, T frames, V joints.
Levels, sizes, order of layers and initialisation are those of the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional

from transm3e.errors import UserError
from transm3e.joints import LAYOUTS
from transm3e.layers.hierarchy import SUBSETS, HierarchicalConv, Hierarchy
from transm3e.layers.temporal_graph import MultiScaleTemporalConv, he_shortcut
from transm3e.models.registry import MODELS
from transm3e.models.skeleton import SkeletonModel, block_sizes, check_scales


class HDGCNBlock(nn.Module):
    """Hierarchical graph convolution over joints, multi-scale temporal convolutions, and a shortcut around both.

    Args:
        in_channels, out_channels: of a joint.
        hierarchy: the joints in levels.
        kernel, dilations: of the temporal convolutions.
        stride: of the temporal convolutions.
        dropout: after the temporal convolutions.
        attention: whether A-HA weighs the level pairs.
        residual: whether the block has a shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hierarchy: Hierarchy,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 2),
        stride: int = 1,
        dropout: float = 0.0,
        attention: bool = True,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.spatial = HierarchicalConv(in_channels, out_channels, hierarchy, attention)
        self.temporal = MultiScaleTemporalConv(out_channels, out_channels, kernel, stride, dilations)
        self.dropout = nn.Dropout(dropout)
        self.around = he_shortcut(in_channels, out_channels, stride) if residual else None

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, ceil(T / stride), V)."""
        out = self.dropout(self.temporal(self.spatial(x_NCTV)))
        return functional.relu(out if self.around is None else out + self.around(x_NCTV))


@MODELS.register("HDGCN")
class HDGCN(SkeletonModel):
    """HD-GCN with ten blocks; the first has no attention, as published.

    The authors average the scores of models with three centres. With NTU-25 they are the chest (spine, the layout's
    own centre), the belly (spine_mid) and the hip (spine_base), and each model has the published 1,649,700 parameters (20
    classes, two persons). COCO-17 has no joint on the trunk's midline: "" starts from the nose, the parent of the
    shoulders, so that all joints but the face are on the same levels as around OpenPose-18's neck; "shoulder" and "hip"
    start from both joints and correspond to the chest and the hip.

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        num_classes: width of the output.
        num_persons: of a clip; each has its own batch norm of the coordinates.
        width: channels of the first four blocks; they double twice.
        temporal_kernel: frames of the temporal convolutions, odd.
        dilations: of the temporal convolutions, a branch each.
        centre: where the levels start, see transm3e.layers.hierarchy.Hierarchy; "" = the layout's own centre.
        attention: whether A-HA weighs the level pairs in all blocks but the first; else they are summed.
        dropout: in every block but the first.
        head_dropout: before the last linear layer.
        modality: the clip it reads: joints, bones, or the motion of either.
        coordinates: key of transm3e.joints.COORDINATES.

    Raises:
        UserError: unknown layout or centre, an even temporal kernel, a width that does not divide.
    """

    config_keys = ("HDGCN.", "SKELETON.")

    def __init__(
        self,
        layout: str,
        num_classes: int,
        num_persons: int = 2,
        width: int = 64,
        temporal_kernel: int = 5,
        dilations: Sequence[int] = (1, 2),
        centre: str = "",
        attention: bool = True,
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        modality: str = "skeleton",
        coordinates: str = "image",
    ) -> None:
        check_scales("HDGCN", width, temporal_kernel, dilations)
        if width % (SUBSETS + 1):
            raise UserError(f"HDGCN.WIDTH is {width}; allowed: multiples of {SUBSETS + 1}, a share for each subset")
        hierarchy, blocks = Hierarchy(layout, centre), nn.Sequential()
        for number, (before, after, stride) in enumerate(block_sizes(width, coordinates)):
            first, sizes = number == 0, (before, after, hierarchy, temporal_kernel, dilations, stride)
            blocks.append(HDGCNBlock(*sizes, 0.0 if first else dropout, attention and not first, residual=not first))
        super().__init__(layout, blocks, 4 * width, num_classes, num_persons, head_dropout, modality, coordinates)
        nn.init.normal_(self.head.weight, 0.0, math.sqrt(2 / num_classes))

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        own = cfg.HDGCN
        check_scales("HDGCN", own.WIDTH, own.TEMPORAL_KERNEL, own.DILATIONS)
        names = LAYOUTS[cfg.SKELETON.LAYOUT].names
        if cfg.HDGCN.CENTRE and not {cfg.HDGCN.CENTRE, f"left_{cfg.HDGCN.CENTRE}"} & {*names}:
            raise UserError(
                f"HDGCN.CENTRE is {cfg.HDGCN.CENTRE!r}; allowed with SKELETON.LAYOUT {cfg.SKELETON.LAYOUT}: '', "
                f"{', '.join(names)}, or two of them without their side, as hip"
            )
