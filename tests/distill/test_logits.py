"""Distillation of logits against Hinton's and DeiT's formulas written out in float64."""

from __future__ import annotations

import math

import pytest
import torch

from transm3e.distill import build_distiller
from transm3e.distill.logits import DeiTKD, LogitsKD
from transm3e.models.output import ModelOutput


def softened(logits, temperature):
    powers = [math.exp(z / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def written_out(student, teacher, temperature):
    """Mean over the clips of temperature^2 * sum_i p_i log(p_i / q_i), p the teacher's."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        pairs = zip(softened(t, temperature), softened(s, temperature), strict=True)
        total += sum(p * math.log(p / q) for p, q in pairs) * temperature**2
    return total / len(student)


def logits_of(*number):
    torch.manual_seed(0)
    return torch.randn(*number, 3, 20, dtype=torch.float64) * 4


@pytest.mark.parametrize("temperature", [1.0, 3.0, 20.0])
def test_logits_learn_by_hintons_formula(student_cfg, temperature):
    student, teacher = logits_of(2)
    distill = student_cfg.DISTILL
    distill.METHOD, distill.TEMPERATURE, distill.ALPHA, distill.REDUCTION = "logits", temperature, 1.0, "batchmean"
    loss = build_distiller(student_cfg)(ModelOutput(student), ModelOutput(teacher))["loss_logits"]
    assert loss.item() == pytest.approx(written_out(student, teacher, temperature), rel=1e-10)
    mean = LogitsKD(temperature, 0.5, "mean")(ModelOutput(student), ModelOutput(teacher))["loss_logits"]
    assert mean.item() == pytest.approx(loss.item() / 40, rel=1e-12)


def test_gradients_at_a_high_temperature_are_differences_of_logits():
    """Hinton's equation 4: with centred logits, temperature^2 makes the gradient (z - v) / N."""
    student, teacher = (x - x.mean(dim=1, keepdim=True) for x in logits_of(2))
    student.requires_grad_()
    LogitsKD(1e4, 1.0, "batchmean")(ModelOutput(student), ModelOutput(teacher))["loss_logits"].backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 20 / 3, rtol=1e-2, atol=1e-4)


def test_the_distillation_head_alone_learns_from_the_teacher():
    fused, by_class, by_distill, teacher = logits_of(4)
    for x in (fused, by_class, by_distill):
        x.requires_grad_()
    student = ModelOutput(fused, class_logits=by_class, distill_logits=by_distill)
    loss = DeiTKD(3.0, 1.0, "batchmean")(student, ModelOutput(teacher))["loss_deit"]
    assert loss.item() == pytest.approx(written_out(by_distill.detach(), teacher, 3.0), rel=1e-10)
    loss.backward()
    assert fused.grad is by_class.grad is None
    assert by_distill.grad.abs().min() > 0
    assert torch.equal(student.labelled_logits, by_class)
    assert torch.equal(ModelOutput(fused).labelled_logits, fused)


def test_half_precision_logits_are_compared_in_float32():
    student, teacher = logits_of(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = LogitsKD(3.0, 1.0, "batchmean")(ModelOutput(student.bfloat16()), ModelOutput(teacher.bfloat16()))
    assert loss["loss_logits"].dtype == torch.float32
    assert loss["loss_logits"].item() == pytest.approx(written_out(student, teacher, 3.0), rel=0.05)
