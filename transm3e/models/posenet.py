"""PoseNet, our own: a small network on joints, invariant to position, size and tempo of the person.

Made for 609 training clips of two poses. Features of a frame are joints relative to the hips, directions of bones, angles
of joints, and distances across the body; an MLP reads their mean and standard deviation over the clip.

Shapes: N persons of all clips, T frames, V joints, D coordinates (2, or 3 in space), F features of a frame.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional

from transm3e.joints import COORDINATES, find_layout
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model
from transm3e.models.skeleton import check_clip

SIDES = ("left", "right")
# Pairs of joints whose directions are used besides the bones; of SPANS, across the body, also the distances.
REACHES = tuple(
    (f"{side}_{far}", f"{side}_{near}")
    for far, near in (("wrist", "shoulder"), ("ankle", "hip"), ("wrist", "ankle"), ("ear", "shoulder"))
    for side in SIDES
)
SPANS = tuple((f"left_{joint}", f"right_{joint}") for joint in ("hip", "shoulder", "wrist", "ankle"))
# Joints whose angles are used, each between its two neighbours.
BENDS = (
    ("shoulder", "elbow", "wrist"),
    ("hip", "shoulder", "elbow"),
    ("shoulder", "hip", "knee"),
    ("hip", "knee", "ankle"),
    ("knee", "ankle", "foot_index"),
)
SHORTEST = 1e-3


class PoseFeatures(nn.Module):
    """Features of each frame that are independent of a person's position and size.

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        axes: D.
    """

    pair: Tensor
    bend: Tensor
    torso: Tensor
    span: Tensor

    def __init__(self, layout: str, axes: int) -> None:
        super().__init__()
        joints = find_layout(layout)
        names = joints.names
        pairs = [(names[a], names[b]) for a, b in joints.bones] + [*REACHES, *SPANS]
        bends = [tuple(f"{side}_{joint}" for joint in bend) for bend in BENDS for side in SIDES]
        self.pairs = [pair for pair in dict.fromkeys(pairs) if {*pair} <= {*names}]
        spans = [number for number, pair in enumerate(self.pairs) if pair in SPANS]
        self.bends = [bend for bend in bends if {*bend} <= {*names}]
        for name, groups in (("pair", self.pairs), ("bend", self.bends)):
            indices = torch.tensor([[names.index(joint) for joint in group] for group in groups])
            self.register_buffer(name, indices.T, persistent=False)
        torso = [[names.index(f"{side}_{end}") for side in SIDES] for end in ("hip", "shoulder")]
        self.register_buffer("torso", torch.tensor(torso), persistent=False)
        self.register_buffer("span", torch.tensor(spans), persistent=False)
        self.count = axes * (len(names) + len(self.pairs)) + len(self.bends) + len(spans)

    def forward(self, points: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, V, D) and (N, T, V) bool -> (N, T, F), 0 where a joint is missing, and (N, T, F) bool: known."""
        hips, shoulders = (_middle(points[:, :, ends], there[:, :, ends]) for ends in self.torso)
        seen = there[:, :, self.torso.flatten()].all(-1, keepdim=True)
        length = _mean((shoulders - hips).norm(dim=-1, keepdim=True), seen, 1).clamp_min(SHORTEST)[..., None]
        positions = (points - hips[:, :, None]) / length
        lines = (points[:, :, self.pair[0]] - points[:, :, self.pair[1]]) / length
        lengths = lines.norm(dim=-1)
        first, second = (points[:, :, self.bend[end]] - points[:, :, self.bend[1]] for end in (0, 2))
        bent = functional.cosine_similarity(first, second, dim=-1)
        line_there, bend_there = (there[:, :, group].all(2) for group in (self.pair, self.bend))
        # Positions need hips; positions and distances need a frame that shows the whole torso, the unit of length.
        measured = seen.any(1, keepdim=True)
        placed = there & there[:, :, self.torso[0]].any(-1, keepdim=True) & measured
        axes = points.shape[-1]
        values = (positions.flatten(2), functional.normalize(lines, dim=-1).flatten(2), bent, lengths[:, :, self.span])
        masks = (
            *(mask.repeat_interleave(axes, dim=2) for mask in (placed, line_there)),
            *(bend_there, line_there[:, :, self.span] & measured),
        )
        features, known = torch.cat(values, -1), torch.cat(masks, -1)
        return torch.where(known, features, 0), known


