"""MViT with copied weights against torchvision's class in float64, S and B: logits and gradients."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torchvision.models.video import mvit

from transm3e.benchmark.gpu.agreement import mvit_cfg, torchvision_mvit, with_tables
from transm3e.models import build_model
from transm3e.models.weights import load_weights
from transm3e.models.weights.mvit import TORCHVISION
from transm3e.models.weights.rename import rename

# Where width and heads double and q is pooled. The last doubling, at 14 of 16 blocks and 21 of 24, comes after many
# blocks of one kind: where gradients are compared, the first blocks stand for all.
DOUBLING_B = (2, 5)
FIRST_S, DEPTH_B = 5, 7


def torchvision_s(frames, crop, depth=FIRST_S):
    """torchvision's MViTv2-S for another input size, in evaluation, with relative positions that matter."""
    # Its builder fixes the input size; its class takes the builder's settings with another one.
    with mock.patch.object(mvit, "_mvit", lambda **settings: settings):
        settings = mvit.mvit_v2_s()
    settings = {k: v for k, v in settings.items() if k not in ("weights", "progress")}
    settings.update(spatial_size=(crop, crop), temporal_size=frames, num_classes=20)
    settings["block_setting"] = settings["block_setting"][:depth]
    return with_tables(mvit.MViT(**settings)).eval()


def torchvision_b(frames, crop):
    return torchvision_mvit(frames, crop, DEPTH_B, DOUBLING_B).eval()


def cfg_s(frames, crop, depth=FIRST_S):
    return mvit_cfg(frames, crop, depth)


def cfg_b(frames, crop):
    return mvit_cfg(frames, crop, DEPTH_B, DOUBLING_B)


def ours_like(theirs, cfg, reshaped=0):
    """Our model of `cfg` with their weights, `reshaped` of them of another size, in evaluation and their type."""
    model = build_model(cfg).to(theirs.conv_proj.weight.dtype).eval()
    report = load_weights(model, theirs.state_dict(), source="torchvision")
    assert (report.missing, len(report.reshaped)) == ((), reshaped)
    return model


@pytest.mark.parametrize(
    ("make", "cfg_of", "frames", "crop"),
    [(torchvision_s, cfg_s, 8, 64), (torchvision_s, cfg_s, 4, 96), (torchvision_b, cfg_b, 4, 64)],
)
def test_logits_and_gradients_equal_torchvision(make, cfg_of, frames, crop):
    torch.manual_seed(0)
    theirs = make(frames, crop).double()
    ours = ours_like(theirs, cfg_of(frames, crop))
    clip, also = (torch.rand(2, 3, frames, crop, crop, dtype=torch.float64).requires_grad_() for _ in range(2))
    also.data.copy_(clip.data)
    expected, logits = theirs(clip), ours({"rgb": also}).logits
    assert torch.allclose(logits, expected, rtol=0, atol=1e-12)

    expected.square().sum().backward()
    logits.square().sum().backward()
    assert (also.grad - clip.grad).abs().max() <= 1e-11 * clip.grad.abs().max()
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    largest = max(p.grad.abs().max() for p in theirs.parameters() if p.grad is not None)
    for name, parameter in theirs.named_parameters():
        given = gradients[rename(name, TORCHVISION)].reshape(parameter.shape)
        assert (given - parameter.grad).abs().max() <= 1e-11 * largest, name


@torch.inference_mode()
@pytest.mark.parametrize(
    ("depth", "doubling", "embed", "heads", "crop", "reshaped"),
    [(10, (1, 3, 8), 96, 1, 64, 0), (9, (2, 8), 144, 2, 64, 0), (9, (2, 8), 144, 2, 56, 2)],
    ids=["T", "L", "L rounded"],
)
def test_logits_of_all_of_t_and_the_first_blocks_of_l(depth, doubling, embed, heads, crop, reshaped):
    """Where patches are pooled to a rounded-up size, 14 to 7 to 4 as MViTv2-L's 39 to 20, torchvision's and PySlowFast's
    tables are those of the size rounded down, and interpolated whenever they are read."""
    torch.manual_seed(0)
    theirs = torchvision_mvit(4, crop, depth, doubling, embed, heads).double().eval()
    cfg = mvit_cfg(4, crop, depth, doubling)
    cfg.MVIT.EMBED_DIM, cfg.MVIT.NUM_HEADS = embed, heads
    clip = torch.rand(1, 3, 4, crop, crop, dtype=torch.float64)
    assert torch.allclose(ours_like(theirs, cfg, reshaped)({"rgb": clip}).logits, theirs(clip), rtol=0, atol=1e-12)


@torch.inference_mode()
def test_logits_equal_torchvision_at_the_size_it_is_trained_with():
    """All blocks on 16 x 224 x 224, in float32: float64, at the sizes above, is what shows a formula to be the same."""
    torch.manual_seed(0)
    theirs = torchvision_s(16, 224, depth=16)
    ours = ours_like(theirs, cfg_s(16, 224, depth=16))
    clip = torch.rand(1, 3, 16, 224, 224)
    assert (ours({"rgb": clip}).logits - theirs(clip)).abs().max() <= 1e-5
