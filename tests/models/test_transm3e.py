"""TransM3E: token order, what is read out, and the sizes of the paper's table 2."""

from __future__ import annotations

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.models.registry import count_parameters
from transm3e.models.weights import load_weights


def count(cfg):
    with torch.device("meta"):
        return count_parameters(build_model(cfg))


def base(cfg):
    cfg.MVIT.DEPTH = 24
    cfg.MVIT.DIM_MUL = cfg.MVIT.HEAD_MUL = [[2, 2.0], [5, 2.0], [21, 2.0]]
    cfg.MVIT.POOL_Q_STRIDE = [[i, 1, 2, 2] if i in (2, 5, 21) else [i, 1, 1, 1] for i in range(24)]
    return cfg


def test_parameters_of_table_2():
    """Counts of the references with 20 classes; the authors' q, k and v in MCTF carry no bias."""
    cfg = get_cfg()
    cfg.TRANSM3E.RECEIVERS, cfg.TRANSM3E.FUSION, cfg.MCTF.QKV_BIAS = True, "mctf", False
    assert count(cfg) == 44_376_116
    assert count(base(cfg)) == 61_031_636
    cfg = get_cfg()
    cfg.MODEL.MODEL_NAME = "MViT"
    assert count(cfg) == 34_245_524


def test_student_and_teacher_are_counted_apart():
    """Together the 78.6M of the authors' model, in which both are one; what predicts is the student alone."""
    cfg = get_cfg()
    cfg.TRANSM3E.RECEIVERS, cfg.TRANSM3E.FUSION, cfg.MCTF.QKV_BIAS = True, "mctf", False
    teacher = get_cfg()
    teacher.DATA.MODALITY = "rgb_diff"
    assert (count(cfg), count(teacher)) == (44_376_116, 34_245_524 + 19 * 96)
    assert (count(cfg) + count(teacher)) // 100_000 == 786


@pytest.mark.parametrize(
    ("fusion", "extra"),
    [
        ("mean", 0),
        ("sum", 0),
        ("multiply", 0),
        ("concat", 1_180_416),
        ("self_attention", 3_546_624),
        ("cross_attention", 7_093_248),
        ("bottleneck", 14_189_568),
        ("mctf", 10_131_456),
    ],
)
def test_parameters_of_table_5(fusion, extra):
    """MViTv2-S with 20 MCTs and 20 receivers instead of one class token, and the fusion."""
    cfg = get_cfg()
    cfg.TRANSM3E.RECEIVERS, cfg.TRANSM3E.FUSION = True, fusion
    assert count(cfg) == 34_245_524 + 39 * 96 + extra


def test_parameters_of_xu_et_als_mct():
    """MViTv2-S with 20 tokens, but without the linear layer (15,380) and the last norm (1,536)."""
    cfg = get_cfg()
    cfg.TRANSM3E.READOUT = "class_tokens"
    assert count(cfg) == 34_245_524 + 19 * 96 - 15_380 - 1_536


def test_what_is_frozen_is_not_trainable(student_cfg):
    model = build_model(student_cfg)
    assert count_parameters(model, trainable_only=True) == count_parameters(model)
    model.backbone.requires_grad_(False)
    without = count_parameters(model) - count_parameters(model.backbone)
    assert count_parameters(model, trainable_only=True) == without > 0


def test_student_returns_tokens_before_the_first_and_after_every_block(student_cfg):
    model = build_model(student_cfg)
    out = model({"rgb": torch.randn(2, 3, 4, 32, 32)})
    assert out.logits.shape == (2, 20)
    widths = [16, 16, 32, 64]
    assert [t.shape for t in out.receivers] == [t.shape for t in out.mcts] == [(2, 20, width) for width in widths]


def test_receivers_stand_before_mcts(student_cfg):
    model = build_model(student_cfg).eval()
    clip = {"rgb": torch.randn(1, 3, 4, 32, 32)}
    with torch.no_grad():
        model.receivers.copy_(model.mcts)
        equal = model(clip)
        model.receivers.zero_()
        zero = model(clip)
    assert torch.allclose(equal.receivers[1], equal.mcts[1], atol=1e-6)
    # Receivers that start equal stay equal; the MCTs do not.
    assert (zero.receivers[-1] - zero.receivers[-1][:, :1]).abs().max() < 1e-5
    assert (zero.mcts[-1] - zero.mcts[-1][:, :1]).abs().max() > 1e-4


