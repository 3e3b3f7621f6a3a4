"""MViTv2 under other projects' names: PySlowFast, timm, wrappers, and how a source is told."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models.video import swin3d_t

from transm3e.config import load_cfg
from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.models.weights import SOURCES, find_source, load_weights
from transm3e.models.weights.mvit import PYSLOWFAST
from transm3e.models.weights.rename import rename, under_prefix

STAGES = {"mvitv2_s": (1, 2, 11, 2), "mvitv2_b": (2, 3, 16, 3)}


@pytest.fixture
def mvit_cfg(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME = "MViT"
    return tiny_cfg


def randomised(cfg, seed=0):
    torch.manual_seed(seed)
    model = build_model(cfg)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def pyslowfast(model):
    """Our MViT's state under PySlowFast's names."""
    state = {name.removeprefix("backbone."): tensor for name, tensor in model.state_dict().items()}
    return {name.replace("head.", "head.projection."): tensor for name, tensor in state.items()}


def image(model):
    """What PySlowFast's image model of the same sizes holds: one middle slice of each kernel, 2D patches."""
    state = {k: v for k, v in pyslowfast(model).items() if not k.endswith("rel_pos_t") and k != "cls_token"}
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"][:, :, 0]
    return {k: v[:, :, :1] if ".pool_" in k else v for k, v in state.items()}


def timm(state, stages=(1, 1, 1)):
    """PySlowFast's image names -> timm's."""
    places = [(stage, block) for stage, depth in enumerate(stages) for block in range(depth)]
    result = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "blocks":
            stage, block = places[int(parts[1])]
            rest = ["shortcut_proj_attn", *parts[3:]] if parts[2] == "proj" else parts[2:]
            parts = ["stages", str(stage), "blocks", str(block), *rest]
        name = ".".join(parts).replace("head.projection", "head.fc")
        result[name] = tensor[:, :, 0] if ".pool_" in name else tensor
    return result


def equal(a, b, names=None):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(a[name], b[name]) for name in names or a)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("cls_token", "cls_token"),
        ("patch_embed.proj.weight", "backbone.patch_embed.proj.weight"),
        ("blocks.13.attn.rel_pos_t", "backbone.blocks.13.attn.rel_pos_t"),
        ("blocks.1.proj.bias", "backbone.blocks.1.proj.bias"),
        ("norm.weight", "backbone.norm.weight"),
        ("head.projection.weight", "head.weight"),
    ],
)
def test_pyslowfasts_names(theirs, ours):
    assert rename(theirs, PYSLOWFAST) == ours


@pytest.mark.parametrize("source", ["auto", "pyslowfast"])
def test_pyslowfasts_video_mvit(mvit_cfg, source):
    theirs, model = randomised(mvit_cfg, 1), randomised(mvit_cfg, 2)
    report = load_weights(model, pyslowfast(theirs), source=source)
    assert (report.source, report.missing, report.unused, report.reshaped) == ("pyslowfast", (), (), ())
    assert equal(theirs, model)


def test_one_class_token_is_added_to_every_drawn_mct_and_receiver(mvit_cfg, student_cfg):
    student_cfg.MODEL.MODEL_NAME = "TransM3E"
    theirs, model = randomised(mvit_cfg, 1), randomised(student_cfg, 2)
    drawn = {name: getattr(model, name).detach().clone() for name in ("mcts", "receivers")}
    report = load_weights(model, pyslowfast(theirs), ("fusion.",))
    assert dict(report.reshaped) == dict.fromkeys(
        ("mcts", "receivers"), "(1, 1, 16) -> (1, 20, 16), one class token added to each token's random initialisation"
    )
    assert all(name.startswith("fusion.") for name in report.missing)
    for name, tokens in drawn.items():
        assert torch.equal(getattr(model, name), theirs.cls_token + tokens)


