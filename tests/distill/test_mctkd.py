"""MCTKD and KD of class tokens against equation 1 written out in float64, at every position."""

from __future__ import annotations

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.config.schema import KEYS
from transm3e.distill import build_distiller
from transm3e.distill.kl import AXES, token_kl
from transm3e.distill.mctkd import KD, MCTKD
from transm3e.distill.positions import POSITIONS, positions_of
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


def outputs(depth):
    """Float64 outputs of a student and of a teacher: three clips, before the first block and after each, ever wider."""
    torch.manual_seed(0)
    shapes = [(3, 4, 6 * (1 + block // 2)) for block in range(depth + 1)]
    mcts, receivers, senders = ([torch.randn(s, dtype=torch.float64) * 5 for s in shapes] for _ in range(3))
    logits = torch.zeros(3, 20)
    return ModelOutput(logits, mcts=mcts, receivers=receivers), ModelOutput(logits, mcts=senders)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("reduction", ["mean", "batchmean"])
@pytest.mark.parametrize(("distiller", "learners"), [(MCTKD, "receivers"), (KD, "mcts")])
def test_tokens_are_compared_by_equation_1(axis, reduction, distiller, learners):
    student, teacher = outputs(depth=2)
    [loss] = distiller((1, 2), axis, TEMPERATURE, ALPHA, reduction)(student, teacher).values()
    pairs = zip(getattr(student, learners)[1:], teacher.mcts[1:], strict=True)
    blocks = [written_out(r, s, axis, reduction) for r, s in pairs]
    expected = sum(blocks) / len(blocks) * ALPHA * TEMPERATURE**2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


# The blocks 1 and 3 of five reduce the patches; place 0 is before the first block.
@pytest.mark.parametrize(
    ("position", "picked"),
    [("dense", [1, 2, 3, 4, 5]), ("sparse", [2, 4, 5]), ("final", [5]), ("patch_embed", [0])],
)
@pytest.mark.parametrize("method", ["mctkd", "kd"])
def test_the_loss_is_the_mean_over_the_tokens_of_the_position(position, picked, method):
    cfg = get_cfg()
    cfg.MVIT.DEPTH = 5
    cfg.MVIT.POOL_Q_STRIDE = [[0, 1, 1, 1], [3, 2, 1, 1], [1, 1, 2, 2]]
    cfg.DISTILL.METHOD, cfg.DISTILL.POSITION, cfg.DISTILL.AXIS = method, position, "channel"
    student, teacher = outputs(depth=5)
    [(name, loss)] = build_distiller(cfg)(student, teacher).items()
    learners = student.receivers if method == "mctkd" else student.mcts
    blocks = [written_out(learners[place], teacher.mcts[place], "channel", "mean") for place in picked]
    assert name == f"loss_{method}"
    assert loss.item() == pytest.approx((sum(blocks) / len(picked) * 90).item(), rel=1e-10)


def test_positions_of_mvitv2_s_come_from_its_strides():
    strides = get_cfg().MVIT.POOL_Q_STRIDE
    assert positions_of("sparse", strides, 16) == (2, 4, 15, 16)
    assert positions_of("dense", strides, 16) == tuple(range(1, 17))
    assert positions_of("sparse", [[15, 1, 2, 2]], 16) == (16,), "a last block that reduces is one position"


@pytest.mark.parametrize("blocks", [3, 16])
def test_the_sum_over_the_blocks_may_be_divided_by_another_number(student_cfg, blocks):
    student, teacher = outputs(student_cfg.MVIT.DEPTH)
    mean = build_distiller(student_cfg)(student, teacher)["loss_mctkd"]
    student_cfg.DISTILL.NUM_BLOCKS = blocks
    divided = build_distiller(student_cfg)(student, teacher)["loss_mctkd"]
    assert divided.item() == pytest.approx(mean.item() * 3 / blocks, rel=1e-12)
    student_cfg.DISTILL.POSITION = "final"
    ours = build_distiller(student_cfg)(student, teacher)["loss_mctkd"]
    student_cfg.DISTILL.NUM_BLOCKS = 0
    assert ours == build_distiller(student_cfg)(student, teacher)["loss_mctkd"]


@pytest.mark.parametrize("axis", AXES)
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
        loss = MCTKD([0], "token", 10.0, 0.9, "mean")(student, teacher)["loss_mctkd"]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(90 * token_kl(r, s, "token", 10.0, "mean").item(), rel=0.05)


def test_the_config_allows_what_is_there():
    assert KEYS["DISTILL.POSITION"].rule.choices == POSITIONS
    assert KEYS["DISTILL.AXIS"].rule.choices == tuple(AXES)
