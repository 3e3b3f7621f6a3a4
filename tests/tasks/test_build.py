"""Joining model, weights and teacher: what is looked up, refused and warned of before anything runs."""

from __future__ import annotations

import logging

import pytest
import torch

from transm3e.errors import UserError
from transm3e.models import build_model
from transm3e.tasks import build_task, build_trained_task, check_names, check_parts

CPU = torch.device("cpu")


def save(cfg, path):
    torch.save({"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump()}, path)
    return str(path)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("MODEL.MODEL_NAME", "MODEL.MODEL_NAME is 'foo'"),
        ("MODEL.LOSS_FUNC", "MODEL.LOSS_FUNC is 'foo'"),
        ("DISTILL.METHOD", "DISTILL.METHOD is 'foo'"),
    ],
)
def test_misspelt_names_are_refused_before_any_run(tiny_cfg, noise_data, key, message):
    check_names(tiny_cfg)  # without data, too: --print-config needs none
    tiny_cfg.DATA.PATH_TO_DATA_DIR = str(noise_data)
    check_parts(tiny_cfg)
    wrong = tiny_cfg.clone()
    group, name = key.split(".")
    wrong[group][name] = "foo"
    with pytest.raises(UserError, match=message):
        check_parts(tiny_cfg, wrong)


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
