"""FSDP2 in two processes on gloo: the same training as DDP, the same checkpoints, and an evaluation that meets nobody."""

from __future__ import annotations

import importlib
import logging
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.engine.test_train import FakeTask, trainer
from transm3e.config import get_cfg
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.engine.processes import distributed, parallel, sharding
from transm3e.engine.processes import launch as launching
from transm3e.engine.processes.launch import launch
from transm3e.errors import UserError
from transm3e.models.weights import read_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def jobs():
    """What the two processes run."""
    if not hasattr(torch.cpu.Stream, "record_event"):
        pytest.skip("this torch shards on GPUs only, or not at all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launching, "select_device", launching.select_device)
        yield importlib.import_module("tests.engine.processes.sharding_jobs")


@pytest.fixture(scope="module")
def done(jobs, tmp_path_factory):
    """The folder of all that the two processes have done."""
    folder = tmp_path_factory.mktemp("sharding")
    cfg = get_cfg()
    cfg.NUM_GPUS = 2
    launch(jobs.trainings, cfg, "", str(folder))
    return folder


@pytest.fixture(scope="module")
def parts(done):
    return [torch.load(done / f"parts_{number}.pt", weights_only=True) for number in (0, 1)]


def last(folder):
    return read_checkpoint(folder / "checkpoints" / "checkpoint_epoch_00002.pyth")


def last_epoch(folder):
    return read_checkpoint(CheckpointStore(folder, 0).newest())["progress"]["epoch"]


def assert_close(ours, theirs, where=""):
    """The same structure, order and shapes, and numbers that differ by rounding."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert type(ours) is torch.Tensor
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=lambda text: f"{where}: {text}")
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        for key, value in ours.items():
            assert_close(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_close(one, other, f"{where}.{number}")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-5), where
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("name", ["", "recomputed"])
def test_a_run_in_shards_is_the_run_in_ddp(jobs, done, name):
    """Loss and validation curve, weights, optimiser: with accumulated, clipped gradients, uneven evaluation, drop path."""
    ddp, fsdp = last(done / f"ddp{name}"), last(done / f"fsdp{name}")
    history = fsdp["progress"]["history"]
    assert [set(entry) for entry in history] == [{"epoch", "loss", "lr", "grad_norm", "failed_clips", "known_val"}] * 2
    assert history[0]["loss"] != history[1]["loss"]
    assert_close(fsdp, ddp)
    norms = [torch.load(done / f"{kind}{name}" / f"norms_{rank}.pt") for kind in ("ddp", "fsdp") for rank in (0, 1)]
    assert len(norms[0]) == jobs.EPOCHS
    for other in norms[1:]:
        assert_close(other, norms[0])


@pytest.mark.parametrize("name", ["fsdp_ddp", "ddp_fsdp"])
def test_a_run_goes_on_without_shards_and_the_other_way_round(done, name):
    assert_close(last(done / name), last(done / "ddp"))


def test_two_processes_begin_in_shards_and_one_goes_on(jobs, done, tmp_path):
    # Two batches of 2 in each of two processes are four in one.
    one = (*jobs.ALIKE, "TRAIN.ACCUM_STEPS", 4)
    assert last_epoch(done / "fsdp_one") == 1
    jobs.train(done / "fsdp_one", *one)
    jobs.train(tmp_path, *one)
    assert last_epoch(tmp_path) == 2
    assert_close(last(done / "fsdp_one"), last(tmp_path))


def test_an_average_is_in_place_where_no_backward_pass_follows(parts):
    for part in parts:
        before, meanwhile, after = part["average"]
        assert before == after != meanwhile


def test_each_process_keeps_its_part(parts):
    for kind in ("weights", "moments"):
        kept, total = zip(*(part["memory"][kind] for part in parts), strict=True)
        assert sum(kept) == total[0]
        assert max(kept) < 0.6 * total[0]


def test_a_model_without_blocks_is_one_unit_and_starts_from_the_first_processs_weights(jobs, parts):
    first, second = (part["unit"] for part in parts)
    assert first["model"] == second["model"] == "FSDPNormed"
    assert not torch.equal(first["start"]["head.weight"], second["start"]["head.weight"])
    model = jobs.Normed()
    model.load_state_dict(first["start"])
    assert first["seen"]["all-reduced before part 1"] == [False] * 4
    # Sums over parts, means over processes.
    sum(model(first["inputs"][part, rank]).logits.square().sum() / 2 for part in (0, 1) for rank in (0, 1)).backward()
    for unit in (first, second):
        assert_close(unit["gradients"], {name: p.grad for name, p in model.named_parameters()})


def test_evaluation_sees_plain_weights_and_the_first_processs_batch_norms(jobs, parts):
    first, second = (part["unit"] for part in parts)
    assert first["seen"]["types"] == second["seen"]["types"] == {"Parameter"}
    assert_close(second["seen"]["state"], first["seen"]["state"])
    alone = jobs.Normed()
    alone.load_state_dict(first["start"])
    for part in (0, 1):
        alone(first["inputs"][part, 0])
    assert_close(first["seen"]["state"], dict(alone.state_dict()))


def test_a_student_in_shards_learns_the_same_from_a_teacher_that_is_whole(parts):
    for part in parts:
        ddp, fsdp = part["distilled"]["ddp"], part["distilled"]["fsdp"]
        assert len(ddp["losses"]) == 3
        assert set(fsdp["teacher"]) == {("Parameter", None)}
        assert_close(fsdp, ddp)


def test_all_skip_a_step_of_which_one_process_has_an_infinite_gradient(parts):
    start, skipped, moved = parts[0]["scaler"]
    assert parts[1]["scaler"] == parts[0]["scaler"]
    assert (skipped[:2], skipped[2]) == ((start[0], start[1] / 2), float("inf"))
    assert moved[0] != start[0]
    assert moved[1] == start[1] / 2


def test_one_process_is_warned_that_sharding_has_no_effect(jobs, caplog):
    task = jobs.Task(nn.Linear(1, 1))
    model = task.model
    with caplog.at_level(logging.WARNING):
        assert sharding.shard(task, CPU, dict) is dict
    assert caplog.messages == ["TRAIN.FSDP has no effect with one process"]
    assert task.model is task.replica is model
    assert not sharding.is_sharded(model)


def test_a_torch_without_it_is_named_with_the_remedy():
    with pytest.raises(UserError, match=r"needs fully_shard of torch\.nowhere, .* install torch 2\.6 or newer, or set"):
        sharding._feature("fully_shard", "torch.nowhere")


def test_plain_states_stay_as_they_are():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert sharding.shard_state(state, optimizer) is state
    assert_close(sharding.whole_state(state), state)
    assert sharding.whole_state(state)["state"][0]["exp_avg"] is state["state"][0]["exp_avg"]


class Spy:
    """A watch that remembers what is waited for now."""

    where, now = "somewhere", ""

    @contextmanager
    def waiting(self, what):
        before, self.now = self.now, what
        yield
        self.now = before

    def note(self, where):
        self.where = where


@pytest.mark.parametrize("how", ["in shards", "in DDP", "alone"])
def test_a_process_that_does_not_arrive_is_named_in_a_forward_pass_that_communicates(how, tmp_path, monkeypatch):
    """Shards are gathered; DDP's second one compares its buckets: a process killed just then was not named."""
    spy, met = Spy(), []

    class Task(FakeTask):
        def __call__(self, batch):
            met.append(spy.now)
            return super().__call__(batch)

    task = Task()
    if how == "in shards":
        task.replica.set_requires_gradient_sync = lambda _last: None
    if how == "in DDP":
        monkeypatch.setattr(parallel, "DistributedDataParallel", type(task.replica))
        task.replica.module = SimpleNamespace(buffers=list)
    monkeypatch.setattr(distributed._State, "watch", spy)
    trainer(tmp_path, task, max_epoch=1).run()
    assert met[:2] == (
        ["", ""] if how == "alone" else ["a forward pass, epoch 1, step 1", "a forward pass, epoch 1, step 2"]
    )


def test_a_torch_that_shards_on_gpus_only_is_refused_on_cpus(monkeypatch):
    monkeypatch.setattr(sharding, "_feature", lambda *_: None)
    monkeypatch.setattr(torch.cpu, "Stream", object)
    with pytest.raises(UserError, match=r"^TRAIN\.FSDP without a GPU does not work with torch .*; install torch 2\.10"):
        sharding.shard_model(nn.Linear(1, 1), CPU)
