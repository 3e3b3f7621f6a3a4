"""PySlowFast's ResNets and SlowFast in pytorchvideo's names, against the nets that pytorchvideo builds."""

import pytest
import torch
from pytorchvideo.models.hub import c2d_r50, i3d_r50, slow_r50, slowfast_r50
from pytorchvideo.models.resnet import create_resnet
from torch import nn

from transm3e.errors import UserError
from transm3e.models.weights import load_weights
from transm3e.models.weights.resnet import pytorchvideo_name

BN = ("weight", "bias", "running_mean", "running_var")
DEPTHS = (3, 4, 6, 3)
# Temporal kernels of the stem and of the first convolution in each stage's blocks (repeated), per pathway.
SLOW = [(1, (1,), (1,), (3,), (3,))]
C2D = [(1, (1,), (1,), (1,), (1,))]
I3D = [(5, (3,), (3, 1), (3, 1), (1, 3))]
SLOWFAST = [(1, (1,), (1,), (3,), (3,)), (5, (3,), (3,), (3,), (3,))]
NETS = [(slow_r50, SLOW), (c2d_r50, C2D), (i3d_r50, I3D), (slowfast_r50, SLOWFAST)]
FAST_WIDTH = 8


class Wrapper(nn.Module):
    """A model of ours that holds a net of theirs."""

    def __init__(self, net):
        super().__init__()
        self.net = net


def batch_norm(name, channels):
    return {f"{name}.{leaf}": (channels,) for leaf in BN} | {f"{name}.num_batches_tracked": ()}


def pyslowfast_shapes(kernels):
    """Names and shapes of PySlowFast's R50 with 400 classes, written from its structure."""
    shapes, widths, fast = {}, [64, FAST_WIDTH][: len(kernels)], len(kernels) > 1
    inputs = list(widths)
    for p, (stem, *_) in enumerate(kernels):
        shapes[f"s1.pathway{p}_stem.conv.weight"] = (widths[p], 3, stem, 7, 7)
        shapes |= batch_norm(f"s1.pathway{p}_stem.bn", widths[p])
    for stage in range(5):
        if stage:
            for p, temporal in enumerate(kernels):
                inner, out = widths[p] * 2 ** (stage - 1), widths[p] * 2 ** (stage + 1)
                for block in range(DEPTHS[stage - 1]):
                    name, t = f"s{stage + 1}.pathway{p}_res{block}", temporal[stage]
                    if block == 0:
                        shapes[f"{name}.branch1.weight"] = (out, inputs[p], 1, 1, 1)
                        shapes |= batch_norm(f"{name}.branch1_bn", out)
                    width_in = out if block else inputs[p]
                    shapes[f"{name}.branch2.a.weight"] = (inner, width_in, t[block % len(t)], 1, 1)
                    shapes[f"{name}.branch2.b.weight"] = (inner, inner, 1, 3, 3)
                    shapes[f"{name}.branch2.c.weight"] = (out, inner, 1, 1, 1)
                    for conv, channels in (("a", inner), ("b", inner), ("c", out)):
                        shapes |= batch_norm(f"{name}.branch2.{conv}_bn", channels)
                inputs[p] = out
        if fast and stage < 4:
            shapes[f"s{stage + 1}_fuse.conv_f2s.weight"] = (2 * inputs[1], inputs[1], 7, 1, 1)
            shapes |= batch_norm(f"s{stage + 1}_fuse.bn", 2 * inputs[1])
            inputs[0] += 2 * inputs[1]
    return shapes | {"head.projection.weight": (400, sum(inputs)), "head.projection.bias": (400,)}


