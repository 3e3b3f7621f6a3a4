"""Two branches: every fusion against its formula in float64, sizes, weights of one MViT, a run from the command line."""

from __future__ import annotations

import json
import math
import re
import runpy
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transm3e.config import get_cfg
from transm3e.data.build import check_tables
from transm3e.errors import UserError
from transm3e.layers.transformer_block import TransformerBlock
from transm3e.losses import LOSSES
from transm3e.modalities import MODALITIES, model_modalities, read_modalities
from transm3e.models import build_model, count_parameters
from transm3e.models.two_branch import TWO_BRANCH_FUSIONS, PatchConcat
from transm3e.models.two_branch_fusions import AttentionFusion, Branch, LateConcatFusion, LateFusion, PatchFusion
from transm3e.models.weights import load_weights

FUSIONS = list(TWO_BRANCH_FUSIONS)
LATE = ("late_sum", "late_concat", "late_mul")
PATCH = ("pe_sum", "pe_concat", "pe_mul")
ATTENTION = ("cross_attention", "mixed")


@pytest.fixture
def two_cfg(tiny_cfg):
    """Two branches at the tiny size, the fusion to be chosen."""
    tiny_cfg.MODEL.MODEL_NAME = "TwoBranch"
    tiny_cfg.MVIT.DROPPATH_RATE = 0.0
    return tiny_cfg


def build(cfg, fusion, second="rgb_diff"):
    cfg.TWO_BRANCH.FUSION, cfg.TWO_BRANCH.MODALITY = fusion, second
    return build_model(cfg)


def random_clips(batch=2, names=("rgb", "rgb_diff"), frames=4, size=32):
    generator = torch.Generator().manual_seed(3)
    shapes = {name: (batch, MODALITIES[name].channels, frames, size, size) for name in names}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


class Plain(nn.Module):
    """A branch made by hand: the mean over time and space, and a matrix."""

    def __init__(self, modality, dim):
        super().__init__()
        self.modality, self.matrix = modality, nn.Parameter(torch.randn(MODALITIES[modality].channels, dim))

    def forward(self, clips):
        return clips[self.modality].mean(dim=(2, 3, 4)) @ self.matrix


class Shown(Branch):
    """A branch whose last tokens are given; its last norm doubles."""

    def __init__(self, tokens):
        nn.Module.__init__(self)
        self.given, self.backbone = tokens, nn.Module()
        self.backbone.dim_out = tokens.shape[-1]
        self.backbone.norm = nn.Identity()

    def tokens(self, clips):
        return self.given


def test_the_choices_are_the_registered_fusions():
    assert set(FUSIONS) == {*TWO_BRANCH_FUSIONS} == {*LATE, *PATCH, *ATTENTION}


@pytest.mark.parametrize("fusion", ["late_sum", "late_mul"])
@pytest.mark.parametrize("loss", ["bce_softmax", "bce_logits"])
def test_late_fusion_is_of_scores(two_cfg, fusion, loss):
    torch.manual_seed(0)
    two_cfg.MODEL.LOSS_FUNC = loss
    combine = build(two_cfg, fusion).net.combine
    net = LateFusion([Plain("rgb", 5), Plain("rgb_diff", 6)], (5, 6), 4, combine).double()
    clips = random_clips()
    logits = [head(branch(clips)) for head, branch in zip(net.heads, net.branches, strict=True)]
    if loss == "bce_softmax":
        p, q = (each.exp() / each.exp().sum(dim=1, keepdim=True) for each in logits)
        expected = (p + q) / 2 if fusion == "late_sum" else p * q / (p * q).sum(dim=1, keepdim=True)
        found = net(clips).softmax(dim=1)
    else:
        p, q = (1 / (1 + (-each).exp()) for each in logits)
        expected = (p + q) / 2 if fusion == "late_sum" else p * q / (p * q + (1 - p) * (1 - q))
        found = net(clips).sigmoid()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(LOSSES[loss].scores(net(clips)), expected.float())


def test_sure_scores_stay_finite_in_late_fusion(two_cfg):
    """Probabilities that underflow in float32 do not, as logarithms."""
    sure = torch.tensor([[400.0, 0.0, -400.0]])
    for fusion in ("late_sum", "late_mul"):
        combine = build(two_cfg, fusion).net.combine
        one, other = sure.clone().requires_grad_(), (-sure).requires_grad_()
        fused = combine(one, other)
        LOSSES["bce_softmax"](fused, torch.tensor([[1.0, 0.0, 0.0]])).backward()
        assert all(torch.isfinite(each).all() for each in (fused, one.grad, other.grad))


def test_late_concat_is_one_linear_layer_on_both_class_tokens():
    net = LateConcatFusion([Plain("rgb", 5), Plain("flow", 6)], (5, 6), 4).double()
    clips = random_clips(names=("rgb", "flow"))
    one, other = (branch(clips) for branch in net.branches)
    weight = net.head.weight
    expected = one @ weight[:, :5].T + other @ weight[:, 5:].T + net.head.bias
    torch.testing.assert_close(net(clips), expected, rtol=1e-12, atol=1e-12)


