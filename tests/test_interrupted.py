"""A training that is killed or interrupted resumes and ends with the same weights to the last bit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.clips import make_learnable_data
from tests.faults.kills import differing, kill_during_training, short_run, start, wait_for_step
from tests.run_net import run_net_here

EPOCHS = 4  # of 6 steps


def words(data, out, *more):
    return short_run(data, out, EPOCHS, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, *more)


def run_to_the_end(data, out):
    """In this process, with videos read here; those that are killed have a process that reads."""
    return run_net_here(*words(data, out, "DATA_LOADER.NUM_WORKERS", 0))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_learnable_data(tmp_path_factory.mktemp("data"), per_split=16)


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    run_to_the_end(data, out)
    return out


def test_killed_at_random_moments_and_restarted_ends_with_the_same_weights(data, uninterrupted, tmp_path):
    """A short form of tests/faults/kills.py."""
    out, rng = tmp_path / "run", random.Random(1)
    for _ in range(2):
        kill_during_training(words(data, out), out, rng, spread=0.1)
    assert not (out / "results.json").exists()
    run_to_the_end(data, out)
    assert differing(uninterrupted, out) == []
    assert not [path for path in (out / "checkpoints").iterdir() if path.name.startswith(".")]


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(data, uninterrupted, tmp_path):
    out = tmp_path / "run"
    [process] = start(words(data, out), out)
    wait_for_step(process, out)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    assert list((out / "checkpoints").glob("checkpoint_epoch_*_step_*.pyth"))
    done = run_to_the_end(data, out)
    assert "resuming from" in done.stderr
    assert differing(uninterrupted, out) == []
