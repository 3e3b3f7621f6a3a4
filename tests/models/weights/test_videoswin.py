"""Swin Transformers of torchvision, timm, their authors and mmaction2, video and image, into VideoSwin."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer, swin_b, swin_s
from torchvision.models.video.swin_transformer import SwinTransformer3d, swin3d_s

from transm3e.errors import UserError
from transm3e.models.videoswin import VideoSwin
from transm3e.models.weights import find_source, load_weights

SIZES = {"patch_size": [2, 4, 4], "embed_dim": 8, "depths": [2, 1, 2], "num_heads": [2, 4, 4], "window_size": [4, 2, 2]}
SIZE_B = {"embed_dim": 128, "num_heads": (4, 8, 16, 32)}
IMAGE_SIZES = {**SIZES, "patch_size": [4, 4], "window_size": [2, 2]}
HEAD = ("net.head.weight", "net.head.bias")
# Whose names -> source, prefix of all but the head, last norm, head, where patches are merged, buffers of masks.
STYLES = {
    "timm": ("timm", "", "norm", "head.fc", 1, False),
    "swin authors": ("timm", "", "norm", "head", 0, True),
    "video authors": ("videoswin", "backbone.", "norm", "cls_head.fc_cls", 0, False),
    "mmaction2": ("videoswin", "backbone.", "norm3", "cls_head.fc_cls", 0, False),
}
IMAGE_STYLES = ("timm", "swin authors")
VIDEO_STYLES = ("video authors", "mmaction2")


def named(state, style):
    """A state dict under torchvision's names, image or video -> as others name and keep it."""
    _, prefix, norm, head, merging, masks = STYLES[style]
    result, shift = {}, 0 if "patch_embed.proj.weight" in state else 1
    for name, tensor in state.items():
        if style == "timm" and name.endswith("relative_position_index"):
            continue
        name = name.replace("features.0.0.", "patch_embed.proj.") if shift else name
        name = name.replace("features.0.2.", "patch_embed.norm.") if shift else name
        place = re.match(r"features\.(\d+)\.(.*)", name)
        if place:
            stage, merges = divmod(int(place[1]) - shift, 2)
            rest = place[2].replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
            name = f"layers.{stage + merging}.downsample.{rest}" if merges else f"layers.{stage}.blocks.{rest}"
        name = re.sub(r"^norm\.", f"{norm}.", name)
        result[re.sub(r"^head\.", f"{head}.", name) if name.startswith("head.") else prefix + name] = tensor
    if masks:
        result["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    return result


def drawn(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


@pytest.fixture
def model():
    torch.manual_seed(1)
    return drawn(VideoSwin("rgb", 5, **SIZES))


def image_net(**sizes):
    torch.manual_seed(2)
    return drawn(SwinTransformer(**{**IMAGE_SIZES, **sizes}, num_classes=5))


@pytest.mark.parametrize("style", VIDEO_STYLES)
@torch.no_grad()
def test_video_weights_compute_what_they_did(model, style):
    theirs = drawn(SwinTransformer3d(**SIZES, num_classes=5))
    state = named(theirs.state_dict(), style)
    report = load_weights(model, state)
    assert (report.source, report.reshaped) == ("videoswin", ())
    assert len(report.missing) == len(report.unused) == 5
    assert all(name.endswith("relative_position_index") for name in (*report.missing, *report.unused))
    assert set(report.unused) <= set(state)
    clip = torch.rand(2, 3, 16, 32, 32, dtype=torch.float64)
    assert torch.equal(model({"rgb": clip}).logits, theirs(clip))


@pytest.mark.parametrize("style", [None, *IMAGE_STYLES])
@torch.no_grad()
def test_image_weights_are_inflated(model, style):
    theirs = image_net().state_dict()
    report = load_weights(model, named(theirs, style) if style else theirs)
    assert report.source == ("timm" if style else "torchvision")
    assert "an image model" in str(report)
    own, patch, table = model.net.state_dict(), "patch_embed.proj.weight", "attn.relative_position_bias_table"
    # Twice half the kernel.
    assert torch.equal(own[patch], torch.stack([theirs["features.0.0.weight"] / 2] * 2, dim=2))
    # (2 x 4 - 1) x 3 x 3 relative positions: the same 3 x 3 at each of 7 distances in time.
    for ours, other in (("features.0.1", "features.1.1"), ("features.4.0", "features.5.0")):
        per_step = own[f"{ours}.{table}"].unflatten(0, (7, 9))
        assert torch.equal(per_step, theirs[f"{other}.{table}"].expand(7, -1, -1))
    assert torch.equal(own["features.1.reduction.weight"], theirs["features.2.reduction.weight"])
    assert torch.equal(own["patch_embed.norm.bias"], theirs["features.0.2.bias"])
    done = dict(report.reshaped)
    assert len(done) == 6
    assert done[f"net.features.0.0.{table}"] == "repeated over 7 relative positions in time"
    # One frame of an image net and a still clip: the same logits, see tests/parity for when.
    frame = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    logits = model({"rgb": frame[:, :, None].expand(-1, -1, 16, -1, -1)}).logits
    assert torch.allclose(logits, image_net()(frame), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("net", "sizes", "style"),
    [(swin_s, {}, None), (swin_s, {}, "swin authors"), (swin_b, SIZE_B, "timm"), (swin3d_s, {}, None)]
    + [(swin3d_s, {}, style) for style in VIDEO_STYLES],
)
def test_every_name_of_the_full_sizes_has_its_place(net, sizes, style):
    with torch.device("meta"):
        state, model = net(weights=None).state_dict(), VideoSwin("rgb", 20, **sizes)
        state = named(state, style) if style else state
    report = load_weights(model, state, ("net.head.",))
    assert report.source == (STYLES[style][0] if style else "torchvision")
    assert set(HEAD) == {name for name in report.missing if not name.endswith("relative_position_index")}
    assert {name.rsplit(".", 1)[1] for name in report.unused} <= {"relative_position_index", "attn_mask"}
    # 24 tables and the patch kernel of an image net.
    assert len(report.reshaped) == (0 if net is swin3d_s else 25)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ([3, 3], r"x\.pth: it was trained with an image window of 3x3 patches \(tables of 25 relative positions\)"),
        ([4, 4], r"window of 4x4 patches .* do not fit VIDEOSWIN\.WINDOW_SIZE \(63\); set VIDEOSWIN\.WINDOW_SIZE to"),
    ],
)
def test_image_weights_of_another_window_are_refused(model, window, message):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_weights(model, image_net(window_size=window).state_dict(), name="x.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_window_that_only_looks_alike_is_refused():
    # Both its 3 x (1 x 9) rows and 3 x (3 x 3) are three times the 9 of the image, which has other neighbours.
    with pytest.raises(UserError, match="image window of 2x2"):
        load_weights(VideoSwin("rgb", 5, **{**SIZES, "window_size": [2, 1, 5]}), image_net().state_dict())


def test_video_weights_of_another_window_or_width_are_refused(model):
    state = SwinTransformer3d(**{**SIZES, "window_size": [8, 2, 2]}, num_classes=5).state_dict()
    with pytest.raises(UserError, match=r"another window \(tables of 135 relative positions\)"):
        load_weights(model, named(state, "mmaction2"))
    wide = image_net(embed_dim=16, num_heads=[4, 4, 4]).state_dict()
    with pytest.raises(UserError, match=r"of another shape \(net\.patch_embed"):
        load_weights(model, wide)


def test_a_head_of_other_classes_and_flow_need_leave():
    model, state = VideoSwin("flow", 20, **SIZES), named(image_net().state_dict(), "timm")
    with pytest.raises(UserError, match=r"3 of another shape \(net\.patch_embed\.proj\.weight, net\.head\.weight"):
        load_weights(model, state)
    report = load_weights(model, state, ("net.head.", "net.patch_embed.proj.weight"))
    assert {*HEAD, "net.patch_embed.proj.weight"} < set(report.missing)
    with pytest.raises(UserError, match=r"1 missing \(net\.norm\.bias\)"):
        load_weights(model, {k: v for k, v in state.items() if k != "norm.bias"}, ("net.head.", "net.patch_embed."))


def test_what_this_project_wrote_is_not_taken_for_theirs():
    names = ("backbone.layers.0.blocks.0.attn.relative_position_bias_table", "backbone.norm.weight")
    state = {name: torch.zeros(1) for name in names}
    assert find_source(state) == "videoswin"
    assert find_source(state, state) == "transm3e"