def test_spread_tokens_differ_and_learn_apart(mvit_cfg, student_cfg):
    student_cfg.MODEL.MODEL_NAME = "TransM3E"
    theirs, model = randomised(mvit_cfg, 1), build_model(student_cfg)
    drawn = {name: getattr(model, name).detach().clone() for name in ("mcts", "receivers")}
    load_weights(model, pyslowfast(theirs), ("fusion.",))
    clips = {"rgb": torch.rand(2, 3, 4, 32, 32)}
    optimizer = torch.optim.SGD((model.mcts, model.receivers), lr=0.1)
    for name, tokens in drawn.items():
        mean = getattr(model, name).mean(1, keepdim=True) - tokens.mean(1, keepdim=True)
        assert torch.allclose(mean, theirs.cls_token, rtol=0, atol=1e-6)
        assert _nearest(getattr(model, name)) > 0.01
    for _ in range(2):
        model(clips).logits.square().sum().backward()
        for name in drawn:
            # Equal tokens would have equal gradients.
            assert _nearest(getattr(model, name).grad) > 0
        optimizer.step()
        optimizer.zero_grad()
    for name, tokens in drawn.items():
        moved = getattr(model, name) - theirs.cls_token - tokens
        assert _nearest(moved) > 1e-6


def _nearest(tokens):
    """The smallest distance between two of the tokens (1, K, D)."""
    return torch.nn.functional.pdist(tokens.detach()[0]).min()


def test_as_many_tokens_are_taken_as_they_are_and_other_numbers_refused(tiny_cfg):
    model = randomised(tiny_cfg)
    state = {k.replace("head.", "head.projection."): v for k, v in pyslowfast(model).items() if k != "mcts"}
    state = {k.replace("head.projection.projection", "head.projection"): v for k, v in state.items()}
    tokens = torch.rand(1, 20, 16)
    report = load_weights(model, state | {"cls_token": tokens})
    assert report.reshaped == ()
    assert torch.equal(model.mcts, tokens)
    with pytest.raises(UserError, match=r"1 of another shape \(mcts\)"):
        load_weights(model, state | {"cls_token": torch.rand(1, 5, 16)})


def test_a_head_of_other_classes_is_kept_back_only_if_allowed(mvit_cfg):
    theirs, model = randomised(mvit_cfg, 1), randomised(mvit_cfg, 2)
    state = pyslowfast(theirs)
    state["head.projection.weight"], state["head.projection.bias"] = torch.ones(400, 128), torch.ones(400)
    before = copy.deepcopy(model)
    with pytest.raises(UserError, match=r"2 of another shape \(head\.weight, head\.bias\)"):
        load_weights(model, state)
    assert equal(before, model)
    report = load_weights(model, state, ("head.",))
    assert report.missing == ("head.weight", "head.bias")
    assert "head.weight is (400, 128) there" in report.notes
    assert equal(before, model, report.missing)
    assert equal(theirs, model, report.loaded)


@pytest.mark.parametrize("names", [image, lambda model: timm(image(model))])
def test_an_image_model_is_inflated_and_lacks_time_and_tokens(mvit_cfg, names):
    theirs, model = randomised(mvit_cfg, 1), randomised(mvit_cfg, 2)
    before, state = copy.deepcopy(model), names(theirs)
    report = load_weights(model, state)
    assert report.source == ("timm" if names is not image else "pyslowfast")
    missing = {"cls_token", *(f"backbone.blocks.{i}.attn.rel_pos_t" for i in range(3))}
    assert set(report.missing) == missing
    assert equal(before, model, report.missing)
    kernels = {name for name in model.state_dict() if ".pool_" in name or name.endswith("patch_embed.proj.weight")}
    assert {name for name, done in report.reshaped if "inflated" in done} == kernels
    assert equal(theirs, model, set(report.loaded) - kernels)
    # A clip of equal frames gives, away from its ends, what the frame gives.
    frame = torch.rand(1, 3, 32, 32)
    patch = model.backbone.patch_embed.proj
    grid = patch(frame[:, :, None].expand(-1, -1, 8, -1, -1))[:, :, 1:-1]
    kernel = state["patch_embed.proj.weight"]
    expected = torch.conv2d(frame, kernel, patch.bias, patch.stride[1:], patch.padding[1:])
    assert torch.allclose(grid, expected[:, :, None].expand_as(grid), rtol=0, atol=1e-5)


