"""Losses against PyTorch and their formulas in float64, at the extremes and under autocast."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.config import get_cfg
from transm3e.errors import UserError
from transm3e.losses import LOSSES, asymmetric, build_loss, softmax_bce

NAMES = sorted(LOSSES)


def draw(seed, scale=3.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 20, generator=generator, dtype=dtype) * scale
    labels = (torch.rand(6, 20, generator=generator) < 0.4).to(dtype)
    return logits.requires_grad_(), labels


def asymmetric_formula(logits, labels, gamma_neg=4, gamma_pos=1, margin=0.05):
    """Ridnik et al. 2021, equations 4 to 7, clip by clip and muscle by muscle."""
    total = 0.0
    for z, y in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = torch.tensor(z, dtype=torch.float64).sigmoid().item()
        p_m = max(p - margin, 0)
        log = torch.tensor([p, 1 - p_m], dtype=torch.float64).log().tolist()
        total -= y * (1 - p) ** gamma_pos * log[0] + (1 - y) * p_m**gamma_neg * log[1]
    return total / logits.numel()


def softmax_bce_formula(logits, labels):
    """-y log p - (1 - y) log(1 - p), where 1 - p is summed from the other muscles' own probabilities."""
    total = logits.logsumexp(-1, keepdim=True)
    others = logits[:, None, :].masked_fill(torch.eye(logits.shape[1], dtype=torch.bool), -torch.inf).logsumexp(-1)
    return -(labels * (logits - total) + (1 - labels) * (others - total)).mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 4))
def test_softmax_bce_and_its_gradient_are_their_formula(seed, scale):
    logits, labels = draw(seed, scale)
    ours, formula = softmax_bce(logits, labels), softmax_bce_formula(logits, labels)
    torch.testing.assert_close(ours, formula, rtol=1e-8, atol=1e-10)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, formula)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 2))
def test_softmax_bce_is_pytorchs_binary_cross_entropy_on_a_softmax(seed, scale):
    # Up to this scale: below p = 1e-12 PyTorch's gradient is cut off, while ours stays that of the formula.
    logits, labels = draw(seed, scale)
    ours, theirs = softmax_bce(logits, labels), F.binary_cross_entropy(logits.softmax(-1), labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)


def test_softmax_bce_passes_gradcheck_with_soft_labels():
    logits, labels = draw(0)
    assert torch.autograd.gradcheck(lambda z: softmax_bce(z, labels * 0.9 + 0.05), logits)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 5))
def test_asymmetric_is_its_formula(seed, scale):
    logits, labels = draw(seed, scale)
    assert asymmetric(logits, labels).item() == pytest.approx(asymmetric_formula(logits, labels), rel=1e-9)


def test_asymmetric_without_focus_and_margin_is_binary_cross_entropy():
    logits, labels = draw(1)
    plain = asymmetric(logits, labels, gamma_neg=0, gamma_pos=0, clip=0)
    torch.testing.assert_close(plain, F.binary_cross_entropy_with_logits(logits, labels))


