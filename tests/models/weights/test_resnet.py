"""PySlowFast's ResNets and SlowFast, of PyTorch and of Caffe2, and pytorchvideo's files, into ours."""

import re

import pytest
import torch

from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.models.resnet3d import ResNet3D
from transm3e.models.slowfast import SlowFast
from transm3e.models.weights import find_source, load_weights
from transm3e.models.weights.resnet import pytorchvideo_name

BN = ("weight", "bias", "running_mean", "running_var")
DEPTHS = (3, 4, 6, 3)
# Temporal kernels of the stem and of the first convolution in each stage's blocks (repeated), per pathway.
SLOW = [(1, (1,), (1,), (3,), (3,))]
C2D = [(1, (1,), (1,), (1,), (1,))]
I3D = [(5, (3,), (3, 1), (3, 1), (1, 3))]
SLOWFAST = [(1, (1,), (1,), (3,), (3,)), (5, (3,), (3,), (3,), (3,))]
NETS = {"slow": SLOW, "c2d": C2D, "i3d": I3D, "slowfast": SLOWFAST}
FAST_WIDTH = 8
HEAD = ("net.blocks.6.proj.",)


def ours(name, num_classes=400, device="meta", **options):
    with torch.device(device):
        if name == "slowfast":
            return SlowFast(num_classes, **options)
        return ResNet3D(name, num_classes, **options)


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