def test_an_inflated_pooling_kernel_sees_a_still_clip_as_the_frame(mvit_cfg):
    theirs, model = randomised(mvit_cfg, 1), randomised(mvit_cfg, 2)
    state = timm(image(theirs))
    load_weights(model, state)
    kernel, pool = state["stages.1.blocks.0.attn.pool_k.weight"], model.backbone.blocks[1].attn.pool_k
    frame = torch.rand(1, len(kernel), 8, 8)
    grid = pool(frame[:, :, None].expand(-1, -1, 4, -1, -1))[:, :, 1:-1]
    expected = torch.conv2d(frame, kernel, None, pool.stride[1:], pool.padding[1:], groups=len(kernel))
    assert torch.allclose(grid, expected[:, :, None].expand_as(grid), rtol=0, atol=1e-5)


def timm_shapes(stages, classes=1000, crop=224):
    """Names and shapes of timm's mvitv2_small and mvitv2_base, from the paper's table of sizes."""
    shapes = {"patch_embed.proj.weight": (96, 3, 7, 7), "patch_embed.proj.bias": (96,)}

    def linear(name, out, width):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, width), (out,)

    def norm(name, width):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (width,), (width,)

    width = 96
    for stage, depth in enumerate(stages):
        for block in range(depth):
            name, dim = f"stages.{stage}.blocks.{block}", 96 * 2**stage
            norm(f"{name}.norm1", width)
            linear(f"{name}.attn.qkv", 3 * dim, width)
            linear(f"{name}.attn.proj", dim, dim)
            for kind in "qkv":
                shapes[f"{name}.attn.pool_{kind}.weight"] = (96, 1, 3, 3)
                norm(f"{name}.attn.norm_{kind}", 96)
            # The longer side of queries and keys; from stage 2 on keys are not pooled, so a stage's first block, where
            # queries are, has the longer keys.
            side = crop // 4 // 2 ** (stage - 1 if stage > 1 and block == 0 else stage)
            for axis in "hw":
                shapes[f"{name}.attn.rel_pos_{axis}"] = (2 * side - 1, 96)
            if width != dim:
                linear(f"{name}.shortcut_proj_attn", dim, width)
            norm(f"{name}.norm2", dim)
            linear(f"{name}.mlp.fc1", 4 * dim, dim)
            linear(f"{name}.mlp.fc2", dim, 4 * dim)
            width = dim
    norm("norm", width)
    linear("head.fc", classes, width)
    return shapes


@pytest.mark.parametrize(("name", "values"), [("mvitv2_s", 34_870_216), ("mvitv2_b", 51_472_744)])
def test_timms_names_and_sizes(repo, name, values):
    shapes = timm_shapes(STAGES[name])
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
        model = build_model(load_cfg(repo / "configs" / "_base_" / "model" / f"{name}.yaml", ("DATA.NUM_FRAMES", 16)))
    # 34.87 and 51.47 million in timm's table of models.
    assert sum(tensor.numel() for tensor in state.values()) == values
    report = load_weights(model, state, ("head.",))
    depth = sum(STAGES[name])
    assert len(report.missing) == 1 + depth + 2
    inflated = [name for name, done in report.reshaped if "inflated" in done]
    assert len(inflated) == 1 + 3 * depth
    # In video, keys of stage 2 are still pooled: coarser positions in its first block.
    first = f"backbone.blocks.{sum(STAGES[name][:2])}.attn.rel_pos_"
    assert set(dict(report.reshaped)) - set(inflated) == {f"{first}h", f"{first}w"}


