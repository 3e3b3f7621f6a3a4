"""PoseNet: what it takes no notice of, what it does with missing joints and persons, and its size."""

from __future__ import annotations

import pytest
import torch

from transm3e.config import load_cfg
from transm3e.errors import UserError
from transm3e.joints import EXTREMITIES, LAYOUTS
from transm3e.models import build_model, count_parameters
from transm3e.models.posenet import PoseNet
from transm3e.models.weights import load_weights

NAMES = LAYOUTS["body23"].names


@pytest.fixture(params=["image", "world"])
def model(request):
    torch.manual_seed(0)
    made = PoseNet("body23", 20, request.param)
    for _ in range(3):  # batch norms that have seen something
        made({"skeleton": clips(16, request.param)})
    return made.eval()


def clips(number, coordinates, frames=8, persons=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    channels = {"image": 3, "world": 4}[coordinates]
    points = torch.rand(number, channels, frames, 23, persons, generator=generator)
    points[:, -1] = 0.9
    return points


def scores(model, clip):
    with torch.no_grad():
        return model({"skeleton": clip}).logits


def test_place_size_tempo_and_order_of_frames_do_not_matter(model):
    clip = clips(2, model.coordinates)
    expected = scores(model, clip)
    moved = clip.clone()
    moved[:, :-1] = 3 * clip[:, :-1] + 0.7
    torch.testing.assert_close(scores(model, moved), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scores(model, clip.flip(2)), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(scores(model, clip.repeat_interleave(3, dim=2)), expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(scores(model, clip[:, :, :1]), expected, atol=1e-2)


def test_frames_and_persons_that_nobody_is_in_do_not_count(model):
    clip = clips(2, model.coordinates)
    expected = scores(model, clip)
    torch.testing.assert_close(
        scores(model, torch.cat([clip, torch.zeros_like(clip)], 2)), expected, rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(scores(model, torch.cat([clip, torch.zeros_like(clip)], 4)), expected)
    empty = scores(model, torch.zeros_like(clip))
    assert torch.isfinite(empty).all()
    torch.testing.assert_close(empty[0], empty[1])


def test_where_a_missing_joint_lies_does_not_matter(model):
    clip = clips(2, model.coordinates)
    feet = [NAMES.index(name) for name in EXTREMITIES]
    clip[:, -1, :, feet] = 0
    elsewhere = clip.clone()
    elsewhere[:, :-1, :, feet] = 5.0
    torch.testing.assert_close(scores(model, clip), scores(model, elsewhere))
    assert not torch.allclose(scores(model, clip), scores(model, clips(2, model.coordinates)), atol=1e-3)


def test_every_layout_can_be_read():
    for layout, joints in LAYOUTS.items():
        model = PoseNet(layout, 20)
        assert model({"skeleton": torch.rand(4, 3, 5, len(joints.names), 2)}).logits.shape == (4, 20)
    with pytest.raises(UserError, match=r"has 3 channels and 17 joints, SKELETON\.LAYOUT body23 asks for 4 and 23"):
        PoseNet("body23", 20, "world")({"skeleton": torch.rand(2, 3, 5, 17, 1)})


def test_sizes_come_from_the_config_and_depth_0_is_linear(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.DATA.MODALITY, tiny_cfg.SKELETON.LAYOUT = "PoseNet", "skeleton", "body23"
    tiny_cfg.SKELETON.COORDINATES, tiny_cfg.POSENET.DEPTH = "world", 0
    model = build_model(tiny_cfg)
    assert count_parameters(model) == 20 * (2 * model.features.count + 1)
    tiny_cfg.POSENET.DEPTH, tiny_cfg.POSENET.WIDTH, tiny_cfg.MODEL.DROPOUT_RATE = 1, 8, 0.4
    model = build_model(tiny_cfg)
    assert count_parameters(model) == 8 * (2 * model.features.count + 2) + 20 * 9
    assert [layer.p for layer in model.mlp if isinstance(layer, torch.nn.Dropout)] == [0.0, 0.4]


@pytest.mark.parametrize("missing", [("left_hip", "right_hip"), ("left_shoulder",)])
def test_without_a_torso_place_and_size_are_not_guessed(model, missing):
    clip = clips(2, model.coordinates)
    clip[:, :, :, [NAMES.index(name) for name in missing]] = 0
    moved = clip.clone()
    moved[:, :-1] = torch.where(clip[:, -1:] > 0, 3 * clip[:, :-1] + 0.7, 0)
    torch.testing.assert_close(scores(model, moved), scores(model, clip), rtol=1e-3, atol=1e-3)


def test_the_shipped_weights_fit_their_config(repo):
    cfg = load_cfg(str(repo / "configs/FreeExercise/posenet.yaml"))
    report = load_weights(build_model(cfg), repo / "datasets/annotations/free_exercise_posenet.pyth")
    assert (report.missing, report.unused) == ((), ())
