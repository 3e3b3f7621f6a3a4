"""Joining model, weights and teacher: what is looked up, refused and warned of before anything runs."""

from __future__ import annotations

import logging

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.config.check import check_cfg
from transm3e.config.node import set_key
from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.tasks import build_task, build_trained_task

CPU = torch.device("cpu")


def save(cfg, path):
    torch.save({"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump()}, path)
    return str(path)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("MODEL.MODEL_NAME", "TransM3E"),
        ("MODEL.LOSS_FUNC", "bce_softmax"),
        ("DISTILL.METHOD", "mctkd"),
        ("TRANSM3E.FUSION", "bottleneck"),
        ("TWO_BRANCH.FUSION", "late_sum"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_when_a_config_is_checked(key, near):
    cfg = get_cfg()
    set_key(cfg, key, f"{near}x", "test")
    with pytest.raises(UserError, match=rf"^{key} is '{near}x', which does not exist; did you mean {near}\? allowed: "):
        check_cfg(cfg)


def test_scoring_weights_under_other_settings_is_named(tiny_cfg, tmp_path, caplog):
    path = save(tiny_cfg, tmp_path / "a.pyth")
    with caplog.at_level(logging.WARNING):
        build_trained_task(tiny_cfg, path, CPU)
        assert caplog.text == ""
        tiny_cfg.DATA.MEAN, tiny_cfg.DATA.SAMPLING_RATE = [0.0, 0.0, 0.0], 5
        build_trained_task(tiny_cfg, path, CPU)
    assert "DATA.MEAN [0.45, 0.45, 0.45] there, [0.0, 0.0, 0.0] here" in caplog.text
    assert "DATA.SAMPLING_RATE 2 there, 5 here" in caplog.text


def test_a_student_starts_without_fusion_or_with_all_of_it(student_cfg, tmp_path):
    student_cfg.TASK = "classify"
    stage_1 = student_cfg.clone()
    stage_1.TRANSM3E.RECEIVERS, stage_1.TRANSM3E.FUSION = False, "mean"
    student_cfg.INIT.STUDENT_FROM = save(stage_1, tmp_path / "stage_1.pyth")
    build_task(student_cfg, CPU)
    without_bias = student_cfg.clone()
    without_bias.MCTF.QKV_BIAS = False
    student_cfg.INIT.STUDENT_FROM = save(without_bias, tmp_path / "stage_2.pyth")
    with pytest.raises(UserError, match=r"holds only some of fusion\.: not fusion\.inputs"):
        build_task(student_cfg, CPU)


def test_the_log_tells_student_and_teacher_apart(student_cfg, tmp_path, caplog):
    teacher = student_cfg.clone()
    teacher.TASK, teacher.DATA.MODALITY = "classify", "rgb_diff"
    teacher.TRANSM3E.RECEIVERS, teacher.TRANSM3E.FUSION = False, "mean"
    student_cfg.INIT.TEACHER_FROM = save(teacher, tmp_path / "teacher.pyth")
    with caplog.at_level(logging.INFO):
        task = build_task(student_cfg, CPU)
    student, frozen = (sum(p.numel() for p in module.parameters()) for module in (task.model, task.teacher))
    assert student > frozen
    assert f"TransM3E with {student} trainable parameters, its frozen teacher {frozen}" in caplog.text