def test_a_class_token_of_an_image_model_is_taken(mvit_cfg):
    theirs, model = randomised(mvit_cfg, 1), randomised(mvit_cfg, 2)
    report = load_weights(model, timm(image(theirs)) | {"cls_token": theirs.cls_token.detach()})
    assert len(report.missing) == 3
    assert torch.equal(model.cls_token, theirs.cls_token)


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda name: f"module.{name}", "DDP"),
        (lambda name: f"_orig_mod.{name}", "compile"),
        (lambda name: f"module._orig_mod.{name}", "DDP"),
        (lambda name: f"_orig_mod.module.{name}", "compile"),
        (lambda name: name.replace("backbone.", "backbone._orig_mod."), "compile"),
    ],
)
def test_wrappers_are_taken_off_and_said(mvit_cfg, wrap, note):
    theirs, model = randomised(mvit_cfg, 1), randomised(mvit_cfg, 2)
    report = load_weights(model, {wrap(name): tensor for name, tensor in theirs.state_dict().items()})
    assert note in str(report)
    assert report.source == "transm3e"
    assert equal(theirs, model)


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (["backbone.norm.weight", "mcts"], "transm3e"),
        (["conv_proj.weight", "pos_encoding.class_token", "blocks.0.attn.pool_k.pool.weight"], "torchvision"),
        (["features.0.0.norm1.weight", "patch_embed.proj.weight"], "torchvision"),
        (["cls_token", "blocks.0.attn.pool_k.weight", "head.projection.weight"], "pyslowfast"),
        (["s1.pathway0_stem.conv.weight", "head.projection.weight"], "pyslowfast"),
        (["blocks.0.conv.weight", "blocks.1.res_blocks.0.branch1_conv.weight"], "pytorchvideo"),
        (["blocks.0.multipathway_blocks.0.conv.weight"], "pytorchvideo"),
        (["cls_positional_encoding.cls_token", "blocks.0.attn.pool_k.weight"], "pytorchvideo"),
        (["stages.0.blocks.0.attn.pool_k.weight", "head.fc.weight"], "timm"),
        (["blocks.0.attn.pool_k.weight", "blocks_diff.0.attn.pool_k.weight"], "authors"),
        (["cls_token_distill", "blocks.0.attn.pool_k.weight"], "authors"),
        (["backbone.conv1.conv.weight", "cls_head.fc_cls.weight"], "mmaction"),
        (["backbone.patch_embed.projection.weight", "backbone.blocks.0.attn.pool_k.weight"], "mmaction"),
        (["backbone.gcn.0.gcn.conv.weight", "backbone.gcn.0.gcn.A"], "stgcn"),
        (["st_gcn_networks.0.gcn.conv.weight", "A"], "stgcn"),
        (["encoder.layer.0.weight"], None),
    ],
)
def test_a_source_is_told_by_names_in_any_order(names, source):
    state = {name: torch.zeros(1) for name in names}
    assert find_source(state) == source
    assert find_source(dict(reversed(state.items()))) == source


def test_every_source_has_a_name_and_strangers_are_named(mvit_cfg):
    assert set(SOURCES) == {
        "transm3e", "torchvision", "pyslowfast", "pytorchvideo", "timm", "videoswin", "authors", "authors_teacher",
        "mmaction", "stgcn",
    }  # fmt: skip
    model = randomised(mvit_cfg)
    with pytest.raises(
        UserError, match=r"^x\.pyth belongs to .*its names \(encoder\.a, encoder\.b, \.\.\.\) are of no known"
    ):
        load_weights(model, {"encoder.a": torch.ones(1), "encoder.b": torch.ones(1)}, name="x.pyth")
    with pytest.raises(UserError, match=r"'timmm', which does not exist; did you mean timm\?"):
        load_weights(model, model.state_dict(), source="timmm")


@pytest.mark.parametrize("first", ["pos_embed_spatial", "cls_positional_encoding.pos_embed_spatial"])
def test_the_first_mvit_is_refused_by_name(mvit_cfg, first):
    state = {first: torch.ones(1), "blocks.0.attn.pool_k.weight": torch.ones(1)}
    with pytest.raises(UserError, match="MViT's first version"):
        load_weights(randomised(mvit_cfg), state)


def test_two_tensors_of_one_name_are_refused(mvit_cfg):
    model = randomised(mvit_cfg)
    state = pyslowfast(model) | {"head.weight": torch.ones(20, 128)}
    with pytest.raises(UserError, match=r"two tensors are both head\.weight"):
        load_weights(model, state)


def test_torchvisions_other_nets_come_under_our_prefix():
    with torch.device("meta"):
        net = swin3d_t(weights=None)
    model = nn.ModuleDict({"swin": net})
    report = load_weights(model, net.state_dict())
    assert (report.source, len(report.loaded)) == ("torchvision", len(net.state_dict()))


def test_a_prefix_is_found_by_the_most_names():
    own = dict.fromkeys(("head.weight", "net.head.weight", "net.a.weight"), torch.ones(1))
    state = dict.fromkeys(("head.weight", "a.weight", "b.weight"), torch.ones(1))
    assert set(under_prefix(state, own)) == {"net.head.weight", "net.a.weight", "net.b.weight"}
    assert set(under_prefix(state, {"z": torch.ones(1)})) == set(state)
