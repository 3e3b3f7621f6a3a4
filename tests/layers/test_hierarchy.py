"""Levels against the published ones and walks along the bones; edges, neighbours and attention where they could go wrong."""

from __future__ import annotations

import itertools

import pytest
import torch

from transm3e.errors import UserError
from transm3e.joints import LAYOUTS
from transm3e.layers.hierarchy import EdgeConv, HierarchicalConv, Hierarchy, HierarchyAttention, nearest_joints

# The authors' levels of NTU-25, joints counted from 1 as NTU's papers do: chest, belly, hip.
PUBLISHED = {
    "": [[21], [2, 3, 5, 9], [1, 4, 6, 10], [7, 11, 13, 17], [8, 12, 14, 18], [15, 19, 22, 23, 24, 25], [16, 20]],
    "spine_mid": [
        *([2], [1, 21], [3, 5, 9, 13, 17], [4, 6, 10, 14, 18], [7, 11, 15, 19]),
        *([8, 12, 16, 20], [22, 23, 24, 25]),
    ],
    "spine_base": [
        *([1], [2, 13, 17], [14, 18, 21], [3, 5, 9, 15, 19], [4, 6, 10, 16, 20], [7, 11]),
        [8, 12, 22, 23, 24, 25],
    ],
}


@pytest.mark.parametrize("centre", PUBLISHED)
def test_levels_of_ntu25_are_the_published_ones(centre):
    assert [[joint + 1 for joint in level] for level in Hierarchy("ntu25", centre).levels] == PUBLISHED[centre]


@pytest.mark.parametrize(
    ("layout", "centre", "pairs"),
    [
        *(("coco17", "", 4), ("coco17", "hip", 4), ("coco17", "shoulder", 3)),
        *(("halpe26", "", 6), ("halpe26", "hip", 5), ("openpose18", "", 4), ("openpose18", "hip", 4)),
    ],
)
def test_levels_are_steps_along_the_bones_and_left_faces_right(layout, centre, pairs):
    found, levels = LAYOUTS[layout], Hierarchy(layout, centre).levels
    assert len(levels) == pairs + 1
    assert sorted(itertools.chain(*levels)) == list(range(len(found.names)))
    near = {joint: set() for joint in range(len(found.names))}
    for one, other in found.bones:
        near[one].add(other)
        near[other].add(one)
    # Joints farther away than any is from the layout's own centre are on the last level.
    for before, level in itertools.pairwise(levels):
        assert all(near[joint] & set(before if level is not levels[-1] else before + level) for joint in level)
    for inner, outer in itertools.combinations(range(pairs + 1), 2):
        touch = any(near[joint] & set(levels[outer]) for joint in levels[inner])
        assert touch == (outer == inner + 1)
    level_of = {joint: number for number, level in enumerate(levels) for joint in level}
    assert all(level_of[left] == level_of[right] for left, right in found.pairs)


@pytest.mark.parametrize(("layout", "centre"), [("ntu25", "spine_base"), ("coco17", ""), ("halpe26", "hip")])
def test_adjacency_joins_all_of_two_neighbouring_levels(layout, centre):
    hierarchy = Hierarchy(layout, centre)
    number = hierarchy.num_joints
    adjacency, members = hierarchy.adjacency(), hierarchy.members()
    assert adjacency.shape == (len(hierarchy.levels) - 1, 3, number, number)
    for pair, (inner, outer) in enumerate(itertools.pairwise(hierarchy.levels)):
        for v, u in itertools.product(range(number), repeat=2):
            own, outward, inward = adjacency[pair, :, v, u].tolist()
            assert own == (v == u and v in inner + outer)
            assert outward == pytest.approx(1 / len(outer) if v in outer and u in inner else 0)
            assert inward == pytest.approx(1 / len(inner) if v in inner and u in outer else 0)
        assert members[pair].nonzero().flatten().tolist() == sorted(inner + outer)


def test_an_unknown_centre_is_named_with_what_is_there():
    with pytest.raises(
        UserError, match=r"HDGCN\.CENTRE is 'neck', which SKELETON\.LAYOUT coco17 does not have.*nose, le"
    ):
        Hierarchy("coco17", "neck")


def test_of_equally_near_joints_the_first_count_whatever_else_is_in_the_batch():
    torch.manual_seed(0)
    x = torch.randn(64, 3, 16, 17)
    x[0], x[1, :, :, 8:] = 0, x[1, :, :, 8:9]
    together = nearest_joints(x, 5)
    assert together[0].tolist() == [[[0, 1, 2, 3, 4]] * 17] * 3
    assert together[1, :, 8:].eq(torch.arange(8, 13)).all()
    for one, alone in enumerate(x.split(1)):
        assert nearest_joints(alone, 5).equal(together[one : one + 1])
    # Joints on a line at equal steps: left and right are equally far, exactly.
    line = torch.arange(5.0).expand(1, 1, 2, 5)
    assert nearest_joints(line, 2)[0, 0].tolist() == [[0, 1], [1, 0], [2, 1], [3, 2], [4, 3]]


def test_neighbours_are_those_of_the_longer_formula_and_all_where_there_are_few():
    torch.manual_seed(1)
    x = torch.randn(8, 2, 4, 17, dtype=torch.float64)
    away = (x[..., :, None] - x[..., None, :]).square().sum(2)
    assert nearest_joints(x, 5).equal(away.topk(5, largest=False).indices)
    assert nearest_joints(x[..., :3], 5).shape == (8, 2, 3, 3)


def test_a_graph_of_a_group_has_weights_and_neighbours_of_its_own():
    torch.manual_seed(2)
    layer, x = EdgeConv(4, 3, groups=3).double().eval(), torch.randn(2, 3, 4, 9, dtype=torch.float64)
    changed = x.clone()
    changed[:, 1] = torch.randn(2, 4, 9)
    same = (layer(x) == layer(changed)).flatten(2).all(2)
    assert same.tolist() == [[True, False, True]] * 2


def test_attention_reads_only_joints_of_the_level_pair():
    torch.manual_seed(3)
    hierarchy = Hierarchy("openpose18")
    layer = HierarchyAttention(8, hierarchy.members()).eval()
    absent = ~hierarchy.members()
    x = torch.randn(1, 4, 8, 3, 18)
    changed = torch.where(absent[None, :, None, None], 9 * torch.rand_like(x), x)
    weights = []
    layer.expand.register_forward_hook(lambda *args: weights.append(args[-1]))
    layer(x), layer(changed)
    assert torch.allclose(*weights)
    layer(torch.where(absent[None, :, None, None], x, 9 * torch.rand_like(x)))
    assert not torch.allclose(weights[0], weights[2])


def test_the_graph_is_learned_and_a_layer_starts_as_its_way_around():
    layer, x = HierarchicalConv(3, 8, Hierarchy("coco17"), attention=False), torch.randn(2, 3, 4, 17)
    assert layer.edges.equal(Hierarchy("coco17").adjacency())
    layer(x).square().sum().backward()
    assert layer.edges.grad.flatten(1).ne(0).any(1).all()
    assert torch.allclose(layer.eval()(x), layer.around(x).relu(), atol=1e-4)
