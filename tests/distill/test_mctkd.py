"""MCTKD against equation 1 written out in float64."""

from __future__ import annotations

import pytest
import torch

from transm3e.distill.mctkd import MCTKD, token_kl
from transm3e.models.output import ModelOutput

TEMPERATURE, ALPHA = 10.0, 0.9


def written_out(receiver, sender, axis, reduction):
    """sum s log(s / r) over the softmaxed axis, for every clip and every other position."""
    batch, tokens, width = receiver.shape
    total = 0.0
    for b in range(batch):
        r, s = receiver[b] / TEMPERATURE, sender[b] / TEMPERATURE
        pairs = {
            "token": [(r[:, d], s[:, d]) for d in range(width)],
            "channel": [(r[k], s[k]) for k in range(tokens)],
            "full": [(r.flatten(), s.flatten())],
        }[axis]
        for r_row, s_row in pairs:
            p_r, p_s = r_row.exp() / r_row.exp().sum(), s_row.exp() / s_row.exp().sum()
            total += (p_s * (p_s / p_r).log()).sum()
    return total / (batch * tokens * width if reduction == "mean" else batch)


@pytest.mark.parametrize("axis", ["token", "channel", "full"])
@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
def test_mctkd_equals_equation_1(axis, reduction):
    torch.manual_seed(0)
    shapes = [(3, 4, 6), (3, 4, 12)]
    receivers = [torch.randn(s, dtype=torch.float64) * 5 for s in shapes]
    senders = [torch.randn(s, dtype=torch.float64) * 5 for s in shapes]
    student = ModelOutput(torch.zeros(3, 20), receivers=receivers)
    teacher = ModelOutput(torch.zeros(3, 20), mcts=senders)
    loss = MCTKD(axis, TEMPERATURE, ALPHA, reduction)(student, teacher)["loss_mctkd"]
    blocks = [written_out(r, s, axis, reduction) for r, s in zip(receivers, senders, strict=True)]
    expected = sum(blocks) / len(blocks) * ALPHA * TEMPERATURE**2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("blocks", [3, 16])
def test_the_sum_over_the_blocks_may_be_divided_by_another_number(student_cfg, blocks):
    torch.manual_seed(0)
    student_cfg.DISTILL.NUM_BLOCKS = blocks
    student = ModelOutput(torch.zeros(3, 20), receivers=[torch.randn(3, 4, 6, dtype=torch.float64) for _ in range(24)])
    teacher = ModelOutput(torch.zeros(3, 20), mcts=[torch.randn(3, 4, 6, dtype=torch.float64) for _ in range(24)])
    loss = MCTKD.from_cfg(student_cfg)(student, teacher)["loss_mctkd"]
    pairs = zip(student.receivers, teacher.mcts, strict=True)
    expected = sum(written_out(r, s, "token", "mean") for r, s in pairs) / blocks * ALPHA * TEMPERATURE**2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("axis", ["token", "channel", "full"])
def test_kl_is_zero_for_equal_tokens_and_positive_otherwise(axis):
    torch.manual_seed(0)
    x, y = torch.randn(2, 2, 5, 7, dtype=torch.float64)
    assert token_kl(x, x, axis, 3.0, "mean").item() == pytest.approx(0, abs=1e-15)
    assert token_kl(x, y, axis, 3.0, "mean").item() > 0


def test_half_precision_tokens_are_compared_in_float32():
    torch.manual_seed(0)
    r, s = torch.randn(2, 2, 4, 8)
    student = ModelOutput(torch.zeros(2, 20), receivers=[r.bfloat16()])
    teacher = ModelOutput(torch.zeros(2, 20), mcts=[s.bfloat16()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = MCTKD("token", 10.0, 0.9, "mean")(student, teacher)["loss_mctkd"]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(90 * token_kl(r, s, "token", 10.0, "mean").item(), rel=0.05)
