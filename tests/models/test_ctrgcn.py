"""CTR-GCN: its size, what it makes of persons and frames, where it starts, what it refuses, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch

from transm3e.errors import UserError
from transm3e.models import count_parameters
from transm3e.models.ctrgcn import CTRGCN


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return CTRGCN("coco17", 20, width=16).eval()


def scores(model, clip):
    with torch.no_grad():
        return model({"skeleton": clip}).logits


# The authors' code counts the same for COCO-17 (1.4M in the paper's table 2) and for NTU-25 with 60 and 120 classes.
@pytest.mark.parametrize(
    ("layout", "num_classes", "number"),
    [
        ("coco17", 20, 1_426_216),
        ("halpe26", 20, 1_437_934),
        ("openpose18", 20, 1_427_278),
        ("ntu25", 20, 1_436_392),
        ("ntu25", 60, 1_446_672),
        ("ntu25", 120, 1_462_092),
    ],
)
def test_number_of_parameters(layout, num_classes, number):
    with torch.device("meta"):
        assert count_parameters(CTRGCN(layout, num_classes)) == number


def test_sizes_and_dropout_come_from_the_config(tiny_cfg):
    tiny_cfg.SKELETON.LAYOUT, tiny_cfg.SKELETON.NUM_PERSONS, tiny_cfg.DATA.MODALITY = "ntu25", 3, "skeleton_bone"
    tiny_cfg.CTRGCN.WIDTH, tiny_cfg.CTRGCN.TEMPORAL_KERNEL, tiny_cfg.CTRGCN.DILATIONS = 20, 3, [1, 2, 4]
    tiny_cfg.CTRGCN.REDUCTION, tiny_cfg.CTRGCN.DROPOUT, tiny_cfg.MODEL.DROPOUT_RATE = 4, 0.3, 0.4
    with torch.device("meta"):
        model = CTRGCN.from_cfg(tiny_cfg)
    assert [conv.dilation for conv in model.blocks[9].temporal.dilated] == [(1, 1), (2, 1), (4, 1)]
    assert {conv.kernel_size for conv in model.blocks[9].temporal.dilated} == {(3, 1)}
    assert [block.dropout.p for block in model.blocks] == [0.0] + [0.3] * 9
    assert [block.around is None for block in model.blocks] == [True] + [False] * 9
    # Three subsets' channels of a correlation: of 20 channels for the first block too, which reads 3.
    assert [model.blocks[i].spatial.phi.out_channels for i in (0, 1, 5)] == [15, 15, 30]
    assert model.blocks[3].spatial.topology.shape == (3, 25, 25)
    assert (model.data_norm.num_features, model.dropout.p, model.modality) == (3 * 25 * 3, 0.4, "skeleton_bone")


@pytest.mark.parametrize(("frames", "left"), [(1, 1), (16, 4), (18, 5)])
def test_two_blocks_halve_the_frames(model, frames, left):
    sizes = []
    hook = model.blocks.register_forward_hook(lambda *args: sizes.append(tuple(args[-1].shape)))
    assert scores(model, torch.randn(2, 3, frames, 17, 2)).shape == (2, 20)
    hook.remove()
    assert sizes == [(4, 64, left, 17)]


def test_persons_are_averaged_and_each_has_its_own_norm():
    torch.manual_seed(0)
    model = CTRGCN("coco17", 20, width=8).double().eval()  # untrained batch norms let values grow past float32's digits
    one, two = torch.randn(2, 1, 3, 8, 17, 1, dtype=torch.float64)

    def pair(first, second):
        return scores(model, torch.cat([first, second], -1))

    both = pair(one, two)
    assert torch.allclose(both, (pair(one, one) + pair(two, two)) / 2)
    assert torch.allclose(both, pair(two, one)), "the norms start equal"
    with torch.no_grad():
        model.data_norm.bias[51:] = 1.0  # of the second person
    shift = (1 + model.data_norm.eps) ** 0.5  # as a running mean of 0 and variance of 1 leave it
    moved = pair(one, two)
    with torch.no_grad():
        model.data_norm.bias.zero_()
    assert torch.allclose(pair(one, two + shift), moved)
    assert not torch.allclose(both, moved)


def test_it_starts_as_the_authors_does():
    torch.manual_seed(0)
    block = CTRGCN("ntu25", 20).blocks[8]
    assert (block.spatial_norm.weight == 1e-6).all()
    assert block.spatial.alpha.tolist() == [0.0]
    width = 256 // 4
    for conv, fan_out in [
        (block.spatial.value, 256),
        (block.spatial.phi, 32),
        (block.spatial.psi, 32),
        (block.spatial.xi, 256),
        (block.temporal.enter[0], width),
        (block.temporal.dilated[1], 5 * width),
        (block.temporal.point, width),
    ]:
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
        assert not conv.bias.any()


def test_users_mistakes_are_named(model):
    for settings, message in [
        ({"temporal_kernel": 4}, r"CTRGCN\.TEMPORAL_KERNEL is 4; allowed: odd"),
        ({"width": 18}, r"CTRGCN\.WIDTH is 18; allowed: multiples of 4"),
        ({"dilations": (0, 1)}, r"CTRGCN\.DILATIONS is \[0, 1\]; allowed: whole numbers of frames from 1"),
        ({"reduction": 0}, r"CTRGCN\.REDUCTION is 0; allowed: 1 to CTRGCN\.WIDTH, which is 64"),
    ]:
        with pytest.raises(UserError, match=message):
            CTRGCN("coco17", 20, **settings)
    with pytest.raises(UserError, match=r"25 joints, SKELETON\.LAYOUT coco17 asks for 3 and 17"):
        model({"skeleton": torch.zeros(1, 3, 4, 25, 2)})
    with pytest.raises(UserError, match=r"has 1 persons, the model was built for SKELETON\.NUM_PERSONS 2"):
        model({"skeleton": torch.zeros(1, 3, 4, 17, 1)})


def test_it_fits_eight_clips_and_learns_to_refine():
    torch.manual_seed(0)
    model, clips, labels = CTRGCN("coco17", 2, width=8), torch.randn(8, 3, 6, 17, 2), torch.arange(8) % 2
    optimiser, losses = torch.optim.AdamW(model.parameters(), 3e-3), []
    for _ in range(20):
        losses.append(torch.nn.functional.cross_entropy(model({"skeleton": clips}).logits, labels))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[0] > 0.5
    assert losses[-1] < 0.05
    assert all(block.spatial.alpha.abs() > 1e-4 for block in model.blocks)
    assert all(block.spatial.phi.weight.grad.abs().max() > 0 for block in model.blocks)
