"""Automatic mixed precision costs no more exactness than torchvision's: errors against float64 under one autocast."""

from __future__ import annotations

import pytest
import torch

from tests.parity.test_mvit_torchvision import cfg_s, ours_like, torchvision_s
from transm3e.models.weights.mvit import TORCHVISION
from transm3e.models.weights.rename import rename

FRAMES, CROP, SEEDS = 8, 64, (0, 1)
# Block -> (T, H, W) of its input: the first, and one that pools q.
BLOCKS = {0: (4, 16, 16), 3: (4, 8, 8)}
# Ours may be this much worse.
MARGIN = 1.1


def cpu_can(dtype):
    """Whether this torch has autocast for `dtype` on CPUs, down to attention and convolutions."""
    x, conv = torch.ones(1, 8, 2, 4), torch.nn.Conv3d(8, 8, 1, groups=8)
    try:
        with torch.autocast("cpu", dtype):
            out = torch.nn.functional.scaled_dot_product_attention(x, x, x @ torch.ones(4, 4))
            conv(out[..., None])
    except RuntimeError:
        return False
    return out.dtype == dtype


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def dtype(request):
    if not cpu_can(request.param):
        pytest.skip(f"this torch has no {request.param} autocast on CPUs")
    return request.param


@pytest.fixture(scope="module")
def pairs():
    """For each seed their model and ours with the same weights."""
    made = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        theirs = torchvision_s(FRAMES, CROP)
        made.append((theirs, ours_like(theirs, cfg_s(FRAMES, CROP))))
    return made


def error(given, exact):
    """Root mean square of the difference in that of the exact values."""
    given, exact = (torch.cat([part.double().flatten() for part in parts]) for parts in (given, exact))
    return ((given - exact).square().mean() / exact.square().mean()).sqrt().item()


@torch.inference_mode()
def test_logits(pairs, dtype):
    exact, given, reference = [], [], []
    for seed, (theirs, ours) in enumerate(pairs):
        torch.manual_seed(seed)
        clip = torch.randn(1, 3, FRAMES, CROP, CROP)
        exact.append(theirs.double()(clip.double()))
        theirs.float()
        with torch.autocast("cpu", dtype):
            given.append(ours({"rgb": clip}).logits)
            reference.append(theirs(clip))
    ours_error, their_error = error(given, exact), error(reference, exact)
    print(f"relative rms error of the logits in {dtype}: ours {ours_error:.4f}, torchvision's {their_error:.4f}")
    assert ours_error <= MARGIN * their_error


@pytest.mark.parametrize("block", BLOCKS)
@torch.inference_mode()
def test_attention(pairs, dtype, block):
    size = BLOCKS[block]
    exact, given, reference = [], [], []
    for seed, (theirs, ours) in enumerate(pairs):
        torch.manual_seed(seed)
        attn, other = ours.backbone.blocks[block].attn, theirs.blocks[block].attn
        x = torch.randn(2, 1 + size[0] * size[1] * size[2], attn.qkv.in_features)
        exact.append(other.double()(x.double(), size)[0])
        other.float()
        with torch.autocast("cpu", dtype):
            patches, tokens = attn(x[:, 1:], x[:, :1], size)
            given.append(torch.cat((tokens, patches), dim=1))
            reference.append(other(x, size)[0])
    ours_error, their_error = error(given, exact), error(reference, exact)
    print(f"relative rms error of attention {block} in {dtype}: ours {ours_error:.5f}, torchvision's {their_error:.5f}")
    assert ours_error <= MARGIN * their_error


def gradients(model, logits):
    model.zero_grad()
    logits.double().square().sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    return found


def test_gradients(pairs, dtype):
    theirs, ours = pairs[0]
    torch.manual_seed(0)
    clip = torch.randn(1, 3, FRAMES, CROP, CROP)
    exact = gradients(theirs.double(), theirs(clip.double()))
    theirs.float()
    with torch.autocast("cpu", dtype):
        outputs = ours({"rgb": clip}).logits, theirs(clip)
    given, reference = gradients(ours, outputs[0]), gradients(theirs, outputs[1])
    given = [given[rename(name, TORCHVISION)] for name in exact]
    ours_error, their_error = (error(found, exact.values()) for found in (given, reference.values()))
    print(f"relative rms error of all gradients in {dtype}: ours {ours_error:.4f}, torchvision's {their_error:.4f}")
    assert ours_error <= MARGIN * their_error