@pytest.mark.parametrize("gammas", [(4.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
@pytest.mark.parametrize("clip", [0.0, 0.05, 1.0])
def test_asymmetric_is_finite_at_sure_scores(gammas, clip):
    logits = torch.tensor([[-200.0, 200.0, -1.0, 1.0]] * 2, requires_grad=True)
    loss = asymmetric(logits, torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]), *gammas, clip)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_asymmetric_passes_gradcheck():
    logits, labels = draw(2)
    assert torch.autograd.gradcheck(lambda z: asymmetric(z, labels), logits)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
def test_extreme_logits_give_finite_losses_and_gradients(name, dtype, size):
    logits = torch.full((4, 20), -size, dtype=dtype)
    logits[:, 3] = size
    logits.requires_grad_()
    labels = torch.zeros(4, 20)
    labels[0] = 1
    labels[1, 3] = 1
    labels[2, 4] = 1
    loss = LOSSES[name](logits, labels)
    loss.backward()
    assert loss.isfinite()
    assert loss >= 0
    assert logits.grad.isfinite().all()
    scores = LOSSES[name].scores(logits.detach())
    assert scores.dtype == torch.float32
    assert (scores >= 0).all()
    assert (scores <= 1).all()


def test_a_surer_mistake_costs_more():
    labels = torch.zeros(1, 20)
    labels[0, 0] = 1
    for name in NAMES:
        wrong = [torch.zeros(1, 20).index_fill(1, torch.tensor([5]), size) for size in (0.0, 2.0, 8.0)]
        losses = [LOSSES[name](logits, labels).item() for logits in wrong]
        assert losses == sorted(set(losses)), name


@pytest.mark.parametrize("name", NAMES)
def test_losses_compute_in_float32_under_autocast(name):
    logits, labels = draw(3, dtype=torch.float32)
    logits = logits.detach().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = LOSSES[name](logits, labels)
    assert under.dtype == torch.float32
    assert torch.equal(under, LOSSES[name](logits.float(), labels))


@pytest.mark.parametrize("name", NAMES)
def test_float64_stays_float64(name):
    logits, labels = draw(4)
    loss = LOSSES[name](logits, labels.float())
    assert loss.dtype == torch.float64


def test_names():
    assert {"bce_softmax", "bce_logits", "asl", "focal_loss_multilabel"} <= set(NAMES)
    logits, labels = draw(5)
    assert torch.equal(LOSSES["focal_loss_multilabel"](logits, labels), LOSSES["bce_softmax"](logits, labels))
    assert LOSSES["bce_softmax"].scores(logits).sum().item() == pytest.approx(len(logits))
    torch.testing.assert_close(LOSSES["asl"].scores(logits), logits.sigmoid().float())
    with pytest.raises(UserError, match=r"MODEL\.LOSS_FUNC is 'focal'"):
        LOSSES["focal"]


@pytest.mark.parametrize("name", ["cross_entropy", "soft_cross_entropy"])
def test_cross_entropy_is_torchs_for_one_class_and_for_mixed_ones(name):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    classes, mixed = torch.tensor([0, 8, 3, 3, 1, 7]), torch.rand(6, 9, generator=generator).double().softmax(dim=1)
    for labels, target in ((torch.nn.functional.one_hot(classes, 9), classes), (mixed, mixed)):
        expected = torch.nn.functional.cross_entropy(logits, target)
        torch.testing.assert_close(LOSSES[name](logits, labels), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(LOSSES[name].scores(logits), logits.softmax(dim=1).float())


def test_the_asymmetric_loss_takes_its_settings_from_the_config():
    cfg, logits, labels = get_cfg(), torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 1.0]])
    cfg.MODEL.LOSS_FUNC = "asl"
    assert torch.equal(build_loss(cfg)(logits, labels), asymmetric(logits, labels))
    cfg.ASL.GAMMA_NEG, cfg.ASL.GAMMA_POS, cfg.ASL.CLIP = 2.0, 0.0, 0.1
    assert torch.equal(build_loss(cfg)(logits, labels), asymmetric(logits, labels, 2.0, 0.0, 0.1))


@pytest.mark.parametrize(("act", "of_each"), [("auto", True), ("softmax", False), ("sigmoid", True)])
def test_the_head_turns_logits_into_scores_as_head_act_says(act, of_each):
    cfg = get_cfg()
    cfg.MODEL.LOSS_FUNC, cfg.MODEL.HEAD_ACT = "bce_logit", act
    loss, logits = build_loss(cfg), torch.tensor([[1.0, -2.0, 0.5]])
    assert torch.equal(loss.scores(logits), logits.sigmoid() if of_each else logits.softmax(-1))
    assert loss.of_each == of_each
    labels = torch.tensor([[1.0, 0.0, 1.0]])
    assert loss(logits, labels) == torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
