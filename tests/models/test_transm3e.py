"""TransM3E: token order, what is read out, and the sizes of the paper's table 2."""

from __future__ import annotations

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.models import build_model
from transm3e.models.registry import count_parameters


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


def test_what_is_frozen_is_not_trainable(student_cfg):
    model = build_model(student_cfg)
    assert count_parameters(model, trainable_only=True) == count_parameters(model)
    model.backbone.requires_grad_(False)
    without = count_parameters(model) - count_parameters(model.backbone)
    assert count_parameters(model, trainable_only=True) == without > 0


def test_student_returns_tokens_after_every_block(student_cfg):
    model = build_model(student_cfg)
    out = model({"rgb": torch.randn(2, 3, 4, 32, 32)})
    assert out.logits.shape == (2, 20)
    assert [t.shape for t in out.receivers] == [t.shape for t in out.mcts] == [(2, 20, 16), (2, 20, 32), (2, 20, 64)]


def test_receivers_stand_before_mcts(student_cfg):
    model = build_model(student_cfg).eval()
    clip = {"rgb": torch.randn(1, 3, 4, 32, 32)}
    with torch.no_grad():
        model.receivers.copy_(model.mcts)
        equal = model(clip)
        model.receivers.zero_()
        zero = model(clip)
    assert torch.allclose(equal.receivers[0], equal.mcts[0], atol=1e-6)
    # Receivers that start equal stay equal; the MCTs do not.
    assert (zero.receivers[-1] - zero.receivers[-1][:, :1]).abs().max() < 1e-5
    assert (zero.mcts[-1] - zero.mcts[-1][:, :1]).abs().max() > 1e-4


def test_without_receivers_the_mean_of_the_mcts_is_classified(tiny_cfg):
    model = build_model(tiny_cfg).double().eval()
    out = model({"rgb": torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)})
    expected = model.head(model.backbone.norm(out.mcts[-1]).mean(1))
    assert torch.allclose(out.logits, expected, rtol=0, atol=1e-12)
    assert out.receivers == []


@pytest.mark.parametrize("init", ["normal", "zeros"])
def test_receiver_init(student_cfg, init):
    student_cfg.TRANSM3E.RECEIVER_INIT = init
    assert bool(build_model(student_cfg).receivers.abs().max() > 0) == (init == "normal")


def test_same_seed_same_weights(student_cfg):
    one, two = build_model(student_cfg), build_model(student_cfg)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    student_cfg.RNG_SEED = 1
    assert not torch.equal(one.head.weight, build_model(student_cfg).head.weight)
