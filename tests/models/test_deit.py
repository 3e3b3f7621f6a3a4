"""The distillation token: fused scores, what each head reads, weights of MViT."""

from __future__ import annotations

import pytest
import torch

from transm3e.losses import LOSSES
from transm3e.models import build_model, count_parameters
from transm3e.models.deit import mean_score_logits
from transm3e.models.weights import load_weights


@pytest.fixture
def deit_cfg(tiny_cfg):
    tiny_cfg.MODEL.MODEL_NAME = "DeiT"
    return tiny_cfg


def clips(batch=2):
    return {"rgb": torch.rand(batch, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("name", LOSSES)
def test_scores_are_the_mean_of_both_heads_scores_with_every_loss(deit_cfg, name):
    deit_cfg.MODEL.LOSS_FUNC = name
    model = build_model(deit_cfg).eval()
    for head in (model.head, model.head_dist):
        torch.nn.init.normal_(head.weight)
    out, scores = model(clips()), LOSSES[name].scores
    expected = (scores(out.class_logits) + scores(out.distill_logits)) / 2
    torch.testing.assert_close(scores(out.logits), expected)
    assert not torch.allclose(scores(out.class_logits), scores(out.distill_logits), atol=1e-3)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_sure_heads_that_contradict_each_other_give_finite_logits(sigmoid):
    one = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    fused = mean_score_logits(one, -one, sigmoid)
    fused.sum().backward()
    scores = fused.sigmoid() if sigmoid else fused.softmax(dim=1)
    assert scores[0, :2].tolist() == pytest.approx([0.5, 0.5])
    assert torch.isfinite(one.grad).all()
    assert mean_score_logits(one.bfloat16(), one.bfloat16(), sigmoid).dtype == torch.float32


def test_each_head_reads_its_own_token(deit_cfg):
    model = build_model(deit_cfg).eval()
    _, tokens = model.backbone(clips()["rgb"], torch.cat((model.cls_token, model.dist_token), dim=1))
    out = model(clips())
    assert torch.equal(out.class_logits, model.head(tokens[:, 0]))
    assert torch.equal(out.distill_logits, model.head_dist(tokens[:, 1]))


def test_it_has_one_token_and_one_head_more_than_mvit(deit_cfg):
    with torch.device("meta"):
        deit = build_model(deit_cfg)
        deit_cfg.MODEL.MODEL_NAME = "MViT"
        mvit = build_model(deit_cfg)
    assert count_parameters(deit) - count_parameters(mvit) == 16 + 64 * 20 + 20


def test_weights_of_mvit_leave_the_distillation_token_and_head_as_drawn(deit_cfg):
    model = build_model(deit_cfg)
    drawn = model.dist_token.detach().clone()
    deit_cfg.MODEL.MODEL_NAME, deit_cfg.RNG_SEED = "MViT", 1
    mvit = build_model(deit_cfg)
    report = load_weights(model, mvit.state_dict(), ("dist_token", "head_dist."))
    assert set(report.missing) == {"dist_token", "head_dist.weight", "head_dist.bias"}
    assert torch.equal(model.cls_token, mvit.cls_token)
    assert torch.equal(model.head.weight, mvit.head.weight)
    assert torch.equal(model.dist_token, drawn)


def test_losses_read_by_a_sigmoid_are_those_there_are():
    far = torch.full((1, 20), 9.0)
    assert {name for name in LOSSES if LOSSES[name].scores(far).min() > 0.9} == {
        name for name in LOSSES if LOSSES[name].of_each
    }
