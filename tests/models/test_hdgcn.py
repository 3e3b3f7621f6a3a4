"""HD-GCN: its size, what it makes of its settings, what it refuses, that a clip stands for itself, and that it learns."""

from __future__ import annotations

import pytest
import torch

from transm3e.errors import UserError
from transm3e.models import build_model, count_parameters
from transm3e.models.hdgcn import HDGCN


@pytest.fixture
def hdgcn_cfg(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.DATA.MODALITY, tiny_cfg.HDGCN.WIDTH = "HDGCN", "skeleton", 8
    return tiny_cfg


# The authors' code has 1,649,700 with 25 joints, two persons and 20 classes, whichever of its three centres.
@pytest.mark.parametrize(
    ("layout", "centre", "number"),
    [
        *(("ntu25", "", 1_649_700), ("ntu25", "spine_mid", 1_649_700), ("ntu25", "spine_base", 1_649_700)),
        *(("coco17", "", 1_289_448), ("coco17", "hip", 1_289_448), ("coco17", "shoulder", 1_139_610)),
        *(("halpe26", "", 1_658_892), ("openpose18", "", 1_293_660)),
    ],
)
def test_number_of_parameters(layout, centre, number):
    with torch.device("meta"):
        assert count_parameters(HDGCN(layout, 20, centre=centre)) == number


def test_settings_come_from_the_config(hdgcn_cfg):
    hdgcn_cfg.SKELETON.LAYOUT, hdgcn_cfg.SKELETON.NUM_PERSONS = "halpe26", 3
    hdgcn_cfg.HDGCN.CENTRE, hdgcn_cfg.HDGCN.TEMPORAL_KERNEL, hdgcn_cfg.HDGCN.DILATIONS = "hip", 3, [1, 3]
    hdgcn_cfg.HDGCN.DROPOUT, hdgcn_cfg.MODEL.DROPOUT_RATE, hdgcn_cfg.DATA.MODALITY = 0.3, 0.4, "skeleton_bone"
    model = build_model(hdgcn_cfg)
    assert {block.spatial.edges.shape for block in model.blocks} == {(5, 3, 26, 26)}
    assert [(conv.kernel_size[0], conv.dilation[0]) for conv in model.blocks[9].temporal.dilated] == [(3, 1), (3, 3)]
    assert [block.dropout.p for block in model.blocks] == [0.0] + [0.3] * 9
    assert [block.spatial.attention is None for block in model.blocks] == [True] + [False] * 9
    assert (model.dropout.p, model.head.in_features, model.data_norm.num_features) == (0.4, 32, 3 * 3 * 26)
    assert model({"skeleton_bone": torch.zeros(2, 3, 4, 26, 3)}).logits.shape == (2, 20)
    hdgcn_cfg.HDGCN.ATTENTION = False
    assert all(block.spatial.attention is None for block in build_model(hdgcn_cfg).blocks)


@pytest.mark.parametrize(("frames", "left"), [(1, 1), (18, 5)])
def test_two_blocks_halve_the_frames_and_a_clip_stands_for_itself(frames, left):
    torch.manual_seed(0)
    model = HDGCN("coco17", 20, width=8).eval()
    sizes = []
    model.blocks.register_forward_hook(lambda *args: sizes.append(tuple(args[-1].shape)))
    clips = torch.randn(3, 3, frames, 17, 2)
    # An absent second person is a skeleton of zeros, whose joints are near each other.
    clips[1, ..., 1] = 0
    with torch.no_grad():
        together = model({"skeleton": clips}).logits
        alone = torch.cat([model({"skeleton": clip}).logits for clip in clips.split(1)])
    assert sizes[0] == (6, 32, left, 17)
    assert together.std(0).min() > 1e-3
    assert torch.allclose(together, alone, atol=1e-5)


def test_users_mistakes_are_named():
    with pytest.raises(UserError, match=r"HDGCN\.TEMPORAL_KERNEL is 4; allowed: odd"):
        HDGCN("coco17", 20, width=8, temporal_kernel=4)
    with pytest.raises(UserError, match=r"HDGCN\.WIDTH is 18; allowed: multiples of 4"):
        HDGCN("coco17", 20, width=18, dilations=(1,))
    with pytest.raises(UserError, match=r"HDGCN\.CENTRE is 'tail'"):
        HDGCN("coco17", 20, width=8, centre="tail")
    with pytest.raises(UserError, match=r"18 joints, SKELETON\.LAYOUT coco17 asks for 3 and 17"):
        HDGCN("coco17", 20, width=8)({"skeleton": torch.zeros(1, 3, 4, 18, 2)})


def test_it_fits_eight_clips(hdgcn_cfg):
    torch.manual_seed(0)
    model, clips, labels = build_model(hdgcn_cfg), torch.randn(8, 3, 4, 17, 2), torch.arange(8) % 2
    optimiser, losses = torch.optim.AdamW(model.parameters(), 1e-2), []
    for _ in range(8):
        losses.append(torch.nn.functional.cross_entropy(model({"skeleton": clips}).logits[:, :2], labels))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[0] > 0.4
    assert losses[-1] < 0.1
