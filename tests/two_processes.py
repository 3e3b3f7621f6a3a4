"""Starts tools/run_net.py as two processes on the CPU: PySlowFast's shards, srun's tasks, or torchrun's workers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.run_net import REPO, command, quiet_env

QUICK = (
    *("--cfg", "configs/MuscleSynth/mcts_rgb.yaml", "NUM_GPUS", 0, "DATA_LOADER.NUM_WORKERS", 0, "LOG_PERIOD", 1),
    *("DATA.NUM_FRAMES", 2, "DATA.SAMPLING_RATE", 2, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32),
    *("MVIT.EMBED_DIM", 8, "TENSORBOARD.ENABLE", False, "TRAIN.EVAL_PERIOD", 4, "TRAIN.CHECKPOINT_PERIOD", 4),
)
LAUNCHERS = ("SLURM_", "MASTER_", "TORCHELASTIC_", "RANK", "WORLD_SIZE", "LOCAL_")


def words(data: Path, out: Path, epochs: int, batch_size: int = 4) -> list[object]:
    """A run on `data` (noise_data: 4 steps of 4 clips per epoch); the batch size is per host."""
    sizes = ("SOLVER.MAX_EPOCH", epochs, "TRAIN.BATCH_SIZE", batch_size)
    return [*QUICK, "DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", out, *sizes]


def start(line: Sequence[str], env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A process that no launcher's variables reach but those in `env`; what it prints is kept."""
    plain = {key: value for key, value in quiet_env().items() if not key.startswith(LAUNCHERS)}
    return subprocess.Popen(
        line, cwd=REPO, env=plain | (env or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def start_shards(*options: object) -> list[subprocess.Popen[str]]:
    """Two hosts with --num_shards, --shard_id and --init_method."""
    address = ("--init_method", f"tcp://127.0.0.1:{free_port()}", "--num_shards", 2)
    return [start(command(*address, "--shard_id", shard, *options)) for shard in (0, 1)]


def start_tasks(*options: object) -> list[subprocess.Popen[str]]:
    """Two tasks on one node, with what srun sets."""
    job = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_ID": str(os.getpid()),
    }
    return [start(command(*options), job | {"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)}) for n in (0, 1)]


def start_torchrun(*options: object, restarts: int = 0) -> subprocess.Popen[str]:
    """Two processes on one host."""
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    flags = ["--nproc_per_node", "2", "--max_restarts", str(restarts)]
    return start([*agent, *flags, *command(*options)[1:]])


def start_agents(port: int, *options: object, restarts: int = 2) -> list[subprocess.Popen[str]]:
    """torchrun as on two hosts, one process each."""
    flags = ["--nnodes", "2", "--nproc_per_node", "1", "--max_restarts", str(restarts), "--rdzv_id", "two"]
    meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}"]
    return [
        start(
            [
                *(sys.executable, "-m", "torch.distributed.run", *flags, *meeting, "--rdzv_conf", f"is_host={number}"),
                *command(*options)[1:],
            ]
        )
        for number in (1, 0)
    ]


def finish(processes: Sequence[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """Exit statuses and what was printed."""
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], said


def wait_for_steps(out: Path, steps: int) -> None:
    """Until a run's log knows of so many training steps."""
    end = time.monotonic() + 90
    while time.monotonic() < end and len(losses(out)) < steps:
        time.sleep(0.02)
    assert len(losses(out)) >= steps, "the run has not got so far"


def losses(out: Path) -> list[float]:
    """The loss of each training step in a run's log."""
    log = out / "stdout.log"
    lines = log.read_text().splitlines() if log.is_file() else []
    stats = [
        json.loads(line.split("json_stats: ")[1]) for line in lines if "train_iter_" in line and line.endswith("}")
    ]
    return [entry["loss"] for entry in stats]


def children(process: int) -> list[int]:
    """Process numbers of a process's children."""
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
