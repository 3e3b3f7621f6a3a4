"""What is timed is what training and inference do."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from transm3e.benchmark.candidate import build_candidate, build_entries
from transm3e.benchmark.step import backward_call, forward_call, training_call
from transm3e.config import load_cfg
from transm3e.engine.precision import Precision
from transm3e.engine.settings import TrainSettings
from transm3e.engine.train import Trainer

CPU = torch.device("cpu")
FLOAT32 = Precision(CPU, torch.float32)


@pytest.fixture
def student(student_file):
    (entry,), _ = build_entries([str(student_file)], None, [])
    return build_candidate(entry, CPU)


def weights(model):
    return deepcopy(model.state_dict())


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_forward_runs_the_student_alone(student, monkeypatch):
    def teach(clips):
        raise AssertionError("the teacher runs in inference")

    monkeypatch.setattr(student.task.teacher, "forward", teach)
    before = weights(student.task.model)
    forward_call(student, student.batch(1, CPU), FLOAT32)()
    assert equal(before, student.task.model.state_dict())
    assert all(p.grad is None for p in student.task.model.parameters())
    assert not student.task.model.training


def test_backward_leaves_gradients_and_weights(student):
    before = weights(student.task.model)
    backward_call(student, student.batch(2, CPU), FLOAT32)()
    assert equal(before, student.task.model.state_dict())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.task.model.parameters())
    assert all(p.grad is None for p in student.task.teacher.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_moves_the_student_only(student, dtype):
    before, teacher = weights(student.task.model), weights(student.task.teacher)
    training_call(student, student.batch(2, CPU), Precision(CPU, dtype))()
    assert not equal(before, student.task.model.state_dict())
    assert equal(teacher, student.task.teacher.state_dict())
    assert all(p.grad is None for p in student.task.model.parameters())


def test_two_steps_are_the_training_loops(student_file, tmp_path):
    opts = ["SOLVER.LR_POLICY", "constant", "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0"]
    (entry,), _ = build_entries([str(student_file)], None, opts)
    timed, trained = (build_candidate(entry, CPU) for _ in range(2))
    step = training_call(timed, timed.batch(4, CPU), FLOAT32)
    step()
    step()

    class TwoBatches:
        batch_size = 4

        def __len__(self):
            return 2

        def epoch(self, number, start_step=0):
            return iter([trained.batch(4, CPU)] * 2)

    settings = TrainSettings.from_cfg(load_cfg(student_file, [*opts, "OUTPUT_DIR", str(tmp_path)]))
    settings = replace(settings, max_epoch=1, accum_steps=1, clip_norm=trained.clip_norm, eval_period=0, resume=False)
    Trainer(trained.task, TwoBatches(), dict, trained.optimizer, FLOAT32, settings, origin={}).run()
    assert equal(timed.task.model.state_dict(), trained.task.model.state_dict())
