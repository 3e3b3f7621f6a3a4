"""The skeleton as a graph, and the graph convolutions of ST-GCN (Yan et al., AAAI 2018) and of CTR-GCN (Chen et al.,
ICCV 2021).

Shapes: N skeletons (persons of all clips), C channels, T frames, V joints, K subsets of a joint's neighbours,
R channels of a relation between two joints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from transm3e.config.schema import check_value
from transm3e.joints import find_layout
from transm3e.layers.temporal_graph import init_conv


class Graph:
    """Joints, the bones between them, and how many bones apart two joints are.

    Args:
        layout: key of transm3e.joints.LAYOUTS.

    Attributes:
        num_joints: V.
        bones: (joint, parent) joint numbers.
        centre: joint number; the paper's centre of gravity, from which `spatial` measures.
        distance: (V, V) int64, number of bones on the path between two joints.

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

        `spatial_code` is `spatial` as the reference and PYSKL compute it. They know distances up to one bone only, so
        that they tell farther from nearer around the centre alone and put all other neighbours with the farther ones;
        in `spatial` distances are whole, as in the paper.

        Returns:
            (K, V, V) float32 in [0, 1].

        Raises:
            UserError: unknown partition.
        """
        near = self.distance <= 1
        subsets = torch.stack([near & subset for subset in self._subsets(partition)])
        return subsets / near.sum(0)

    def directions(self) -> Tensor:
        """A_k[u, v]: the weight of joint v in the sum that joint u takes, by the bones' directions.

        Subset 0 is the joint itself, subset 1 its neighbours farther from the centre (its children, which send
        inward), subset 2 the one nearer to it (outward). What a joint sends is divided among those it sends to: a
        parent adds its children up, a child gets its parent divided by the number of children (the authors' CTR-GCN,
        as PYSKL and MMAction2 for COCO).

        Returns:
            (3, V, V) float32 in [0, 1]; the columns of each subset add up to 1, or to 0 where a joint sends to none.
        """
        inward = torch.zeros(self.num_joints, self.num_joints)
        children, parents = zip(*self.bones, strict=True)
        inward[parents, children] = 1
        outward = inward.T / inward.sum(1).clamp(min=1)
        return torch.stack([torch.eye(self.num_joints), inward, outward])

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
        if partition == "spatial_code":
            known = to_centre.clamp(max=2)  # 2 stands for "not known"
            nearer = known[:, None] < known
            return [own, ~own & ~nearer, nearer]
        check_value("STGCN.PARTITION", partition)
        raise AssertionError(f"the partition {partition} is not implemented")


class GraphConv(nn.Module):
    """y[w] = sum over k, v of A_k[v, w] M_k[v, w] (W_k x[v] + b_k): a weighted sum over neighbours.

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


class RefinedGraphConv(nn.Module):
    """y[c, u] = sum over k, v of R_k[c, u, v] (W_k x[v] + b_k)[c]: every channel has a topology of its own.

    R_k[c] = A_k + alpha Q_k[c], where A_k is learned, starts as the skeleton and is the same for all clips, and
    Q_k[u, v] = xi_k(tanh(phi_k(x[u]) - psi_k(x[v]))) comes from the clip: phi, psi and xi are linear, x[v] is here the
    mean over a joint's frames (section 3.2 of the paper, its correlation M_1). The mean is taken before phi and psi,
    by the authors after: for linear maps this is the same. alpha starts at 0, so that at first phi, psi and xi get no gradient.

    Args:
        in_channels, out_channels: of a joint.
        relation_channels: R.
        topology: (K, V, V) where A starts.
        transposed: y[c, v] = sum over k, u of R_k[c, u, v] (W_k x[u] + b_k)[c] instead, as PYSKL's code.
    """

    def __init__(
        self, in_channels: int, out_channels: int, relation_channels: int, topology: Tensor, transposed: bool = False
    ) -> None:
        super().__init__()
        self.equation = "nkcuv,nkctu->nctv" if transposed else "nkcuv,nkctv->nctu"
        subsets = len(topology)
        self.topology = nn.Parameter(topology.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.phi = nn.Conv1d(in_channels, subsets * relation_channels, 1)
        self.psi = nn.Conv1d(in_channels, subsets * relation_channels, 1)
        self.xi = nn.Conv2d(subsets * relation_channels, subsets * out_channels, 1, groups=subsets)
        self.value = nn.Conv2d(in_channels, subsets * out_channels, 1)
        for conv in (self.phi, self.psi, self.xi, self.value):
            init_conv(conv, conv.out_channels // subsets)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, T, V)."""
        subsets = len(self.topology)
        values_NKCTV = self.value(x_NCTV).unflatten(1, (subsets, -1))
        return torch.einsum(self.equation, self._topologies(x_NCTV.mean(2)), values_NKCTV)

    def _topologies(self, x_NCV: Tensor) -> Tensor:
        """R: (N, K, out_channels, V, V)."""
        relations = torch.tanh(self.phi(x_NCV)[..., None] - self.psi(x_NCV)[..., None, :])
        # alpha goes into the weights, which are small, and not onto what comes out of them.
        assert self.xi.bias is not None
        weight, bias, subsets = self.alpha * self.xi.weight, self.alpha * self.xi.bias, len(self.topology)
        refinement = functional.conv2d(relations, weight, bias, groups=subsets)
        return self.topology[:, None] + refinement.unflatten(1, (subsets, -1))


def _distances(num_joints: int, bones: tuple[tuple[int, int], ...]) -> Tensor:
    """(V, V) int64, by Floyd and Warshall: V exceeds the length of any path."""
    distance = torch.full((num_joints, num_joints), num_joints).fill_diagonal_(0)
    for joint, parent in bones:
        distance[joint, parent] = distance[parent, joint] = 1
    for via in range(num_joints):
        distance = torch.minimum(distance, distance[:, via, None] + distance[via])
    return distance
