"""torchvision's mvit_v2_s through load_weights, in float64: its logits, also at another input size."""

from __future__ import annotations

import pytest
import torch

from tests.parity.test_mvit_torchvision import cfg_s, torchvision_s
from transm3e.models import build_model
from transm3e.models.weights import load_weights

SIZE, OTHER_SIZE = (8, 64), (4, 96)


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return torchvision_s(*SIZE).double()


def ours(frames, crop):
    return build_model(cfg_s(frames, crop)).double().eval()


def clip(frames, crop):
    return torch.rand(1, 3, frames, crop, crop, dtype=torch.float64)


@pytest.mark.parametrize("source", ["torchvision", "auto"])
@torch.no_grad()
def test_logits_equal_torchvision(theirs, source):
    model, x = ours(*SIZE), clip(*SIZE)
    report = load_weights(model, theirs.state_dict(), source=source)
    assert (report.missing, report.reshaped, report.source) == ((), (), "torchvision")
    assert len(report.loaded) == len(theirs.state_dict())
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
