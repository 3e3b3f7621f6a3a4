"""On a GPU: training is preempted and resumed on NCCL, models compute what CPUs do, the doctor's trials; skipped without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.clips import make_noise_data
from tests.run_net import command
from tests.two_processes import children, finish, start, wait_for_steps, words
from transm3e.doctor.trying import try_all
from transm3e.models.weights import read_checkpoint

EPOCHS = 8


def start_on_gpu(data, out, *options):
    """torchrun with one worker."""
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    on_gpu = ("NUM_GPUS", 1, "TRAIN.MIXED_PRECISION", True)
    return start([*agent, *command(*words(data, out, EPOCHS), *on_gpu, *options)[1:]])


pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


def test_nccl_mixed_precision_and_resume(tmp_path):
    data = make_noise_data(tmp_path / "data")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    status, said = finish([start_on_gpu(data, whole)])
    assert status == [0], said
    agent = start_on_gpu(data, cut)
    wait_for_steps(cut, 3)
    os.kill(children(agent.pid)[0], signal.SIGUSR1)
    status, said = finish([agent])
    assert "exitcode  : 75" in said[0], said
    assert list((cut / "checkpoints").glob("checkpoint_epoch_*_step_*.pyth"))
    status, said = finish([start_on_gpu(data, cut)])
    assert status == [0], said
    ours, theirs = (
        read_checkpoint(next((out / "checkpoints").glob(f"*{EPOCHS:02d}.pyth")))["progress"]["history"]
        for out in (cut, whole)
    )
    # Sums on a GPU are not done in one order: a little noise, and training makes more of it.
    assert [epoch["loss"] for epoch in ours] == pytest.approx([epoch["loss"] for epoch in theirs], rel=0.02)


@pytest.mark.parametrize("part", ["models against the CPU", "parity with torchvision", "measured against counted"])
def test_gpu_check(repo, part):
    command = [str(repo / "tools" / "gpu_check.sh"), "--parts", part]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable}, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_doctor_tries_on_gpus():
    done = [trial for trial in try_all() if "cuda" in trial.name or "nccl" in trial.name]
    assert len(done) >= 4
    assert {trial.name: trial.error for trial in done if trial.failed} == {}
