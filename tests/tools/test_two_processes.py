"""tools/run_net.py in two processes on gloo, however they were started: one result, one checkpoint, one stop, and
whatever happens to one of them, the other says so, and the same command ends with the same weights."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from tests.clips import make_noise_data
from tests.run_net import run_net_here
from tests.two_processes import (
    children,
    finish,
    free_port,
    losses,
    start_agents,
    start_shards,
    start_tasks,
    start_torchrun,
    wait_for_steps,
    words,
)
from transm3e.models.weights import read_checkpoint

EPOCHS = 8
# Of a run whose steps are the same for any number of processes, but for rounding.
PLAIN = ("MVIT.DROPPATH_RATE", 0.0, "SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.BASE_LR", 0.01)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_noise_data(tmp_path_factory.mktemp("noise") / "data")


@pytest.fixture(scope="module")
def one(data, tmp_path_factory) -> Path:
    """A run of one process, of batches of 8."""
    out = tmp_path_factory.mktemp("one") / "run"
    run_net_here(*words(data, out, EPOCHS, 8), *PLAIN)
    return out


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """A run of two processes that nothing has happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    status, said = finish(start_shards(*words(data, out, EPOCHS)))
    assert status == [0, 0], said
    return out


def final_weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(out / "checkpoints" / f"checkpoint_epoch_{EPOCHS:05d}.pyth")["model_state"]


def assert_same_end(one: Path, two: Path) -> None:
    ours, theirs = final_weights(one), final_weights(two)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    progress = [read_checkpoint(next((out / "checkpoints").glob("*08.pyth")))["progress"] for out in (one, two)]
    assert progress[0] == progress[1]


def assert_close_end(one: Path, two: Path) -> None:
    # Each line of the log is the mean over the first process's clips only, so the curves are compared by epochs.
    history = [
        read_checkpoint(next((out / "checkpoints").glob("*08.pyth")))["progress"]["history"] for out in (one, two)
    ]
    assert [e["loss"] for e in history[1]] == pytest.approx([e["loss"] for e in history[0]], rel=1e-4)
    for name, tensor in final_weights(one).items():
        torch.testing.assert_close(final_weights(two)[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_two_processes_make_one_run_and_stop_together_when_one_is_preempted(data, whole, tmp_path):
    results = json.loads((whole / "results.json").read_text())
    assert {split["num_clips"] for split in results["splits"].values()} == {2}
    processes = start_shards(*words(data, tmp_path, EPOCHS))
    wait_for_steps(tmp_path, 3)
    # As a scheduler does: to one process here; the other has to learn of it.
    os.kill(processes[1].pid, signal.SIGUSR1)
    status, said = finish(processes)
    assert status == [75, 75], said
    assert list((tmp_path / "checkpoints").glob("checkpoint_epoch_*_step_*.pyth"))
    status, said = finish(start_tasks(*words(data, tmp_path, EPOCHS, 8)))
    assert status == [0, 0], said
    assert_same_end(whole, tmp_path)


def test_a_killed_process_is_named_and_torchrun_goes_on_after_another_one(data, whole, tmp_path):
    every_step = ("TRAIN.CHECKPOINT_STEPS", 1)
    processes = start_shards(*words(data, tmp_path, EPOCHS), *every_step, "DIST_TIMEOUT", 5)
    wait_for_steps(tmp_path, 2)
    processes[1].kill()
    status, said = finish(processes)
    assert status == [76, -signal.SIGKILL], said
    assert f"rank 1 (process {processes[1].pid} on " in said[0]
    assert "the same command resumes from the last checkpoint" in (tmp_path / "stdout.log").read_text()

    agent = start_torchrun(*words(data, tmp_path, EPOCHS, 8), *every_step, restarts=1)
    wait_for_steps(tmp_path, len(losses(tmp_path)) + 2)
    os.kill(children(agent.pid)[1], signal.SIGKILL)
    status, said = finish([agent])
    assert status == [0], said[0][-3000:]
    assert (tmp_path / "stdout.log").read_text().count("resuming from") == 2
    assert_same_end(whole, tmp_path)


def test_two_agents_of_torchrun_meet_again_after_a_worker_of_one_is_killed(data, whole, tmp_path):
    """Each agent counts its own restarts, so the workers cannot tell by these who belongs together."""
    out, port = tmp_path / "run", free_port()
    agents = start_agents(port, *words(data, out, EPOCHS), "TRAIN.CHECKPOINT_STEPS", 1, "DIST_TIMEOUT", 30)
    wait_for_steps(out, 2)
    os.kill(children(agents[0].pid)[0], signal.SIGKILL)
    status, said = finish(agents)
    assert status == [0, 0], said
    assert "resuming from" in (out / "stdout.log").read_text()
    assert_same_end(whole, out)


def test_a_stopped_process_is_named_and_the_log_shows_where_the_other_waits(data, tmp_path):
    processes = start_tasks(*words(data, tmp_path, EPOCHS, 8), "DIST_TIMEOUT", 3)
    wait_for_steps(tmp_path, 2)
    os.kill(processes[1].pid, signal.SIGSTOP)
    try:
        status, said = finish(processes[:1])
    finally:
        processes[1].kill()
        processes[1].communicate()
    assert status == [76], said
    log = (tmp_path / "stdout.log").read_text()
    assert f"rank 1 (process {processes[1].pid} on " in log
    assert "has not been heard of for" in log
    assert "where this process is:" in log
    assert "transm3e/engine/" in log.split("where this process is:")[1]


def test_one_process_and_two_agree_and_may_take_turns(data, one, tmp_path):
    """Batch 8 in one process, or 4 in each of two: the same loss curve; a run begun by two is finished by one."""
    turns = tmp_path / "turns"
    processes = start_shards(*words(data, turns, EPOCHS, 4), *PLAIN)
    # Steps of an epoch are 2: the middle of the third one.
    wait_for_steps(turns, 5)
    os.kill(processes[0].pid, signal.SIGTERM)
    status, said = finish(processes)
    assert status == [128 + signal.SIGTERM] * 2, said
    by_two = losses(turns)
    run_net_here(*words(data, turns, EPOCHS, 8), *PLAIN)
    assert len(by_two) >= 5
    assert_close_end(one, turns)


def test_a_killed_process_is_named_where_weights_are_in_shards_and_one_goes_on_without(data, one, tmp_path):
    sharded = (*PLAIN, "TRAIN.FSDP", True, "TRAIN.EVAL_PERIOD", 1, "TRAIN.CHECKPOINT_STEPS", 1, "DIST_TIMEOUT", 5)
    processes = start_shards(*words(data, tmp_path, EPOCHS, 4), *sharded)
    wait_for_steps(tmp_path, 5)
    processes[1].kill()
    status, said = finish(processes)
    assert status == [76, -signal.SIGKILL], said
    assert f"rank 1 (process {processes[1].pid} on " in said[0]
    run_net_here(*words(data, tmp_path, EPOCHS, 8), *PLAIN, "TRAIN.EVAL_PERIOD", 1)
    assert "resuming from" in (tmp_path / "stdout.log").read_text()
    assert_close_end(one, tmp_path)