def read(block, token, context, heads):
    """One class token (1, D) that reads a context (N, D): the cross-transformer, head by head."""

    def norm(x, layer):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias

    q, k, v = block.q(norm(token, block.norm1)), *(part(norm(context, block.norm1)) for part in (block.k, block.v))
    width = q.shape[-1] // heads
    parts = []
    for part in (slice(i * width, (i + 1) * width) for i in range(heads)):
        weights = (q[:, part] @ k[:, part].T / math.sqrt(width)).softmax(dim=-1)
        parts.append(weights @ v[:, part])
    token = token + block.proj(torch.cat(parts, dim=-1))
    hidden = block.mlp.fc1(norm(token, block.norm2))
    return token + block.mlp.fc2(F.gelu(hidden))


@pytest.mark.parametrize("mixed", [False, True])
def test_attention_reads_the_other_branch_or_both(mixed):
    torch.manual_seed(0)
    tokens = [torch.randn(2, 1 + n, 8, dtype=torch.float64) for n in (5, 3)]
    blocks = [TransformerBlock(8, 2, mlp_ratio=2.0) for _ in range(2)]
    net = AttentionFusion([Shown(each) for each in tokens], blocks, 4, mixed).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    found = net({})
    for clip in range(2):
        one, other = (each[clip] for each in tokens)
        both = torch.cat((one, other))
        seen = [
            read(blocks[0], one[:1], both if mixed else other, 2),
            read(blocks[1], other[:1], both if mixed else one, 2),
        ]
        # Nagrani et al.: the logits of one linear layer on both class tokens, averaged.
        expected = (net.head(seen[0][0]) + net.head(seen[1][0])) / 2
        torch.testing.assert_close(found[clip], expected, rtol=1e-10, atol=1e-10)


def test_a_branch_gives_the_tokens_behind_its_last_block(two_cfg):
    torch.manual_seed(0)
    branch, clips = build(two_cfg, "mixed").double().eval().net.branches[1], random_clips()
    tokens = branch.tokens(clips)
    # 2 steps of 4x4 patches behind the one q stride, and the class token.
    assert tokens.shape == (2, 1 + 2 * 4 * 4, 64)
    per_block, last = branch.backbone(clips["rgb_diff"], branch.cls_token)
    torch.testing.assert_close(tokens[:, :1], per_block[-1])
    torch.testing.assert_close(branch(clips), last[:, 0])
    assert not torch.allclose(tokens[0, 1:], tokens[1, 1:]), "patches differ from clip to clip"


