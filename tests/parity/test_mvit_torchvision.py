"""MViT with copied weights against torchvision's mvit_v2_s, in float64: logits and gradients."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torchvision.models.video import mvit

from transm3e.config import get_cfg
from transm3e.models import build_model
from transm3e.models.weights import load_weights
from transm3e.models.weights.mvit import TORCHVISION
from transm3e.models.weights.rename import rename


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
    load_weights(ours, theirs.state_dict(), source="torchvision")
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
        given = gradients[rename(name, TORCHVISION)].reshape(parameter.shape)
        assert (given - parameter.grad).abs().max() <= 1e-11 * largest, name
