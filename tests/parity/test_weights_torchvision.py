"""torchvision's mvit_v2_s through load_weights, in float64: its logits, also at another input size."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torchvision.models.video import mvit

from transm3e.config import get_cfg
from transm3e.models import build_model
from transm3e.models.weights import load_weights

SIZE, OTHER_SIZE = (8, 64), (4, 96)


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    # Its builder fixes the input size; its class takes the builder's settings with a smaller one.
    with mock.patch.object(mvit, "_mvit", lambda **settings: settings):
        settings = mvit.mvit_v2_s()
    settings = {k: v for k, v in settings.items() if k not in ("weights", "progress")}
    settings.update(temporal_size=SIZE[0], spatial_size=(SIZE[1],) * 2, num_classes=20)
    model = mvit.MViT(**settings).double().eval()
    for name, parameter in model.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def ours(frames, crop):
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME = "MViT"
    cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE = frames, crop
    return build_model(cfg).double().eval()


def clip(frames, crop):
    return torch.rand(1, 3, frames, crop, crop, dtype=torch.float64)


@pytest.mark.parametrize("source", ["torchvision", "auto"])
@torch.no_grad()
def test_logits_equal_torchvision(theirs, source):
    model, x = ours(*SIZE), clip(*SIZE)
    report = load_weights(model, theirs.state_dict(), source=source)
    assert (len(report.loaded), report.missing, report.reshaped, report.source) == (397, (), (), "torchvision")
    assert torch.allclose(model({"rgb": x}).logits, theirs(x), rtol=0, atol=1e-12)


@torch.no_grad()
def test_tables_for_another_size_are_those_that_the_model_interpolates_itself(theirs):
    textbook, model, x = ours(*SIZE), ours(*OTHER_SIZE), clip(*OTHER_SIZE)
    load_weights(textbook, theirs.state_dict())
    report = load_weights(model, theirs.state_dict())
    names = {name.rsplit(".")[-1] for name, _ in report.reshaped}
    assert names == {"rel_pos_t", "rel_pos_h", "rel_pos_w"}
    assert dict(report.reshaped)["backbone.blocks.0.attn.rel_pos_h"] == "(31, 96) -> (47, 96), interpolated"
    assert str(report).endswith("reshaped (names of torchvision)")
    expected = textbook({"rgb": x}).logits
    assert torch.allclose(model({"rgb": x}).logits, expected, rtol=0, atol=1e-12)
    # The tables matter: without them the logits are others.
    for name, table in model.named_parameters():
        if "rel_pos" in name:
            table.zero_()
    assert not torch.allclose(model({"rgb": x}).logits, expected, rtol=0, atol=1e-6)