@pytest.mark.parametrize("fusion", PATCH)
def test_patches_are_fused_one_by_one_before_one_backbone(two_cfg, fusion):
    torch.manual_seed(0)
    net, clips = build(two_cfg, fusion, "flow").double().eval().net, random_clips(names=("rgb", "flow"))
    assert isinstance(net, PatchFusion)
    one, other = (
        conv(clips[name]).flatten(2).transpose(1, 2)
        for conv, name in ((net.backbone.patch_embed.proj, "rgb"), (net.other.proj, "flow"))
    )
    if fusion == "pe_concat":
        assert isinstance(net.combine, PatchConcat)
        weight, bias = net.combine.proj.weight, net.combine.proj.bias
        fused = one @ weight[:, :16].T + other @ weight[:, 16:].T + bias
    else:
        fused = one + other if fusion == "pe_sum" else one * other
    size = (2, 8, 8)
    per_block, _ = net.backbone.encode(fused, net.cls_token, embed=lambda patches: (patches, size))
    expected = net.head(net.backbone.norm(per_block[-1])[:, 0])
    torch.testing.assert_close(net(clips), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_both_modalities_matter_and_another_size_is_taken(two_cfg, fusion):
    model = build(two_cfg, fusion).double().eval()
    for frames, size in ((4, 32), (8, 48)):
        clips = random_clips(frames=frames, size=size)
        with torch.no_grad():
            logits = model(clips).logits
            assert logits.shape == (2, 20)
            for name in clips:
                changed = {**clips, name: clips[name].flip(dims=(2,))}
                assert not torch.allclose(model(changed).logits, logits)


def test_parameters_at_the_papers_size():
    """Two whole MViTv2-S: the paper's 68.5M of late fusion by sum."""
    expected = {
        **dict.fromkeys(("late_sum", "late_mul"), 2 * 34_245_524),
        "late_concat": 2 * 34_245_524 - 20,
        **dict.fromkeys(ATTENTION, 82_651_412),
        **dict.fromkeys(("pe_sum", "pe_mul"), 34_245_524 + 42_432),
        "pe_concat": 34_245_524 + 42_432 + 2 * 96 * 96 + 96,
    }
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME = "TwoBranch"
    with torch.device("meta"):
        assert {fusion: count_parameters(build(cfg, fusion)) for fusion in FUSIONS} == expected
    assert round(expected["late_sum"] / 1e6, 1) == 68.5


@pytest.mark.parametrize("fusion", FUSIONS)
def test_both_branches_take_the_weights_of_one_mvit(two_cfg, fusion):
    two_cfg.MODEL.MODEL_NAME = "MViT"
    one = build_model(two_cfg).state_dict()
    two_cfg.MODEL.MODEL_NAME, two_cfg.RNG_SEED = "TwoBranch", 1
    two = build(two_cfg, fusion)
    head = ("net.head.",) if fusion == "late_concat" else ()
    new = ("net.blocks.", "net.combine.", *head)
    report = load_weights(two, one, allow_missing=new)
    own = two.state_dict()
    assert set(report.loaded) == {name for name in own if not name.startswith(new)}
    for name in report.loaded:
        # net.branches.1.backbone.norm.bias, net.heads.1.weight, net.other.proj.bias
        plain = re.sub(r"^net\.(branches\.\d\.)?", "", name)
        plain = re.sub(r"^heads\.\d\.", "head.", re.sub(r"^other\.", "backbone.patch_embed.", plain))
        assert torch.equal(own[name], one[plain]), name
    # What has its names already goes where it was.
    again = build(two_cfg, fusion)
    load_weights(again, own)
    assert all(torch.equal(tensor, own[name]) for name, tensor in again.state_dict().items())


def test_both_branches_take_image_weights_without_class_token(two_cfg):
    """Names of PySlowFast's image models, kernels without time, another number of classes."""
    two_cfg.MODEL.MODEL_NAME, two_cfg.MODEL.NUM_CLASSES = "MViT", 7
    video = build_model(two_cfg).state_dict()
    image = {
        name.removeprefix("backbone."): tensor.sum(2) if tensor.dim() == 5 else tensor
        for name, tensor in video.items()
        if not name.endswith(("rel_pos_t", "cls_token"))
    }
    two_cfg.MODEL.MODEL_NAME, two_cfg.MODEL.NUM_CLASSES = "TwoBranch", 20
    two = build(two_cfg, "mixed")
    report = load_weights(two, image, allow_missing=("net.head", "net.blocks.", "net.combine."))
    own = two.state_dict()
    assert {name.rsplit(".")[-1] for name in report.missing if name.startswith("net.branches")} == {
        "rel_pos_t",
        "cls_token",
    }
    kernel = video["backbone.patch_embed.proj.weight"]
    for number in (0, 1):
        found = own[f"net.branches.{number}.backbone.patch_embed.proj.weight"]
        torch.testing.assert_close(found, kernel.mean(2, keepdim=True).expand_as(kernel))


def test_weights_that_fit_one_branch_only_are_refused_by_name(two_cfg):
    two_cfg.MODEL.MODEL_NAME = "MViT"
    one = build_model(two_cfg).state_dict()
    two_cfg.MODEL.MODEL_NAME = "TwoBranch"
    two = build(two_cfg, "late_sum", "flow")
    with pytest.raises(UserError, match=r"of another shape \(net\.branches\.1\.backbone\.patch_embed\.proj\.weight\)"):
        load_weights(two, one)
    report = load_weights(two, one, allow_missing=("net.branches.1.backbone.patch_embed.",))
    assert "net.branches.1.backbone.patch_embed.proj.bias" in report.loaded


def test_what_is_read_is_asked_in_one_place(two_cfg, student_cfg):
    assert model_modalities(two_cfg) == read_modalities(two_cfg, training=False) == ["rgb", "rgb_diff"]
    student_cfg.MODEL.MODEL_NAME = "TransM3E"
    assert read_modalities(student_cfg, training=True) == ["rgb", "rgb_diff"]
    assert read_modalities(student_cfg, training=False) == model_modalities(student_cfg) == ["rgb"]


def test_flow_is_asked_for_also_where_nothing_is_trained(two_cfg, noise_data):
    two_cfg.DATA.PATH_TO_DATA_DIR, two_cfg.TRAIN.ENABLE = str(noise_data), False
    check_tables([two_cfg])
    two_cfg.TWO_BRANCH.MODALITY = "flow"
    with pytest.raises(UserError, match="nothing in the column flow"):
        check_tables([two_cfg])


def test_a_run_trains_and_scores_both_modalities(two_cfg, noise_data, tmp_path, repo, monkeypatch):
    two_cfg.TWO_BRANCH.FUSION, two_cfg.SOLVER.MAX_EPOCH, two_cfg.SOLVER.WARMUP_EPOCHS = "cross_attention", 1, 0.0
    two_cfg.TRAIN.BATCH_SIZE = two_cfg.TEST.BATCH_SIZE = 8
    two_cfg.TEST.NUM_ENSEMBLE_VIEWS, two_cfg.DATA_LOADER.NUM_WORKERS, two_cfg.TENSORBOARD.ENABLE = 1, 0, False
    two_cfg.DATA.PATH_TO_DATA_DIR, two_cfg.OUTPUT_DIR = str(noise_data), str(tmp_path / "run")
    (tmp_path / "two.yaml").write_text(two_cfg.dump())
    monkeypatch.setattr(sys, "argv", ["run_net.py", "--cfg", str(tmp_path / "two.yaml")])
    assert runpy.run_path(str(repo / "tools" / "run_net.py"), run_name="run_net")["main"]() == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["run"]["model"] == "TwoBranch"
    assert all(0 < split["mAP"] <= 1 for split in results["splits"].values())