def empty(shapes):
    with torch.device("meta"):
        return {
            name: torch.empty(shape, dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
            for name, shape in shapes.items()
        }


def fake(kernels):
    return empty(pyslowfast_shapes(kernels))


@pytest.mark.parametrize("source", ["auto", "pyslowfast"])
@pytest.mark.parametrize("name", NETS)
def test_every_name_and_shape_has_its_place(name, source):
    model = ours(name)
    report = load_weights(model, fake(NETS[name]), source=source)
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


@pytest.mark.parametrize("name", NETS)
def test_no_two_names_meet(name):
    own = [key.removeprefix("net.") for key in ours(name).state_dict()]
    blocks = sorted({int(key.split(".")[1]) for key in own})
    theirs = list(pyslowfast_shapes(NETS[name]))
    names = [pytorchvideo_name(key, len(NETS[name]), blocks) for key in theirs]
    assert len(set(names)) == len(theirs)
    assert set(names) == set(own)


def drawn(name, seed):
    """One of ours with 5 classes and all values drawn."""
    torch.manual_seed(seed)
    model = ours(name, 5, "cpu", width=8, **({"beta_inv": 4} if name == "slowfast" else {})).eval()
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "norm" in key else tensor.normal_(std=0.1)
    return model


@pytest.mark.parametrize("name", ["slow", "slowfast"])
@torch.no_grad()
def test_values_arrive_from_files_of_both_projects(name, tmp_path):
    source, clips = drawn(name, 1), {"rgb": torch.rand(1, 3, 4, 32, 32)}
    state = {key.removeprefix("net."): tensor for key, tensor in source.state_dict().items()}
    blocks = sorted({int(key.split(".")[1]) for key in state})
    theirs = {pytorchvideo_name(key, len(NETS[name]), blocks): key for key in pyslowfast_shapes(NETS[name])}
    # As they come from Caffe2: without counters.
    pyslowfast = {theirs[key]: tensor for key, tensor in state.items() if "num_batches" not in key}
    for project, tensors in (("pyslowfast", pyslowfast), ("pytorchvideo", state)):
        target = drawn(name, 2)
        torch.save({"model_state": tensors}, tmp_path / "file.pyth")
        report = load_weights(target, tmp_path / "file.pyth")
        assert report.source == project
        assert all(key.endswith("num_batches_tracked") for key in report.missing)
        assert torch.equal(target(clips).logits, source(clips).logits)


def test_counters_may_be_missing_and_nothing_else():
    model = ours("slow")
    state = {name: tensor for name, tensor in fake(SLOW).items() if "num_batches" not in name}
    assert len(load_weights(model, state).missing) == 53
    del state["s1.pathway0_stem.bn.running_mean"]
    with pytest.raises(UserError, match=r"1 missing \(net\.blocks\.0\.norm\.running_mean\), 0 unused"):
        load_weights(model, state)


def test_another_head_is_allowed_by_our_name_and_nonlocal_blocks_are_refused():
    model = ours("c2d", 20)
    assert load_weights(model, fake(C2D), HEAD).missing == ("net.blocks.6.proj.weight", "net.blocks.6.proj.bias")
    state = fake(C2D) | {"s3.pathway0_nonlocal1.conv_g.weight": torch.ones(1)}
    with pytest.raises(UserError, match=r"1 unused .*nonlocal1"):
        load_weights(model, state, HEAD)


@pytest.mark.parametrize(("name", "other"), [("slow", "slowfast"), ("slowfast", "slow"), ("i3d", "slow")])
def test_another_net_is_refused_even_without_its_head(name, other):
    with pytest.raises(UserError, match="belongs to another model than"):
        load_weights(ours(other, 20), fake(NETS[name]), (*HEAD, "net.blocks.5.proj."))


CAFFE2_BN = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def caffe2_name(name):
    """PySlowFast's name -> Caffe2's, for the 50-layer nets."""
    place, leaf = name.rsplit(".", 1)
    end = f"bn_{CAFFE2_BN[leaf]}" if place.endswith("bn") else leaf[0]
    place = re.sub(r"[._]bn$", "", place)
    if place == "head.projection":
        return f"pred_{end}"
    if "_fuse" in place:
        stage = int(place[1])
        start = "pool1" if stage == 1 else f"res{stage}_{DEPTHS[stage - 2] - 1}_branch2c_bn"
        return f"t_{start}_subsample_{end}"
    path = "t_" if "pathway1" in place else ""
    if "stem" in place:
        return f"{path}res_conv1_{end}" if end.startswith("bn") else f"{path}conv1_{end}"
    stage, block, branch = re.match(r"s(\d)\.pathway\d_res(\d+)\.branch(.*)$", place).groups()
    return f"{path}res{stage}_{block}_branch{branch.replace('.', '')}_{end}"


@pytest.mark.parametrize("name", NETS)
def test_names_of_caffe2(name):
    state = {caffe2_name(key): t for key, t in fake(NETS[name]).items() if "num_batches" not in key}
    assert {"conv1_w", "res_conv1_bn_riv", "res2_0_branch1_w", "res4_5_branch2c_bn_s", "pred_b"} <= set(state)
    optimizer = ["conv1_w_momentum", "res2_0_branch2a_bn_s_momentum", "lr", "model_iter"]
    model = ours(name)
    report = load_weights(model, state | dict.fromkeys(optimizer, torch.ones(1)))
    assert (report.source, sorted(report.unused)) == ("pyslowfast", sorted(optimizer))
    assert all(key.endswith("num_batches_tracked") for key in report.missing)
    assert find_source(state) == "pyslowfast"


def test_names_of_caffe2s_two_pathways():
    names = {caffe2_name(key) for key in pyslowfast_shapes(SLOWFAST) if "num_batches" not in key}
    examples = ("t_conv1_w", "t_res_conv1_bn_rm", "t_res2_0_branch2a_w", "t_pool1_subsample_w")
    examples += ("t_pool1_subsample_bn_s", "t_res4_5_branch2c_bn_subsample_w", "t_res4_5_branch2c_bn_subsample_bn_riv")
    assert set(examples) <= names


def x3d_shapes():
    """Names and shapes of PySlowFast's X3D-M with 400 classes, written from its structure."""
    shapes, dim = {"s1.pathway0_stem.conv_xy.weight": (24, 3, 1, 3, 3)}, 24
    shapes |= {"s1.pathway0_stem.conv.weight": (24, 1, 5, 1, 1)} | batch_norm("s1.pathway0_stem.bn", 24)
    for stage, (blocks, out) in enumerate(((3, 24), (5, 48), (11, 96), (7, 192)), 2):
        inner = int(2.25 * out)
        for block in range(blocks):
            name = f"s{stage}.pathway0_res{block}"
            if block == 0:
                # A stride is enough for a shortcut with a norm, also where the width stays.
                shapes |= {f"{name}.branch1.weight": (out, dim, 1, 1, 1)} | batch_norm(f"{name}.branch1_bn", out)
            shapes[f"{name}.branch2.a.weight"] = (inner, dim, 1, 1, 1)
            shapes[f"{name}.branch2.b.weight"] = (inner, 1, 3, 3, 3)
            shapes[f"{name}.branch2.c.weight"] = (out, inner, 1, 1, 1)
            for conv, channels in (("a", inner), ("b", inner), ("c", out)):
                shapes |= batch_norm(f"{name}.branch2.{conv}_bn", channels)
            if block % 2 == 0:
                # A sixteenth, to the nearest multiple of 8 that is no less than nine tenths of it.
                few = {54: 8, 108: 8, 216: 16, 432: 32}[inner]
                for layer, (width, into) in (("fc1", (few, inner)), ("fc2", (inner, few))):
                    shapes |= {f"{name}.branch2.se.{layer}.weight": (width, into, 1, 1, 1)}
                    shapes |= {f"{name}.branch2.se.{layer}.bias": (width,)}
            dim = out
    shapes |= {"head.conv_5.weight": (432, 192, 1, 1, 1)} | batch_norm("head.conv_5_bn", 432)
    shapes |= {"head.lin_5.weight": (2048, 432, 1, 1, 1)}
    return shapes | {"head.projection.weight": (400, 2048), "head.projection.bias": (400,)}


def test_names_of_pyslowfasts_x3d(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.MODEL.NUM_CLASSES = "X3D", 400
    with torch.device("meta"):
        model = build_model(tiny_cfg)
    report = load_weights(model, empty(x3d_shapes()))
    assert (report.source, report.missing, report.unused, report.reshaped) == ("pyslowfast", (), (), ())
    assert set(report.loaded) == set(model.state_dict())
