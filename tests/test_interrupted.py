"""A training that is killed or interrupted goes on and ends with the same weights to the last bit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.faults.kills import differing, kill_during_training, short_run, start, wait_for_step
from tests.run_net import run_net

EPOCHS = 5  # of 9 steps


@pytest.fixture(scope="module")
def uninterrupted(few_clips, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    run_net(*short_run(few_clips, out, epochs=EPOCHS))
    return out


def test_killed_at_random_moments_and_restarted_ends_with_the_same_weights(few_clips, uninterrupted, tmp_path):
    """A short form of tests/faults/kills.py."""
    out, rng = tmp_path / "run", random.Random(1)
    for _ in range(2):
        kill_during_training(short_run(few_clips, out, epochs=EPOCHS), out, rng, spread=0.2)
    assert not (out / "results.json").exists()
    run_net(*short_run(few_clips, out, epochs=EPOCHS))
    assert differing(uninterrupted, out) == []
    assert not [path for path in (out / "checkpoints").iterdir() if path.name.startswith(".")]


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(few_clips, uninterrupted, tmp_path):
    out = tmp_path / "run"
    [process] = start(short_run(few_clips, out, epochs=EPOCHS), out)
    wait_for_step(process, out)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    assert list((out / "checkpoints").glob("checkpoint_epoch_*_step_*.pyth"))
    done = run_net(*short_run(few_clips, out, epochs=EPOCHS))
    assert "going on from" in done.stderr
    assert differing(uninterrupted, out) == []