@MODELS.register("PoseNet")
class PoseNet(Model):
    """Features of each frame, their mean and standard deviation over time, an MLP; persons are averaged.

    Frames without persons and missing joints are ignored; a feature missing in all frames is set to its mean in training
    (for which, as for its standard deviation, clips without the feature count as 0).

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        num_classes: width of the output.
        coordinates: key of transm3e.joints.COORDINATES.
        width: of the hidden layers.
        depth: hidden layers.
        input_dropout, head_dropout: of the statistics, and after each hidden layer.
        modality: the clip it reads, "skeleton".
    """

    reads = ("skeleton",)
    config_keys = ("POSENET.", "SKELETON.")

    def __init__(
        self,
        layout: str,
        num_classes: int,
        coordinates: str = "image",
        width: int = 192,
        depth: int = 2,
        input_dropout: float = 0.0,
        head_dropout: float = 0.0,
        modality: str = "skeleton",
    ) -> None:
        super().__init__()
        self.layout, self.coordinates, self.modality = layout, coordinates, modality
        self.features = PoseFeatures(layout, COORDINATES[coordinates] - 1)
        self.norm = nn.BatchNorm1d(2 * self.features.count, affine=False)
        self.mlp = _mlp(2 * self.features.count, width, depth, num_classes, input_dropout, head_dropout)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> PoseNet:
        return cls(
            layout=cfg.SKELETON.LAYOUT,
            num_classes=cfg.MODEL.NUM_CLASSES,
            coordinates=cfg.SKELETON.COORDINATES,
            width=cfg.POSENET.WIDTH,
            depth=cfg.POSENET.DEPTH,
            input_dropout=cfg.POSENET.INPUT_DROPOUT,
            head_dropout=cfg.MODEL.DROPOUT_RATE,
            modality=cfg.DATA.MODALITY,
        )

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """its modality's clips: (B, D + 1, T, V, M) float, coordinates and score, 0 where missing -> logits (B, num_classes).

        Raises:
            UserError: another number of joints than the layout's, or of coordinates.
        """
        x_BCTVM = clips[self.modality]
        check_clip(x_BCTVM, self.layout, self.coordinates)
        x_NTVC = x_BCTVM.permute(0, 4, 2, 3, 1).flatten(0, 1)
        there = x_NTVC[..., -1] > 0
        features, known = self.features(x_NTVC[..., :-1], there)
        statistics, some = _statistics(features, known)
        inputs = torch.where(some, self._normalised(statistics), 0)
        logits = self.mlp(inputs)
        shape = (x_BCTVM.shape[0], -1)
        present = there.any(2).any(1).unflatten(0, shape)[..., None]
        # A clip without persons is scored as an average clip.
        present = present | ~present.any(1, keepdim=True)
        return ModelOutput(_mean(logits.unflatten(0, shape), present, 1)[:, 0])

    def _normalised(self, statistics: Tensor) -> Tensor:
        norm = self.norm
        if torch.onnx.is_in_onnx_export():  # which has no batch norm without scales
            assert norm.running_mean is not None
            assert norm.running_var is not None
            return (statistics - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        return norm(statistics)


def _mlp(inputs: int, width: int, depth: int, outputs: int, input_dropout: float, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Dropout(input_dropout)]
    for before, after in pairwise([inputs, *depth * [width]]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width if depth else inputs, outputs))


def _statistics(features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T, F) twice -> mean and standard deviation over the frames where it is known (N, 2 F), and whether there is any."""
    mean = _mean(features, known, 1)
    spread = _mean((features - mean) ** 2, known, 1).clamp_min(SHORTEST**2).sqrt()
    return torch.cat([mean, spread], -1)[:, 0], known.any(1).repeat(1, 2)


def _mean(values: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Weighted mean over `axis`, which is kept; 0 where all weights are 0."""
    return (values * weights).sum(axis, keepdim=True) / weights.sum(axis, keepdim=True).clamp_min(1)


def _middle(points: Tensor, there: Tensor) -> Tensor:
    """(N, T, 2, D) -> (N, T, D), the mean of the joints that are there."""
    return _mean(points, there[..., None], 2)[:, :, 0]
