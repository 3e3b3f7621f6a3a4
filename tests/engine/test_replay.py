"""A step that was NaN is run again as it was, and the module that it began in is named."""

import pytest
import torch
from torch import nn

from tests.engine.test_train import CPU, FakeTask, trainer
from transm3e.data.geometry import Box
from transm3e.data.mixup import Mix
from transm3e.data.types import Batch
from transm3e.engine.faults import BAD_BATCH, BAD_WEIGHTS, BadStep
from transm3e.engine.precision import Precision
from transm3e.engine.replay import find_non_finite, not_finite, read_bad_state, read_bad_step
from transm3e.errors import UserError
from transm3e.models.output import ModelOutput

FLOAT32 = Precision(CPU, torch.float32)
NAN, INF = float("nan"), float("inf")


class Unstable(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.own = function, nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.function(x, self.own)


def task_with(function, place, dropout):
    task = FakeTask(dropout)
    task.model.insert(place, Unstable(function))
    return task


def bad_step(folder, function, place=3, dropout=0.0, **changes):
    """Train until it fails; returns the step as it was saved, and another task with the weights beside it."""
    with pytest.raises(UserError, match=r"is (nan|inf)"):
        trainer(folder, task_with(function, place, dropout), **changes).run()
    file = folder / BAD_BATCH.format(0)
    bad, task = read_bad_step(file), task_with(function, place, dropout)
    task.model.load_state_dict(read_bad_state(file, bad)["model_state"])
    return bad, task


def test_the_module_that_gives_nan_is_named_with_the_random_numbers_of_the_step(tmp_path):
    # 0 / 0 where dropout has left a clip none of its four pixels.
    bad, task = bad_step(tmp_path, lambda x, _: x / x.abs().amax(1, keepdim=True), place=2, dropout=0.6, accum_steps=3)
    for noise in range(3):
        torch.rand(noise)
        batch, (where, line, losses) = find_non_finite(bad, task, FLOAT32)
        assert where == f"batch {bad.batches.index(batch) + 1} of 3 in the step, {', '.join(batch.paths)}"
        assert "first output that is not finite: model.2 (Unstable), 4 NaN and 0 infinite of 8 values; " in line
        assert line.endswith("what it reads is finite")
        assert "loss nan" in losses


def test_weights_that_were_nan_before_are_told(tmp_path):
    bad, task = bad_step(tmp_path, lambda x, _: x * NAN)
    task.model[2].bias.data[3] = NAN
    _, (first, _, second, _) = find_non_finite(bad, task, FLOAT32)
    assert first == "not finite before the step: the weights 2.bias (1 in all)"
    assert "model.2 (Linear), 2 NaN and 0 infinite of 40 values" in second


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        # The root's slope at 0 is infinite; times 0 it is NaN.
        (
            lambda x, _: x + (x * 0).sqrt(),
            ("the backward pass not: Function 'MulBackward0' returned nan", "test_replay.py:"),
        ),
        (lambda x, own: x + (own - own.detach()).sqrt(), ("infinite gradients (loss ", "the first of 3.own")),
    ],
)
def test_a_backward_pass_is_named_by_its_line_or_its_first_weight(tmp_path, function, parts):
    _, (_, line) = find_non_finite(*bad_step(tmp_path, function), FLOAT32)
    assert all(part in line for part in parts), line


def test_a_step_that_is_finite_here_says_why_that_may_be(tmp_path):
    bad, _ = bad_step(tmp_path, lambda x, _: x * NAN)
    _, (line,) = find_non_finite(bad, FakeTask(), FLOAT32)
    assert line.startswith("all values are finite here: the cause may be the batch of another process")


def test_what_is_not_finite_is_counted_in_whatever_a_module_gives():
    output = ModelOutput(torch.tensor([1.0, NAN]), mcts=[torch.tensor([INF, -INF])])
    assert not_finite(({"a": [output]}, torch.ones(2, dtype=torch.uint8), None)) == "1 NaN and 2 infinite of 4 values"
    assert not_finite(ModelOutput(torch.ones(3))) == ""


def test_a_batch_comes_back_with_how_it_is_mixed(tmp_path):
    clips = {"rgb": torch.arange(8, dtype=torch.uint8).view(2, 1, 1, 2, 2)}
    mix = Mix(0.25, Box(0, 1, 2, 1), 0.1)
    batch = Batch(clips, torch.ones(2, 20), torch.tensor([3, 4]), torch.zeros(2).long(), ["a", "b"], [], 1, mix)
    torch.save(BadStep("loss", NAN, 1, 2, 3, 4, 5, [batch]).as_plain(), tmp_path / "bad.pt")
    bad = read_bad_step(tmp_path / "bad.pt")
    assert (bad.epoch, bad.step, bad.seed, bad.rank, bad.accum_steps, bad.where) == (1, 2, 3, 4, 5, "epoch 2, step 3")
    assert torch.equal(bad.batches[0].clips["rgb"], clips["rgb"])
    assert (bad.batches[0].mix, bad.batches[0].paths) == (mix, ["a", "b"])


def test_files_of_two_failures_are_not_mixed(tmp_path):
    bad, _ = bad_step(tmp_path, lambda x, _: x * NAN)
    state = torch.load(tmp_path / BAD_WEIGHTS, weights_only=True)
    torch.save({**state, "bad_step": [bad.epoch, bad.step + 1]}, tmp_path / BAD_WEIGHTS)
    with pytest.raises(UserError, match=r"bad_weights\.pyth is of another step than .*bad_batch_rank_0\.pt"):
        read_bad_state(tmp_path / BAD_BATCH.format(0), bad)
    with pytest.raises(UserError, match="not a batch that a training saved"):
        read_bad_step(tmp_path / BAD_WEIGHTS)
    with pytest.raises(UserError, match=r"no file .*; a run whose loss is NaN writes"):
        read_bad_step(tmp_path / "absent.pt")
