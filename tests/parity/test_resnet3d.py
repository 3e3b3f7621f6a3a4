"""Our ResNets against the models of pytorchvideo's hub with the same weights, in float64: logits and gradients."""

from __future__ import annotations

import pytest
import torch
from pytorchvideo.models import hub
from torch import nn

from transm3e.models.resnet3d import ResNet3D
from transm3e.models.slowfast import SlowFast
from transm3e.models.weights import load_weights

FRAMES, SIZE, CLASSES = 8, 64, 7
NAMES = ("c2d", "i3d", "slow", "slowfast")


def theirs(name, width, frames, pixels):
    """The hub's model; its pooling, made for 224 pixels, set to the features of this clip."""
    widths = {"stem_dim_outs": (width, width // 8)} if name == "slowfast" else {"stem_dim_out": width}
    model = getattr(hub, f"{name}_r50")(model_num_class=CLASSES, **widths)
    places = (pixels // 32,) * 2
    if name == "slowfast":
        model.blocks[5].pool = nn.ModuleList(nn.AvgPool3d((t, *places), stride=1) for t in (frames // 4, frames))
    else:
        model.blocks[-1].pool = nn.AvgPool3d((frames // (1 if name == "slow" else 2), *places), stride=1)
    return model


def ours(name, width, **options):
    options["width"] = width
    return SlowFast(CLASSES, **options) if name == "slowfast" else ResNet3D(name, CLASSES, **options)


def randomise(model):
    """Batch norms that do something, and no block that starts as its shortcut."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight.data, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                nn.init.normal_(tensor, std=0.3)


def pair(name, width, frames=FRAMES, pixels=SIZE, **options):
    torch.manual_seed(0)
    model = theirs(name, width, frames, pixels)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    randomise(model)
    mine = ours(name, width, **options)
    report = load_weights(mine, model.state_dict())
    assert (report.source, report.missing, report.unused) == ("pytorchvideo", (), ())
    return mine.double(), model.double()


def reference(name, model, clip):
    """Called as pytorchvideo's recipe does: SlowFast takes [slow, fast]."""
    if name != "slowfast":
        return model(clip)
    indices = torch.linspace(0, clip.shape[2] - 1, clip.shape[2] // 4).long()
    return model([torch.index_select(clip, 2, indices), clip])


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_gradients_equal_pytorchvideos(name):
    mine, model = pair(name, 8)
    clip = torch.rand(2, 3, FRAMES, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        logits = mine.eval()({"rgb": clip}).logits
        assert torch.allclose(logits, reference(name, model.eval(), clip), rtol=0, atol=1e-11)
        assert logits.std() > 1e-3
    mine.train()({"rgb": clip}).logits.square().sum().backward()
    reference(name, model.train(), clip).square().sum().backward()
    expected = dict(model.named_parameters())
    for key, parameter in mine.net.named_parameters():
        assert torch.allclose(parameter.grad, expected[key].grad, rtol=1e-9, atol=1e-12), key
        assert parameter.grad.abs().max() > 0, key
    # Statistics of the batch were counted alike.
    statistics = dict(model.named_buffers())
    assert all(torch.allclose(b, statistics[key], rtol=0, atol=1e-12) for key, b in mine.net.named_buffers())


@torch.no_grad()
def test_the_full_size_too():
    mine, model = pair("i3d", 64, frames=4, pixels=32)
    clip = torch.rand(1, 3, 4, 32, 32, dtype=torch.float64)
    assert torch.allclose(mine.eval()({"rgb": clip}).logits, model.eval()(clip), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "activation"), [("c2d", nn.Softmax(1)), ("c2d", nn.Sigmoid()), ("slowfast", nn.Softmax(1))]
)
@torch.no_grad()
def test_larger_tests_average_the_scores_of_windows_of_the_training_size(name, activation):
    """As PySlowFast and pytorchvideo: 7x7 features for 224 pixels, at stride 1; the head and the activation, then the mean."""
    mine, model = pair(name, 8, 4, 224, window=7, sigmoid=isinstance(activation, nn.Sigmoid))
    model.blocks[-1].activation = activation
    for pixels, windows in ((224, 1), (256, 4), (320, 16)):
        clip = torch.rand(1, 3, 4, pixels, pixels, dtype=torch.float64)
        expected = reference(name, model.eval(), clip)
        logits = mine.eval()({"rgb": clip}).logits
        assert torch.allclose(activation(logits), expected, rtol=0, atol=1e-12)
        model.blocks[-1].output_pool = None
        assert reference(name, model, clip).shape[2:].numel() == windows
        model.blocks[-1].output_pool = nn.AdaptiveAvgPool3d(1)


def test_training_has_one_window_of_any_size():
    """The gradients of the mean over all positions, bit for bit."""
    one, windows = (ours("c2d", 8, window=side) for side in (0, 1))
    windows.load_state_dict(one.state_dict())
    clip = {"rgb": torch.rand(2, 3, 2, 64, 64)}
    assert one(clip).logits.equal(windows(clip).logits)
    assert not torch.allclose(one.eval()(clip).logits, windows.eval()(clip).logits)


@pytest.mark.parametrize("name", ["i3d", "slowfast"])
@torch.no_grad()
def test_other_sizes_take_the_mean_of_all_places(name):
    """The linear layer of the features' mean, without windows, where the hub's would not fit."""
    mine, model = pair(name, 8)
    clip = torch.rand(1, 3, 12, 96, 80, dtype=torch.float64)
    paths = [clip[:, :, [0, 5, 11]], clip] if name == "slowfast" else clip
    for block in model.eval().blocks[: 5 if name == "slowfast" else -1]:
        paths = block(paths)
    means = torch.cat([path.mean((2, 3, 4)) for path in (paths if name == "slowfast" else [paths])], dim=1)
    expected = model.blocks[-1].proj(means)
    assert torch.allclose(mine.eval()({"rgb": clip}).logits, expected, rtol=0, atol=1e-11)


def test_pytorchvideos_101_layers_with_the_kernels_of_50_load_whole():
    with torch.device("meta"):
        net = hub.slowfast_16x8_r101_50_50(model_num_class=CLASSES)
        mine = SlowFast(CLASSES, fusion_kernel=5, depth=101, temporal_blocks=(3, 4, 6, 3))
    shapes = {name.removeprefix("net."): tensor.shape for name, tensor in mine.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in net.state_dict().items()}