def test_without_receivers_the_mean_of_the_mcts_is_classified(tiny_cfg):
    model = build_model(tiny_cfg).double().eval()
    out = model({"rgb": torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)})
    expected = model.head(model.backbone.norm(out.mcts[-1]).mean(1))
    assert torch.allclose(out.logits, expected, rtol=0, atol=1e-12)
    assert out.receivers == []


@pytest.mark.parametrize("fusion", ["none", "mean", "cross_attention"])
def test_each_class_is_read_from_its_own_token(student_cfg, fusion):
    """Xu et al.: a token's mean over its channels, after the last block and before any last norm."""
    student_cfg.TRANSM3E.READOUT, student_cfg.TRANSM3E.RECEIVERS = "class_tokens", fusion != "none"
    student_cfg.TRANSM3E.FUSION = "mean" if fusion == "none" else fusion
    model = build_model(student_cfg).double().eval()
    out = model({"rgb": torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)})
    tokens = out.mcts[-1] if fusion == "none" else model.fusion(out.mcts[-1], out.receivers[-1])
    expected = torch.stack([tokens[:, i].sum(1) / tokens.shape[2] for i in range(20)], dim=1)
    assert torch.allclose(out.logits, expected, rtol=0, atol=1e-12)
    assert out.logits.std() > 1e-4
    assert not [name for name, _ in model.named_parameters() if name.startswith(("head.", "backbone.norm."))]


def test_class_tokens_start_from_a_classifier_without_its_head_and_last_norm(student_cfg):
    student_cfg.TRANSM3E.READOUT, student_cfg.TRANSM3E.RECEIVERS = "class_tokens", False
    model, pretrained = build_model(student_cfg), student_cfg.clone()
    pretrained.MODEL.MODEL_NAME, pretrained.RNG_SEED = "MViT", 1
    given = build_model(pretrained).state_dict()
    report = load_weights(model, given)
    assert report.missing == ()
    assert set(report.loaded) == set(model.state_dict())
    blocks = [name for name in given if name.startswith("backbone.blocks.")]
    assert all(torch.equal(model.state_dict()[name], given[name]) for name in blocks)
    with pytest.raises(UserError, match=r"1 unused \(backbone\.blocks\.7\.x\)"):
        load_weights(model, {**given, "backbone.blocks.7.x": torch.zeros(1)})


def test_every_class_needs_its_token(student_cfg):
    student_cfg.TRANSM3E.READOUT, student_cfg.TRANSM3E.NUM_MCTS = "class_tokens", 5
    with pytest.raises(AssertionError, match="own token"):
        build_model(student_cfg)


@pytest.mark.parametrize("number", [1, 5, 30])
def test_table_10s_numbers_of_mcts(student_cfg, number):
    student_cfg.TRANSM3E.FUSION, student_cfg.TRANSM3E.NUM_MCTS = "mean", number
    model = build_model(student_cfg)
    out = model({"rgb": torch.randn(2, 3, 4, 32, 32)})
    assert out.logits.shape == (2, 20)
    assert out.mcts[-1].shape == out.receivers[-1].shape == (2, number, 64)
    out.logits.square().sum().backward()
    assert all(tokens.grad.abs().max() > 0 for tokens in (model.mcts, model.receivers))


@pytest.mark.parametrize("init", ["normal", "zeros"])
def test_receiver_init(student_cfg, init):
    student_cfg.TRANSM3E.RECEIVER_INIT = init
    assert bool(build_model(student_cfg).receivers.abs().max() > 0) == (init == "normal")


def test_same_seed_same_weights(student_cfg):
    one, two = build_model(student_cfg), build_model(student_cfg)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    student_cfg.RNG_SEED = 1
    assert not torch.equal(one.head.weight, build_model(student_cfg).head.weight)
