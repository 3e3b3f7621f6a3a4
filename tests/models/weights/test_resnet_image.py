"""ImageNet ResNets in our video ResNets: a clip of equal frames gives what the image model gives for the frame."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from transm3e.errors import UserError
from transm3e.models.resnet3d import ResNet3D
from transm3e.models.slowfast import SlowFast
from transm3e.models.weights import find_source, load_weights

HEAD = ("net.blocks.5.proj.", "net.blocks.6.proj.")
SLOW_PATH = "multipathway_blocks.0."


@pytest.fixture(scope="module")
def image():
    """torchvision's ResNet-50 with batch norms that do something."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                nn.init.normal_(tensor, std=0.3)
    return model


@pytest.fixture(scope="module")
def frame(image):
    """A frame (1, 3, 32, 32), and the image model's last features (1, 2048, 1, 1)."""
    frame = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    features = nn.Sequential(*list(image.children())[:-2])
    with torch.no_grad():
        return frame, features(frame)


def still(frame, frames):
    return frame[:, :, None].expand(-1, -1, frames, -1, -1)


def edge_frames_repeated(model):
    """Zeros beyond the clip's ends become copies of its first and last frame."""

    def pad(conv, inputs, frames):
        return functional.pad(inputs[0], (0, 0, 0, 0, frames, frames), mode="replicate")

    for conv in model.modules():
        if isinstance(conv, nn.Conv3d) and conv.padding[0]:
            conv.register_forward_pre_hook(lambda *args, frames=conv.padding[0]: pad(*args, frames))
            conv.padding = (0, *conv.padding[1:])
    return model


def features(model, clip):
    """(B, 2048, T, H, W) before the head, of the slow pathway where there are two."""
    if isinstance(model, ResNet3D):
        return nn.Sequential(*list(model.net.blocks)[:-1])(clip)
    paths = [clip[:, :, :: model.alpha], clip]
    for block in model.net.blocks[:5]:
        paths = block(paths)
    return paths[0][:, :2048]


def loaded(model, image):
    report = load_weights(model.double().eval(), image.state_dict(), HEAD)
    assert report.source == "torchvision"
    return model, report


def close(given, expected):
    return torch.allclose(given, expected.expand_as(given), rtol=0, atol=1e-10)


def flat(arch, image):
    """Without drawing the weights that are loaded anyway."""
    with torch.device("meta"):
        model = ResNet3D(arch, 5)
    return loaded(model.to_empty(device="cpu"), image)


@pytest.mark.parametrize(("arch", "frames"), [("c2d", 2), ("i3d", 4), ("slow", 19)])
@torch.no_grad()
def test_a_still_clip_is_seen_as_its_frame(image, frame, arch, frames):
    model, report = flat(arch, image)
    assert all(name.startswith(HEAD) for name in report.missing)
    clip, expected = still(frame[0], frames), frame[1][:, :, None]
    result = features(model, clip)
    # C2D has no kernels over time; with the others zeros beyond the ends of the clip are seen.
    assert close(result, expected) == (arch == "c2d")
    if arch == "slow":
        # Nine kernels of three frames: the ends reach nine frames far.
        assert close(result[:, :, 9:10], expected)
        assert not close(result[:, :, 8:9], expected)
    assert close(features(edge_frames_repeated(model), clip[:, :, :2]), expected)


@torch.no_grad()
def test_slowfasts_slow_pathway_starts_as_the_image_model(image, frame):
    torch.manual_seed(1)
    model = SlowFast(5).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model, report = loaded(model, image)
    state = model.state_dict()
    # The fast pathway and the fusion keep their random initialisation, and so do their counters.
    kept = {name for name in state if "multipathway_blocks.1." in name or "multipathway_fusion" in name}
    assert set(report.missing) == kept | {name for name in state if name.startswith(HEAD)}
    assert all(torch.equal(before[name], state[name]) for name in report.missing)
    wide = {name: done for name, done in report.reshaped if "randomly initialised" in done}
    assert len(wide) == 8
    name = f"net.blocks.4.{SLOW_PATH}res_blocks.0.branch2.conv_a.weight"
    assert wide[name] == (
        "(512, 1024, 1, 1) -> (512, 1280, 3, 1, 1), inflated, its last 256 input channels randomly initialised"
    )
    assert "the fast pathway" in str(report)
    for name in wide:
        channels = state[name].shape[1] * 4 // 5
        assert torch.equal(state[name][:, channels:], before[name][:, channels:])
        # Without what the fast pathway says, it is the image model.
        state[name][:, channels:] = 0
    clip, expected = still(frame[0], 8), frame[1][:, :, None]
    assert close(features(edge_frames_repeated(model), clip), expected)


def test_a_head_of_images_is_refused_unless_allowed(image):
    with torch.device("meta"):
        model, weights = ResNet3D("c2d", 20), {name: t.to("meta") for name, t in image.state_dict().items()}
    with pytest.raises(
        UserError, match=r"2 of another shape \(net\.blocks\.6\.proj\.weight, net\.blocks\.6\.proj\.bias\)"
    ):
        load_weights(model, weights)
    assert find_source(image.state_dict()) == "torchvision"


def test_pyslowfasts_own_image_model_is_inflated_too():
    torch.manual_seed(0)
    theirs, model = ResNet3D("c2d", 5, width=8), ResNet3D("i3d", 5, width=8)
    state = {"s1.pathway0_stem.conv.weight": theirs.net.blocks[0].conv.weight}
    state["s2.pathway0_res0.branch2.a.weight"] = theirs.net.blocks[1].res_blocks[0].branch2.conv_a.weight
    report = load_weights(model, state, ("net.",))
    assert (len(report.loaded), len(report.reshaped)) == (2, 2)
    kernel = model.net.blocks[0].conv.weight
    assert torch.allclose(kernel, theirs.net.blocks[0].conv.weight.expand_as(kernel) / 5, rtol=0, atol=1e-7)


def test_what_no_kernel_is_changes_nothing(image):
    torch.manual_seed(0)
    model = SlowFast(5)
    before = model.net.blocks[0].multipathway_blocks[0].conv.weight.detach().clone()
    name, ours = "layer1.0.conv1.weight", r"\(net\.blocks\.1\.multipathway_blocks\.0\."
    weight = image.state_dict()[name]
    for wrong, message in (
        (weight.to(torch.complex64), f"1 of another kind {ours}"),
        (weight * torch.nan, f"1 not finite {ours}"),
        (weight[:, :5], f"1 of another shape {ours}"),
    ):
        with pytest.raises(UserError, match=message):
            load_weights(model, {name: wrong}, HEAD)
    assert torch.equal(before, model.net.blocks[0].multipathway_blocks[0].conv.weight)
