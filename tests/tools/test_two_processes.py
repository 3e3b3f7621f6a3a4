"""tools/run_net.py in two processes (two machines of one CPU each, on gloo): one result, one checkpoint, one stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time

import pytest
import torch

from tests.run_net import REPO, command, quiet_env
from transm3e.models.weights import read_checkpoint

QUICK = (
    *("DATA_LOADER.NUM_WORKERS", 0, "DATA.NUM_FRAMES", 2, "DATA.SAMPLING_RATE", 2, "TRAIN.BATCH_SIZE", 4),
    *("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "MVIT.EMBED_DIM", 8, "TENSORBOARD.ENABLE", False),
    *("LOG_PERIOD", 1, "TRAIN.EVAL_PERIOD", 4, "TRAIN.CHECKPOINT_PERIOD", 4, "NUM_SHARDS", 2),
)


@pytest.fixture
def start(noise_data):
    """start(out, epochs) -> the two processes."""

    def start_both(out, epochs):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        words = [
            *("--cfg", "configs/MuscleSynth/mcts_rgb.yaml", "--init_method", address, "OUTPUT_DIR", out, *QUICK),
            *("DATA.PATH_TO_DATA_DIR", noise_data, "SOLVER.MAX_EPOCH", epochs),
        ]
        return [
            subprocess.Popen(
                command(*words, "SHARD_ID", shard), cwd=REPO, env=quiet_env(), stderr=subprocess.PIPE, text=True
            )
            for shard in (0, 1)
        ]

    return start_both


def finish(processes):
    """Exit statuses and what was printed."""
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], said


def test_two_processes_make_one_run_and_stop_together_on_sigterm(start, tmp_path):
    status, said = finish(start(tmp_path / "whole", 8))
    assert status == [0, 0], said
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert {split["num_clips"] for split in results["splits"].values()} == {2}

    stopped = start(tmp_path / "stopped", 8)
    log, end = tmp_path / "stopped" / "stdout.log", time.monotonic() + 60
    while time.monotonic() < end and not (log.is_file() and "train_iter_" in log.read_text()):
        time.sleep(0.02)
    # As a scheduler does: to one process here; the other has to learn of it.
    os.kill(stopped[1].pid, signal.SIGTERM)
    status, said = finish(stopped)
    assert status == [128 + signal.SIGTERM] * 2, said
    assert list((tmp_path / "stopped" / "checkpoints").glob("checkpoint_epoch_*_step_*.pyth"))

    status, said = finish(start(tmp_path / "stopped", 8))
    assert status == [0, 0], said
    whole, resumed = (
        read_checkpoint(tmp_path / name / "checkpoints" / "checkpoint_epoch_00008.pyth")["model_state"]
        for name in ("whole", "stopped")
    )
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
