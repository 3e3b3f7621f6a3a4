"""VideoSwin against torchvision in float64: its own video model, and its image model where a clip stands still."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer
from torchvision.models.video import swin_transformer

from transm3e.models.videoswin import VideoSwin
from transm3e.models.weights import load_weights

SIZES = {"patch_size": [2, 4, 4], "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 2, 2]}
SIZE_B = {"embed_dim": 128, "num_heads": (4, 8, 16, 32)}


def drawn(model):
    """The model in float64 and evaluation, with norms and tables that matter."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, float(parameter.dim() == 1), 0.3)
    return model.double().eval()


def blocks(net):
    """What the weights do not show of each block."""
    found = [module for module in net.modules() if isinstance(module, swin_transformer.SwinTransformerBlock)]
    return [(b.attn.num_heads, b.attn.window_size, b.attn.shift_size, b.stochastic_depth.p) for b in found]


@pytest.mark.parametrize(("builder", "sizes"), [("swin3d_s", {}), ("swin3d_b", SIZE_B)])
def test_sizes_and_names_are_torchvisions(builder, sizes):
    with torch.device("meta"):
        theirs, ours = getattr(swin_transformer, builder)(), VideoSwin("rgb", 400, **sizes)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {f"net.{name}": tensor.shape for name, tensor in theirs.state_dict().items()}
    assert blocks(ours) == blocks(theirs)


# Whole windows; odd sizes, filled up to patches and windows; fewer patches than a window has.
@pytest.mark.parametrize("size", [(16, 32, 32), (9, 37, 30), (4, 6, 40)])
def test_logits_and_gradients_equal_torchvision(size):
    torch.manual_seed(0)
    theirs, ours = drawn(swin_transformer.SwinTransformer3d(**SIZES, num_classes=5)), VideoSwin("rgb", 5, **SIZES)
    report = load_weights(ours.double().eval(), theirs.state_dict())
    assert (report.source, report.missing, report.unused, report.reshaped) == ("torchvision", (), (), ())
    clip = torch.rand(2, 3, *size, dtype=torch.float64)
    results = []
    for model, logits in ((theirs, theirs(clip)), (ours, ours({"rgb": clip}).logits)):
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(*results, strict=True))


# Frames -> temporal patches of windows of 4: one patch, half a window, one, two of them shifted by half.
@pytest.mark.parametrize(("frames", "same"), [(2, True), (4, True), (8, True), (16, True), (12, False), (7, False)])
@torch.no_grad()
def test_a_still_clip_is_seen_as_its_frame(frames, same):
    torch.manual_seed(0)
    image = drawn(SwinTransformer([4, 4], 8, [2, 2], [2, 4], [2, 2], num_classes=5))
    model = drawn(VideoSwin("rgb", 5, **SIZES))
    load_weights(model, image.state_dict())
    frame = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    given, expected = model({"rgb": frame[:, :, None].expand(-1, -1, frames, -1, -1)}).logits, image(frame)
    # Keys are repeated within a window, so its softmax divides evenly; zeros that fill up a window (6 patches) or a
    # patch (7 frames) are no repetition.
    assert torch.allclose(given, expected, rtol=0, atol=1e-12) == same
