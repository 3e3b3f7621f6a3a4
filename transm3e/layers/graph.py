"""The skeleton as a graph, and the graph convolution of ST-GCN (Yan et al., AAAI 2018).

Shapes: N skeletons (persons of all clips), C channels, T frames, V joints, K subsets of a joint's neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transm3e.errors import UserError
from transm3e.joints import find_layout

PARTITIONS = ("uniform", "distance", "spatial")


class Graph:
    """Joints, the bones between them, and how many bones apart two joints are.

    Args:
        layout: key of transm3e.joints.LAYOUTS.

    Attributes:
        num_joints: V.
        bones: (joint, parent) joint numbers.
        centre: joint number; the paper's centre of gravity, from which `spatial` measures.
        distance: (V, V) int64, bones on the way from one joint to another.

    Raises:
        UserError: unknown layout.
    """

    def __init__(self, layout: str) -> None:
        found = find_layout(layout)
        self.num_joints, self.bones, self.centre = len(found.names), found.bones, found.centre
        self.distance = _distances(self.num_joints, self.bones)

    def adjacency(self, partition: str) -> Tensor:
        """A_k[v, w]: the weight of joint v in the mean that joint w takes over itself and its neighbours.

        `uniform` has one subset: the joint and its neighbours. `distance` has two: the joint, its neighbours.
        `spatial` has three: the joint, its neighbours farther from the centre, its neighbours nearer to it.
        The weights into a joint add up to 1 over v and all subsets (the reference's A D^-1).

        The reference knows distances up to one bone only, so that it can tell farther from nearer around the centre
        alone and puts all other neighbours into one subset; here distances are whole, as in the paper.

        Returns:
            (K, V, V) float32 in [0, 1].

        Raises:
            UserError: unknown partition.
        """
        near = self.distance <= 1
        subsets = torch.stack([near & subset for subset in self._subsets(partition)])
        return subsets / near.sum(0)

    def _subsets(self, partition: str) -> list[Tensor]:
        """(V, V) bool each: which v belong to the subset of w, whether near or not."""
        own, to_centre = self.distance == 0, self.distance[self.centre]
        farther = to_centre[:, None] > to_centre
        if partition == "uniform":
            return [torch.ones_like(own)]
        if partition == "distance":
            return [own, ~own]
        if partition == "spatial":
            return [own, farther, farther.T]
        raise UserError(f"STGCN.PARTITION is {partition!r}; allowed: {', '.join(PARTITIONS)}")


class GraphConv(nn.Module):
    """y[w] = sum over k, v of A_k[v, w] M_k[v, w] (W_k x[v] + b_k): a joint hears its neighbours.

    M, the importance of every bone, is learned and starts at 1.

    Args:
        in_channels, out_channels: of a joint.
        adjacency: (K, V, V) as Graph.adjacency; not part of the state dict.
    """

    adjacency: Tensor

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor) -> None:
        super().__init__()
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.importance = nn.Parameter(torch.ones_like(adjacency))
        self.conv = nn.Conv2d(in_channels, out_channels * len(adjacency), kernel_size=1)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, T, V)."""
        per_subset = self.conv(x_NCTV).unflatten(1, (len(self.adjacency), -1))
        return torch.einsum("nkctv,kvw->nctw", per_subset, self.adjacency * self.importance)


def _distances(num_joints: int, bones: tuple[tuple[int, int], ...]) -> Tensor:
    """(V, V) int64, by Floyd and Warshall: V bones are more than any way has."""
    distance = torch.full((num_joints, num_joints), num_joints).fill_diagonal_(0)
    for joint, parent in bones:
        distance[joint, parent] = distance[parent, joint] = 1
    for via in range(num_joints):
        distance = torch.minimum(distance, distance[:, via, None] + distance[via])
    return distance
