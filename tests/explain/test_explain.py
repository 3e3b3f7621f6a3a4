"""Grad-CAM, attention and joints on tiny models: exact weights, places that matter, and the deletion test."""

import pytest
import torch
from torch.nn import functional

from tests.each import assert_each
from tests.test_every_model import TINY
from transm3e.config.node import merge, opt_settings
from transm3e.errors import UserError
from transm3e.explain.attention import rollout, token_attention, token_similarity, watch_attention
from transm3e.explain.cam import METHODS, grad_cam, joint_importance
from transm3e.explain.deletion import deletion_curve, random_heat
from transm3e.modalities import readable_by
from transm3e.models import MODELS, build_model

SIDE, LENGTH = 32, 4


STUDENT = [
    "MODEL.MODEL_NAME",
    "TransM3E",
    "TRANSM3E.RECEIVERS",
    True,
    "TRANSM3E.FUSION",
    "mctf",
    "TRANSM3E.NUM_MCTS",
    3,
]


def build(cfg, name):
    cfg = cfg.clone()
    merge(cfg, opt_settings([*(STUDENT if name == "student" else TINY[name]), "MODEL.NUM_CLASSES", 2]), "test")
    if cfg.DATA.MODALITY not in readable_by(MODELS[cfg.MODEL.MODEL_NAME]):
        cfg.DATA.MODALITY = "skeleton"
    return build_model(cfg)


def squares(count, seed):
    """Noise; every second clip has a square somewhere. Returns clips, labels and the square's box or None."""
    draw = torch.Generator().manual_seed(seed)
    clips = 0.3 * torch.randn(count, 3, LENGTH, SIDE, SIDE, generator=draw)
    labels, places = torch.arange(count) % 2, torch.randint(0, 3, (count, 2), generator=draw) * 8
    for clip, there, (top, left) in zip(clips, labels, places.tolist(), strict=True):
        if there:
            # As dark as bright, so that a clip's mean, with which patches are erased, does not tell.
            clip[:, :, top : top + 12, left : left + 6] += 2
            clip[:, :, top : top + 12, left + 6 : left + 12] -= 2
    return clips, labels, places


def trained(cfg, name, steps):
    """A tiny model that says whether there is a square, after a few steps."""
    model = build(cfg, name)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        clips, labels, _ = squares(16, step)
        # Some patches are erased, of both classes, so that erasing alone says nothing.
        heat = random_heat(clips[:, 0], 4, step)
        clips = torch.where(heat[:, None] > 0.7, clips.mean((2, 3, 4), keepdim=True), clips)
        loss = functional.cross_entropy(model({"rgb": clips}).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_every_model_of_pixels_shows_where_it_looks(tiny_cfg):
    clips, labels, _ = squares(2, 0)

    def check(name):
        for method in METHODS:
            heat = grad_cam(build(tiny_cfg, name), {"rgb": clips}, labels, method)
            assert heat.shape == (2, LENGTH, SIDE, SIDE)
            assert heat.min() >= 0
            assert set(heat.flatten(1).amax(1).tolist()) <= {0.0, 1.0}

    resnets = ("C2D", "I3D", "Slow", "SlowFast", "X3D", "PTVCSN", "PTVR2plus1D")
    names = (*resnets, "VideoSwin", "MViT", "DeiT", "TransM3E", "student")
    assert_each(check, {name: name for name in names})
    with pytest.raises(UserError, match="AllOnes has no features"):
        grad_cam(build(tiny_cfg, "AllOnes"), {"rgb": clips}, labels)


@pytest.mark.parametrize(("name", "steps"), [("VideoSwin", 40), ("MViT", 60)])
def test_erasing_what_is_highlighted_lowers_the_score_more_than_erasing_anything(tiny_cfg, name, steps):
    model = trained(tiny_cfg, name, steps)
    clips, labels, _ = squares(16, 999)
    clips = clips[labels == 1]

    def score(x):
        return model({"rgb": x}).logits.diff(dim=1)[:, 0]

    assert score(clips).mean() > 2
    anything = torch.stack([deletion_curve(score, clips, random_heat(clips[:, 0], 4, i), 4).mean(1) for i in range(3)])
    for method in METHODS:
        heat = grad_cam(model, {"rgb": clips}, torch.ones(len(clips), dtype=torch.int64), method)
        highlighted = deletion_curve(score, clips, heat, 4).mean(1)
        assert highlighted[0] == anything[0, 0]
        assert highlighted[1:].mean() < anything[:, 1:].mean() - 0.5, (method, highlighted, anything.mean(0))


def test_weights_are_those_that_the_fused_attention_used(tiny_cfg):
    model = build(tiny_cfg, "student").double().eval()
    clips = {"rgb": squares(2, 1)[0].double()}
    plain = model(clips).logits
    for block in model.backbone.blocks:  # positions that matter
        for axis in "thw":
            torch.nn.init.normal_(getattr(block.attn, f"rel_pos_{axis}"))
    moved = model(clips).logits
    assert not torch.allclose(plain, moved)
    outputs, values = [], []
    attn = model.backbone.blocks[1].attn
    fused = attn._attend
    attn._attend = lambda q, k, v: (values.append(v), outputs.append(fused(q, k, v)))[1] or outputs[-1]
    with torch.no_grad():
        model(clips)
    del attn._attend
    with torch.no_grad(), watch_attention(model.backbone) as found:
        assert torch.equal(model(clips).logits, moved)
    assert "_attend" not in vars(attn)
    for rows in found[1].rows:
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
    if attn.num_heads == 1:
        width = outputs[0].shape[-1]
        for rows, v, out in zip(found[1].rows, values, outputs, strict=True):
            torch.testing.assert_close(rows.double() @ v[:, :, 0, :width], out[:, :, 0], rtol=1e-4, atol=1e-5)


def test_maps_of_tokens(tiny_cfg):
    model, clips = build(tiny_cfg, "student"), {"rgb": squares(2, 1)[0]}
    tokens = 2 * model.num_mcts
    for maps in (token_attention(model, clips), rollout(model, clips)):
        assert maps.shape == (2, tokens, LENGTH, SIDE, SIDE)
        torch.testing.assert_close(maps.flatten(2).amax(2), torch.ones(2, tokens))
    alike = token_similarity(model, clips)
    torch.testing.assert_close(alike.diagonal(dim1=1, dim2=2), torch.ones(2, tokens))


@pytest.mark.parametrize("name", ["STGCN", "PoseNet"])
def test_missing_joints_have_no_importance(tiny_cfg, name):
    model = build(tiny_cfg, name)
    joints = model.num_joints if name == "STGCN" else 23
    draw = torch.Generator().manual_seed(0)
    clip = torch.rand(2, 3, 8, joints, 1, generator=draw)
    clip[:, :, :, 3] = 0
    found = joint_importance(model, {model.modality: clip}, torch.tensor([0, 1]))
    assert found.shape == (2, 8, joints, 1)
    assert not found[:, :, 3].any()
    assert found.amax() == 1
