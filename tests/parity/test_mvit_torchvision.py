"""MViT with copied weights against torchvision's mvit_v2_s, in float64: logits and gradients."""

from __future__ import annotations

import re
from unittest import mock

import pytest
import torch
from torchvision.models.video import mvit

from transm3e.config import get_cfg
from transm3e.models import build_model

# torchvision's names -> ours (PySlowFast's inside the backbone); the rest are equal.
RENAMES = (
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"attn\.project\.0\.", "attn.proj."),
    (r"attn\.pool_(.)\.pool\.", r"attn.pool_\1."),
    (r"attn\.pool_(.)\.norm_act\.0\.", r"attn.norm_\1."),
    (r"mlp\.0\.", "mlp.fc1."),
    (r"mlp\.3\.", "mlp.fc2."),
    (r"(blocks\.\d+)\.project\.", r"\1.proj."),
)


def our_name(name: str) -> str:
    if name == "pos_encoding.class_token":
        return "cls_token"
    if name.startswith("head.1."):
        return name.replace("head.1.", "head.")
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return f"backbone.{name}"


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    # Its builder fixes the input size; its class takes the builder's settings with a smaller one.
    with mock.patch.object(mvit, "_mvit", lambda **settings: settings):
        settings = mvit.mvit_v2_s()
    settings = {k: v for k, v in settings.items() if k not in ("weights", "progress")}
    settings.update(spatial_size=(64, 64), temporal_size=8, num_classes=20)
    theirs = mvit.MViT(**settings).double().eval()
    for name, parameter in theirs.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME = "MViT"
    cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE = 8, 64
    ours = build_model(cfg).double().eval()
    weights = {our_name(name): value for name, value in theirs.state_dict().items()}
    weights["cls_token"] = weights["cls_token"].reshape(1, 1, -1)
    ours.load_state_dict(weights)
    return theirs, ours


def test_logits_and_gradients_equal_torchvision(pair):
    theirs, ours = pair
    clip = torch.rand(2, 3, 8, 64, 64, dtype=torch.float64)
    expected, logits = theirs(clip), ours({"rgb": clip}).logits
    assert torch.allclose(logits, expected, rtol=0, atol=1e-12)

    expected.square().sum().backward()
    logits.square().sum().backward()
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    largest = max(p.grad.abs().max() for p in theirs.parameters() if p.grad is not None)
    for name, parameter in theirs.named_parameters():
        given = gradients[our_name(name)].reshape(parameter.shape)
        assert (given - parameter.grad).abs().max() <= 1e-11 * largest, name
