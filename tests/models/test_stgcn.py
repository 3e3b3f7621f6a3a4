"""ST-GCN: its size, what it makes of persons and frames, what it refuses, and that it learns."""

from __future__ import annotations

import pytest
import torch

from transm3e.errors import UserError
from transm3e.models import build_model, count_parameters
from transm3e.models.stgcn import STGCN


@pytest.fixture
def skeleton_cfg(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.DATA.MODALITY = "STGCN", "skeleton"
    return tiny_cfg


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return STGCN("coco17", "spatial", 20).eval()


def scores(model, clip):
    with torch.no_grad():
        return model({"skeleton": clip}).logits


# The paper's table 2 has 2.6M: uniform. The authors' code counts the same, joint for joint.
@pytest.mark.parametrize(
    ("layout", "partition", "number"),
    [
        ("coco17", "uniform", 2_635_268),
        ("coco17", "distance", 2_856_846),
        ("coco17", "spatial", 3_078_424),
        ("openpose18", "spatial", 3_079_480),
        ("halpe26", "uniform", 2_639_192),
        ("ntu25", "spatial", 3_088_552),
    ],
)
def test_number_of_parameters(layout, partition, number):
    with torch.device("meta"):
        assert count_parameters(STGCN(layout, partition, 20)) == number


def test_sizes_and_dropout_come_from_the_config(skeleton_cfg):
    skeleton_cfg.SKELETON.LAYOUT, skeleton_cfg.STGCN.PARTITION = "halpe26", "distance"
    skeleton_cfg.STGCN.TEMPORAL_KERNEL, skeleton_cfg.STGCN.DROPOUT, skeleton_cfg.MODEL.DROPOUT_RATE = 5, 0.3, 0.4
    skeleton_cfg.STGCN.WIDTH = 8
    model = build_model(skeleton_cfg)
    assert [block.temporal[2].kernel_size for block in model.blocks] == [(5, 1)] * 10
    assert [block.temporal[4].p for block in model.blocks] == [0.0] + [0.3] * 9
    assert model.dropout.p == 0.4
    assert (model.blocks[0].spatial.conv.in_channels, model.head.in_features) == (3, 32)
    assert model.blocks[3].spatial.importance.shape == (2, 26, 26)
    assert [block.around is None for block in model.blocks] == [True] + [False] * 9


@pytest.mark.parametrize(("frames", "left"), [(1, 1), (16, 4), (18, 5)])
def test_two_blocks_halve_the_frames(model, frames, left):
    sizes = []
    hook = model.blocks.register_forward_hook(lambda *args: sizes.append(tuple(args[-1].shape)))
    assert scores(model, torch.randn(2, 3, frames, 17, 3)).shape == (2, 20)
    hook.remove()
    assert sizes == [(6, 256, left, 17)]


def test_persons_are_averaged_and_an_absent_one_counts_as_one_of_zeros(model):
    torch.manual_seed(1)
    one, two = torch.randn(2, 1, 3, 8, 17, 1)
    nobody = torch.zeros_like(one)
    both = scores(model, torch.cat([one, two], -1))
    assert torch.allclose(both, (scores(model, one) + scores(model, two)) / 2, atol=1e-6)
    assert torch.allclose(both, scores(model, torch.cat([two, one], -1)), atol=1e-6)
    alone = scores(model, torch.cat([one, nobody], -1))
    assert torch.allclose(alone, (scores(model, one) + scores(model, nobody)) / 2, atol=1e-6)


def test_users_mistakes_are_named(model):
    with pytest.raises(UserError, match=r"STGCN\.TEMPORAL_KERNEL is 4; allowed: odd"):
        STGCN("coco17", "uniform", 20, temporal_kernel=4)
    with pytest.raises(UserError, match=r"18 joints, SKELETON\.LAYOUT coco17 asks for 3 and 17"):
        model({"skeleton": torch.zeros(1, 3, 4, 18, 2)})


def test_it_reads_the_stream_that_it_was_built_for(skeleton_cfg):
    skeleton_cfg.DATA.MODALITY = "skeleton_bone"
    assert build_model(skeleton_cfg)({"skeleton_bone": torch.zeros(1, 3, 4, 17, 2)}).logits.shape == (1, 20)


def test_it_fits_eight_clips(skeleton_cfg):
    torch.manual_seed(0)
    model, clips, labels = build_model(skeleton_cfg), torch.randn(8, 3, 6, 17, 2), torch.arange(8) % 2
    optimiser, losses = torch.optim.AdamW(model.parameters(), 1e-3), []
    for _ in range(12):
        losses.append(torch.nn.functional.cross_entropy(model({"skeleton": clips}).logits[:, :2], labels))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[0] > 0.5
    assert losses[-1] < 0.05
