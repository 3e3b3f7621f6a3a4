"""The layers of HD-GCN (Lee et al., ICCV 2023): joints in levels around a centre, edges between levels, and attention.

Shapes: N skeletons (persons of all clips), L pairs of neighbouring levels (the paper's hierarchy edge sets), C channels,
T frames, V joints, E edges from a point to its nearest ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from transm3e.errors import UserError
from transm3e.joints import Layout, find_layout
from transm3e.layers.common import widen
from transm3e.layers.temporal_graph import he_shortcut, init_conv

SUBSETS = 3  # a joint itself, outward, inward
NEAREST_JOINTS, NEAREST_LEVELS = 5, 3  # neighbours of EdgeConv, as published
# The published levels have both tips of a hand on one level, though the tip hangs on the thumb in NTU's tree.
_BESIDE = {"left_hand_tip": "left_thumb", "right_hand_tip": "right_thumb"}


class Hierarchy:
    """A layout's joints in levels: the centre, then joints one bone away from it, two bones, ...

    Args:
        layout: key of transm3e.joints.LAYOUTS.
        centre: name of the joint to start from, or of two without their side ("hip" for left_hip and right_hip, where
            the layout has no joint of that name); "" = the layout's own centre. Joints farther away than any is from
            the layout's own centre join the last level, so that all centres give at most as many levels: so do the
            published levels of NTU-25 around the base of the spine.

    Attributes:
        num_joints: V.
        levels: joint numbers of every level, L + 1 tuples.

    Raises:
        UserError: unknown layout or centre.
    """

    def __init__(self, layout: str, centre: str = "") -> None:
        found = find_layout(layout)
        self.num_joints = len(found.names)
        away = _bones_away(found, _find_joints(layout, found.names, centre) if centre else [found.centre])
        for tip, thumb in _BESIDE.items():
            if tip in found.names:
                away[found.names.index(tip)] = away[found.names.index(thumb)]
        last = min(max(away), max(_bones_away(found, [found.centre])))
        self.levels = tuple(
            tuple(joint for joint, steps in enumerate(away) if min(steps, last) == level) for level in range(last + 1)
        )

    def adjacency(self) -> Tensor:
        """A[l, s, v, u]: the weight of joint u in the input of joint v, for joints on levels l and l + 1.

        Subset 0 is v itself (1). In subset 1, outward (centrifugal), every joint of level l + 1 receives from all of level l;
        in subset 2, inward (centripetal), the other way round. As in the published code the outgoing weights of a joint,
        not the incoming ones, add up to 1: each of n receivers gets 1 / n.

        Returns:
            (L, 3, V, V) float32 in [0, 1].
        """
        edges = torch.zeros(len(self.levels) - 1, SUBSETS, self.num_joints, self.num_joints)
        for pair, (inner, outer) in zip(edges, zip(self.levels, self.levels[1:], strict=False), strict=True):
            own, near, far = list(inner + outer), torch.tensor(inner), torch.tensor(outer)
            pair[0, own, own] = 1
            pair[1, far[:, None], near] = 1 / len(outer)
            pair[2, near[:, None], far] = 1 / len(inner)
        return edges

    def members(self) -> Tensor:
        """(L, V) bool: which joints are on levels l and l + 1."""
        return self.adjacency()[:, 0].diagonal(dim1=1, dim2=2) > 0


class EdgeConv(nn.Module):
    """y[v] = max over the joints u nearest to v, v among them, of LeakyReLU(norm(W [x[u] - x[v]; x[v]])).

    Near in feature space (Wang et al., ACM TOG 2019). Of joints equally near the first in order count, on every
    device, and no skeleton's neighbours depend on other skeletons.

    Args:
        channels: of a joint.
        nearest: neighbours of a joint; all joints where there are fewer.
        groups: how many graphs, each with weights of its own, a skeleton comes with.
    """

    def __init__(self, channels: int, nearest: int, groups: int = 1) -> None:
        super().__init__()
        self.nearest = nearest
        self.conv = pointwise(2 * channels, channels, groups, grouped=True, bias=False)
        self.norm = nn.BatchNorm2d(groups * channels)

    def forward(self, x_NGCV: Tensor) -> Tensor:
        """(N, groups, channels, V) -> the same shape."""
        near_NG1VE = nearest_joints(x_NGCV, self.nearest).unsqueeze(2)
        own = x_NGCV.unsqueeze(-1).expand(-1, -1, -1, -1, near_NG1VE.shape[-1])
        other = x_NGCV.gather(3, near_NG1VE.flatten(3).expand(-1, -1, x_NGCV.shape[2], -1)).view_as(own)
        edges_NCVE = self.norm(self.conv(torch.cat([other - own, own], 2).flatten(1, 2)))
        return functional.leaky_relu(edges_NCVE, 0.2).max(-1).values.view_as(x_NGCV)


class HierarchyAttention(nn.Module):
    """A-HA: the sum over level pairs l of sigmoid(w[l]) x[l], w from an EdgeConv whose points are the level pairs.

    A level pair's point is the mean of its own joints (representative spatial average pooling) of the reduced maximum
    over time.

    Args:
        channels: of a joint, a multiple of 4.
        members: (L, V) as Hierarchy.members; not part of the state dict.
    """

    members: Tensor

    def __init__(self, channels: int, members: Tensor) -> None:
        super().__init__()
        self.register_buffer("members", members, persistent=False)
        self.reduce = nn.Sequential(pointwise(channels, channels // 4), nn.BatchNorm2d(channels // 4), nn.ReLU())
        self.edge_conv = EdgeConv(channels // 4, NEAREST_LEVELS)
        self.expand = nn.Conv1d(channels // 4, channels, 1)

    def forward(self, x_NLCTV: Tensor) -> Tensor:
        """(N, L, channels, T, V) -> (N, channels, T, V)."""
        reduced_NCLV = self.reduce(x_NLCTV.amax(3).transpose(1, 2))
        points_NCL = (reduced_NCLV * self.members).sum(3) / self.members.sum(1)
        weights_NCL = self.expand(self.edge_conv(points_NCL.unsqueeze(1)).squeeze(1)).sigmoid()
        return (x_NLCTV * weights_NCL.transpose(1, 2)[..., None, None]).sum(1)


class HierarchicalConv(nn.Module):
    """The graph convolution of HD-GCN: per level pair three subsets with learned edges and an EdgeConv, side by side.

    Args:
        in_channels, out_channels: of a joint; out_channels a multiple of 4.
        hierarchy: whose adjacency the learned edges start from.
        attention: whether A-HA weighs the level pairs; else they are summed.
    """

    def __init__(self, in_channels: int, out_channels: int, hierarchy: Hierarchy, attention: bool = True) -> None:
        super().__init__()
        self.edges = nn.Parameter(hierarchy.adjacency())
        pairs, width = len(self.edges), out_channels // (SUBSETS + 1)
        self.reduce = nn.Sequential(
            pointwise(in_channels, width, pairs), nn.BatchNorm2d(pairs * width), nn.ReLU(inplace=True)
        )
        self.subsets = nn.Sequential(
            pointwise(width, width, pairs * SUBSETS, grouped=True), nn.BatchNorm2d(pairs * SUBSETS * width)
        )
        self.edge_conv = EdgeConv(width, NEAREST_JOINTS, pairs)
        self.attention = HierarchyAttention(out_channels, hierarchy.members()) if attention else None
        self.norm = nn.BatchNorm2d(out_channels)
        # As published: the convolution starts as its shortcut.
        nn.init.constant_(self.norm.weight, 1e-6)
        self.around = he_shortcut(in_channels, out_channels)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, T, V)."""
        low_NLCTV = self.reduce(x_NCTV).unflatten(1, (len(self.edges), -1))
        heard = torch.einsum("nlctu,lsvu->nlsctv", low_NLCTV, self.edges).flatten(1, 3)
        by_subset = self.subsets(heard).unflatten(1, (len(self.edges), -1))
        by_nearness = self.edge_conv(low_NLCTV.mean(3)).unsqueeze(3).expand_as(low_NLCTV)
        out_NLCTV = torch.cat([by_subset, by_nearness], 2)
        out_NCTV = out_NLCTV.sum(1) if self.attention is None else self.attention(out_NLCTV)
        return functional.relu(self.norm(out_NCTV) + self.around(x_NCTV))