def fake(kernels):
    with torch.device("meta"):
        return {
            name: torch.empty(shape, dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
            for name, shape in pyslowfast_shapes(kernels).items()
        }


@pytest.mark.parametrize(("net", "kernels"), NETS)
@pytest.mark.parametrize("source", ["auto", "pyslowfast"])
def test_every_name_and_shape_has_its_place(net, kernels, source):
    with torch.device("meta"):
        model = Wrapper(net(pretrained=False))
    report = load_weights(model, fake(kernels), source=source)
    assert set(report.loaded) == set(model.state_dict())
    assert (report.missing, report.unused, report.reshaped, report.source) == ((), (), (), "pyslowfast")


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("s1.pathway0_stem.conv.weight", "blocks.0.conv.weight"),
        ("s1.pathway0_stem.bn.running_var", "blocks.0.norm.running_var"),
        ("s2.pathway0_res0.branch1.weight", "blocks.1.res_blocks.0.branch1_conv.weight"),
        ("s2.pathway0_res0.branch1_bn.bias", "blocks.1.res_blocks.0.branch1_norm.bias"),
        ("s3.pathway0_res2.branch2.a.weight", "blocks.2.res_blocks.2.branch2.conv_a.weight"),
        ("s4.pathway0_res5.branch2.b_bn.running_mean", "blocks.3.res_blocks.5.branch2.norm_b.running_mean"),
        ("s5.pathway0_res1.branch2.c_bn.weight", "blocks.4.res_blocks.1.branch2.norm_c.weight"),
        ("head.projection.bias", "blocks.5.proj.bias"),
        ("s3.pathway0_nonlocal1.conv_g.weight", "s3.pathway0_nonlocal1.conv_g.weight"),
    ],
)
def test_names_of_one_pathway(theirs, expected):
    assert pytorchvideo_name(theirs) == expected


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("s1.pathway1_stem.bn.bias", "blocks.0.multipathway_blocks.1.norm.bias"),
        ("s2_fuse.conv_f2s.weight", "blocks.1.multipathway_fusion.conv_fast_to_slow.weight"),
        ("s2_fuse.bn.weight", "blocks.1.multipathway_fusion.norm.weight"),
        ("s5.pathway0_res0.branch2.c.weight", "blocks.4.multipathway_blocks.0.res_blocks.0.branch2.conv_c.weight"),
        ("head.projection.weight", "blocks.6.proj.weight"),
    ],
)
def test_names_of_two_pathways(theirs, expected):
    assert pytorchvideo_name(theirs, pathways=2, blocks=(0, 1, 2, 3, 4, 6)) == expected


@pytest.mark.parametrize(("net", "kernels"), NETS)
def test_no_two_names_meet(net, kernels):
    with torch.device("meta"):
        own = net(pretrained=False).state_dict()
    blocks = sorted({int(name.split(".")[1]) for name in own})
    theirs = list(pyslowfast_shapes(kernels))
    ours = [pytorchvideo_name(name, len(kernels), blocks) for name in theirs]
    assert len(set(ours)) == len(theirs)
    assert set(ours) == set(own)


def small_net():
    return create_resnet(stem_dim_out=8, model_num_class=5, head_pool_kernel_size=(4, 1, 1)).eval()


def test_values_arrive_under_any_prefix_and_pytorchvideos_own_names_are_taken_as_they_are():
    torch.manual_seed(0)
    source, target, x = small_net(), Wrapper(small_net()), torch.rand(1, 3, 4, 32, 32)
    names = {pytorchvideo_name(name): name for name in pyslowfast_shapes(SLOW)}
    theirs = {names[name]: tensor for name, tensor in source.state_dict().items()}
    assert load_weights(target, theirs).source == "pyslowfast"
    assert torch.equal(target.net(x), source(x))
    target = Wrapper(small_net())
    assert load_weights(target, source.state_dict()).source == "pytorchvideo"
    assert torch.equal(target.net(x), source(x))


def test_counters_may_be_missing_and_nothing_else():
    with torch.device("meta"):
        model = Wrapper(slow_r50(pretrained=False))
    state = {name: tensor for name, tensor in fake(SLOW).items() if "num_batches" not in name}
    report = load_weights(model, state)
    assert len(report.missing) == 53
    del state["s1.pathway0_stem.bn.running_mean"]
    with pytest.raises(UserError, match=r"1 missing \(net\.blocks\.0\.norm\.running_mean\), 0 unused"):
        load_weights(model, state)


def test_another_head_is_allowed_by_our_name_and_nonlocal_blocks_are_refused():
    with torch.device("meta"):
        model = Wrapper(c2d_r50(pretrained=False, model_num_class=20))
    report = load_weights(model, fake(C2D), ("net.blocks.6.proj.",))
    assert report.missing == ("net.blocks.6.proj.weight", "net.blocks.6.proj.bias")
    state = fake(C2D) | {"s3.pathway0_nonlocal1.conv_g.weight": torch.ones(1)}
    with pytest.raises(UserError, match=r"1 unused .*nonlocal1"):
        load_weights(model, state, ("net.blocks.6.proj.",))
