"""Base class and checks of the skeleton models: persons and joints in, one score per class out.

Shapes: B clips, M persons, N = B x M skeletons, C channels, T frames, V joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.errors import UserError
from transm3e.joints import COORDINATES, find_layout
from transm3e.layers.temporal_graph import EXTRA_BRANCHES
from transm3e.modalities import JOINTS
from transm3e.models.output import ModelOutput
from transm3e.models.registry import Model


class SkeletonModel(Model):
    """A batch norm of the coordinates, a network's blocks, the mean over frames, joints and persons, a linear layer.

    A clip's score comes from the mean over its M persons. As in the authors' code of all three models, absent persons (all
    zero) take part in that mean and in the batch norms, so all clips must have the same M.

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        blocks: (N, C, T, V) -> (N, width, T', V).
        width: output channels of `blocks`.
        num_classes: width of the output.
        num_persons: M, where each person has a batch norm of its own (CTR-GCN, HD-GCN); None: all persons share one,
            and M is any (ST-GCN).
        head_dropout: before the last linear layer.
        modality: the clip it reads: joints, bones, or the motion of either.
        coordinates: key of transm3e.joints.COORDINATES.

    Raises:
        UserError: unknown layout.
    """

    reads = (JOINTS,)
    counts_persons: ClassVar[bool] = True  # its __init__ takes num_persons

    def __init__(
        self,
        layout: str,
        blocks: nn.Sequential,
        width: int,
        num_classes: int,
        num_persons: int | None = None,
        head_dropout: float = 0.0,
        modality: str = "skeleton",
        coordinates: str = "image",
    ) -> None:
        super().__init__()
        self.layout, self.num_joints, self.modality = layout, len(find_layout(layout).names), modality
        self.num_persons, self.coordinates = num_persons, coordinates
        self.data_norm = nn.BatchNorm1d((num_persons or 1) * self.num_joints * COORDINATES[coordinates])
        self.blocks = blocks
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(width, num_classes)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> SkeletonModel:
        """Keys of the model's first group are passed as arguments of the same names."""
        own = {name.lower(): value for name, value in cfg[cls.config_keys[0].removesuffix(".")].items()}
        own |= {"num_persons": cfg.SKELETON.NUM_PERSONS} if cls.counts_persons else {}
        build: Any = cls
        return build(
            layout=cfg.SKELETON.LAYOUT,
            num_classes=cfg.MODEL.NUM_CLASSES,
            head_dropout=cfg.MODEL.DROPOUT_RATE,
            modality=cfg.DATA.MODALITY,
            coordinates=cfg.SKELETON.COORDINATES,
            **own,
        )

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """its modality's clips: (B, C, T, V, M) float, coordinates and score, 0 where missing -> logits (B, num_classes).

        Raises:
            UserError: another number of joints than the layout's, or of persons than the batch norm's.
        """
        x_BCTVM = clips[self.modality]
        self._check(x_BCTVM)
        features_ND = self.blocks(self._normalised(x_BCTVM)).mean((2, 3))
        features_BD = features_ND.unflatten(0, (-1, x_BCTVM.shape[-1])).mean(1)
        return ModelOutput(self.head(self.dropout(features_BD)))

    def _normalised(self, x_BCTVM: Tensor) -> Tensor:
        """(B, C, T, V, M) -> (N, C, T, V): the batch norm of each channel of each joint."""
        rows_BMET = x_BCTVM.permute(0, 4, 3, 1, 2).flatten(2, 3)
        rows = rows_BMET.flatten(0, 1) if self.num_persons is None else rows_BMET.flatten(1, 2)
        return self.data_norm(rows).reshape(-1, self.num_joints, *x_BCTVM.shape[1:3]).permute(0, 2, 3, 1)

    def _check(self, x_BCTVM: Tensor) -> None:
        check_clip(x_BCTVM, self.layout, self.coordinates)
        persons = x_BCTVM.shape[-1]
        if self.num_persons not in (None, persons):
            raise UserError(
                f"a skeleton clip has {persons} persons, the model was built for SKELETON.NUM_PERSONS "
                f"{self.num_persons}; set it to the number that the clips and the weights have"
            )


def check_clip(x_BCTVM: Tensor, layout: str, coordinates: str) -> None:
    """Refuse clips of another layout.

    Raises:
        UserError: another number of joints than the layout's, or of coordinates.
    """
    (channels, _, joints), wanted = x_BCTVM.shape[1:4], (COORDINATES[coordinates], len(find_layout(layout).names))
    if (channels, joints) != wanted:
        raise UserError(
            f"a skeleton clip has {channels} channels and {joints} joints, SKELETON.LAYOUT {layout} asks for "
            f"{wanted[0]} and {wanted[1]}; set SKELETON.LAYOUT to the layout of the skeleton files"
        )


def block_sizes(width: int, coordinates: str = "image") -> list[tuple[int, int, int]]:
    """(in_channels, out_channels, stride) of the ten blocks: width four times, 2 width and 4 width three times each.

    A block that doubles the width also halves the frames.
    """
    widths = [COORDINATES[coordinates], *4 * [width], *3 * [2 * width], *3 * [4 * width]]
    return [
        (before, after, 2 if number and after > before else 1)
        for number, (before, after) in enumerate(pairwise(widths))
    ]


def check_kernel(group: str, kernel: int) -> None:
    """Refuse even temporal kernels.

    Args:
        group: of the config, as STGCN.

    Raises:
        UserError: not odd.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise UserError(f"{group}.TEMPORAL_KERNEL is {kernel}; allowed: odd numbers of frames, as 9")


def check_scales(group: str, width: int, kernel: int, dilations: Sequence[int]) -> None:
    """Refuse arguments that do not fit MultiScaleTemporalConv.

    Args:
        group: of the config, as CTRGCN.

    Raises:
        UserError: an even kernel, dilations below 1, or a width that does not divide among the branches.
    """
    check_kernel(group, kernel)
    if not dilations or not all(type(dilation) is int and dilation >= 1 for dilation in dilations):
        raise UserError(f"{group}.DILATIONS is {list(dilations)}; allowed: whole numbers of frames from 1, as [1, 2]")
    branches = len(dilations) + EXTRA_BRANCHES
    if width < 1 or width % branches:
        raise UserError(
            f"{group}.WIDTH is {width}; allowed: multiples of {branches}, a share for each branch of its temporal "
            f"convolution: {len(dilations)} of {group}.DILATIONS, max pool and 1x1"
        )