def nearest_joints(x_NGCV: Tensor, number: int) -> Tensor:
    """(N, G, C, V) -> (N, G, V, min(number, V)) int64: who is nearest to each joint, the nearest first.

    Distances are taken pair by pair, not by a matrix product, whose rounding would depend on the size of the batch.
    """
    points_NGVC = widen(x_NGCV.detach()).transpose(2, 3).contiguous()
    away = torch.cdist(points_NGVC, points_NGVC, compute_mode="donot_use_mm_for_euclid_dist")
    if torch.onnx.is_in_onnx_export():  # which has no stable sort, but its TopK takes the first of equal values
        return away.topk(min(number, away.shape[-1]), largest=False).indices
    return away.argsort(dim=-1, stable=True)[..., :number]


def pointwise(
    in_channels: int, out_channels: int, copies: int = 1, *, grouped: bool = False, bias: bool = True
) -> nn.Conv2d:
    """`copies` 1x1 convolutions side by side, on one input or (grouped) each on its own."""
    groups = copies if grouped else 1
    conv = nn.Conv2d(groups * in_channels, copies * out_channels, 1, groups=groups, bias=bias)
    init_conv(conv, out_channels)
    return conv


def _bones_away(layout: Layout, start: list[int]) -> list[int]:
    """Per joint, how many bones it is away from the nearest of `start`."""
    away = [0 if joint in start else len(layout.names) for joint in range(len(layout.names))]
    # Each round carries a distance one bone further, and no path has more bones than there are.
    for _ in layout.bones:
        for one, other in layout.bones:
            away[one], away[other] = min(away[one], away[other] + 1), min(away[other], away[one] + 1)
    return away


def _find_joints(layout: str, names: tuple[str, ...], centre: str) -> list[int]:
    found = [v for v, name in enumerate(names) if name == centre]
    found = found or [v for v, name in enumerate(names) if name in (f"left_{centre}", f"right_{centre}")]
    if not found:
        raise UserError(
            f"HDGCN.CENTRE is {centre!r}, which SKELETON.LAYOUT {layout} does not have; allowed: '' for the layout's "
            f"centre, {', '.join(names)}, or a left and a right joint together without the side, as hip"
        )
    return found
