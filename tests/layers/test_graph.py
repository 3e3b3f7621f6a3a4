"""The skeleton's graph and its convolution, against shortest paths, the definition and nested loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import shortest_path

from transm3e.config.schema import choices
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS
from transm3e.layers.graph import Graph, GraphConv, RefinedGraphConv

each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def linked(layout):
    """(V, V) 0/1 array, 1 where a bone is."""
    bones = np.array(LAYOUTS[layout].bones)
    matrix = np.zeros((len(bones) + 1,) * 2)
    matrix[bones[:, 0], bones[:, 1]] = matrix[bones[:, 1], bones[:, 0]] = 1
    return matrix


@each_layout
def test_distances_are_shortest_paths(layout):
    assert np.array_equal(Graph(layout).distance.numpy(), shortest_path(linked(layout)))


@each_layout
@pytest.mark.parametrize("partition", choices("STGCN.PARTITION"))
def test_subsets_part_the_mean_over_a_joint_and_its_neighbours(layout, partition):
    adjacency = Graph(layout).adjacency(partition).double().numpy()
    near = linked(layout) + np.eye(len(LAYOUTS[layout].names))
    assert adjacency.shape == ({"uniform": 1, "distance": 2}.get(partition, 3), *near.shape)
    assert np.abs(adjacency.sum(0) - near @ np.diag(1 / near.sum(0))).max() < 1e-7
    assert ((adjacency > 0).sum(0) == near).all(), "a neighbour is in one subset"


@each_layout
def test_distance_and_spatial_subsets_are_who_they_should_be(layout):
    graph, parents = Graph(layout), dict(LAYOUTS[layout].bones)
    own, others = graph.adjacency("distance") > 0
    same, farther, nearer = graph.adjacency("spatial") > 0
    assert own.equal(same)
    assert own.equal(torch.eye(graph.num_joints, dtype=torch.bool))
    assert others.equal(farther | nearer)
    for joint in range(graph.num_joints):
        children = [child for child, parent in parents.items() if parent == joint]
        assert nearer[:, joint].nonzero().flatten().tolist() == [p for j, p in parents.items() if j == joint]
        assert farther[:, joint].nonzero().flatten().tolist() == children


@each_layout
def test_the_codes_spatial_subsets_know_distances_of_one_bone(layout):
    graph = Graph(layout)
    # (2, 2) is infinity for both in the reference, which puts equals with the farther ones.
    hops = torch.where(graph.distance <= 1, graph.distance.double(), torch.inf)[graph.centre]
    own, farther, nearer = graph.adjacency("spatial_code") > 0
    for v, w in (graph.distance == 1).nonzero().tolist():
        assert (farther if hops[v] >= hops[w] else nearer)[v, w]
    assert own.equal(graph.distance == 0)


@each_layout
def test_directions_are_itself_children_and_parent(layout):
    own, inward, outward = Graph(layout).directions()
    parents = dict(LAYOUTS[layout].bones)
    assert own.equal(torch.eye(len(own)))
    assert {(v, u) for u, v in inward.nonzero().tolist()} == set(parents.items())
    assert {(u, v) for u, v in outward.nonzero().tolist()} == set(parents.items())
    # Whoever sends, sends 1 in all.
    assert inward.sum(0).tolist() == [float(joint in parents) for joint in range(len(own))]
    sent = [float(joint in parents.values()) for joint in range(len(own))]
    assert torch.allclose(outward.sum(0), torch.tensor(sent))


@each_layout
def test_left_and_right_have_the_same_weights(layout):
    order = list(range(len(LAYOUTS[layout].names)))
    for left, right in LAYOUTS[layout].pairs:
        order[left], order[right] = right, left
    for adjacency in (Graph(layout).adjacency("spatial"), Graph(layout).directions()):
        assert adjacency[:, order][:, :, order].equal(adjacency)


def test_an_unknown_partition_is_named():
    with pytest.raises(UserError, match=r"STGCN\.PARTITION is 'hops'; allowed: uniform, distance, spatial"):
        Graph("coco17").adjacency("hops")


@pytest.mark.parametrize("subsets", [1, 3])
def test_graph_convolution_is_its_formula(subsets):
    torch.manual_seed(0)
    layer = GraphConv(2, 5, torch.rand(subsets, 4, 4)).double()
    torch.nn.init.normal_(layer.importance)
    x, edges = torch.randn(2, 2, 3, 4, dtype=torch.float64), layer.adjacency * layer.importance
    weight, bias = layer.conv.weight.view(subsets, 5, 2), layer.conv.bias.view(subsets, 5)
    expected = torch.zeros(2, 5, 3, 4, dtype=torch.float64)
    for k in range(subsets):
        for v in range(4):
            for w in range(4):
                expected[..., w] += edges[k, v, w] * (x[..., v].transpose(1, 2) @ weight[k].T + bias[k]).transpose(1, 2)
    assert torch.allclose(layer(x), expected, rtol=0, atol=1e-14)


def test_importance_starts_at_one_and_the_graph_is_not_stored():
    layer = GraphConv(2, 5, Graph("openpose18").adjacency("spatial"))
    assert (layer.importance == 1).all()
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "importance": (3, 18, 18),
        "conv.weight": (15, 2, 1, 1),
        "conv.bias": (15,),
    }


def test_refinement_starts_at_nothing_and_is_the_clips_own():
    torch.manual_seed(0)
    layer = RefinedGraphConv(3, 4, 2, Graph("ntu25").directions())
    one, two = torch.randn(2, 1, 3, 5, 25)
    plain = torch.einsum("kuv,nkctv->nctu", layer.topology, layer.value(one).unflatten(1, (3, 4)))
    assert torch.allclose(layer(one), plain, atol=1e-6)
    layer.alpha.data.fill_(1.0)
    both = layer(torch.cat([one, two]))
    assert (both[:1] - plain).abs().max() > 0.1
    assert torch.allclose(both[1:], layer(two), atol=1e-6)
