"""Kill a training with SIGKILL at random moments, restart it each time, and compare its weights at the end.

    python -m tests.kill_trial [--kills 20] [--epochs 10] [--seed 0]

Makes MuscleSynth tiny in a temporary folder, trains it once without interruption and once with, prints each kill and
ends with status 0 if the weights are identical to the last bit, else 1. `make test` runs a short form of it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.run_net import SMALL, run_net, start
from transm3e.data.musclesynth.generate import generate
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.models.weights import read_checkpoint


def short_run(data: Path, out: Path, epochs: int) -> list[object]:
    """The words of a training of so many epochs of 40 steps with a checkpoint every 3 steps."""
    return [
        *("--cfg", "configs/MuscleSynth/mcts_rgb.yaml", "DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", out, *SMALL),
        *("SOLVER.MAX_EPOCH", epochs, "TRAIN.BATCH_SIZE", 8, "TRAIN.CHECKPOINT_STEPS", 3, "TRAIN.EVAL_PERIOD", 2),
        *("LOG_PERIOD", 1, "TENSORBOARD.ENABLE", False),
    ]


def weights(out: Path) -> dict[str, torch.Tensor]:
    """What a finished run has learnt."""
    newest = CheckpointStore(out, keep=1).newest()
    assert newest, f"no checkpoint in {out}"
    return read_checkpoint(newest)["model_state"]


def differing(one: Path, two: Path) -> list[str]:
    """Names of the tensors in which two finished runs differ."""
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def steps_logged(out: Path) -> int:
    """Training steps that the run's log knows of, repeated ones counted."""
    log = out / "stdout.log"
    return log.read_text(errors="replace").count("train_iter_") if log.is_file() else 0


def wait_for_step(process: subprocess.Popen, out: Path, seconds: float = 120) -> None:
    """Until a started run has done one more step, or has ended."""
    before, end = steps_logged(out), time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and steps_logged(out) == before:
        time.sleep(0.01)


def kill_during_training(words: list[object], out: Path, rng: random.Random, spread: float = 0.5) -> int:
    """Start a run and kill it up to `spread` seconds after a step; returns the steps logged so far."""
    process = start(*words)
    if rng.random() < 0.2:
        # Now and then before the first step: while it starts, loads data or reads a checkpoint.
        time.sleep(rng.uniform(0, 5))
    else:
        wait_for_step(process, out)
    time.sleep(rng.uniform(0, spread))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return steps_logged(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as place:
        data, whole, killed = (Path(place) / name for name in ("data", "whole", "killed"))
        generate(data, "tiny", progress=False)
        run_net(*short_run(data, whole, args.epochs))
        for kill in range(args.kills):
            steps = kill_during_training(short_run(data, killed, args.epochs), killed, rng)
            if (killed / "results.json").is_file():
                print(f"the run ended before kill {kill + 1}; raise --epochs")
                return 1
            print(f"kill {kill + 1}: {steps} steps logged", flush=True)
        run_net(*short_run(data, killed, args.epochs))
        wrong = differing(whole, killed)
        print(f"{len(wrong)} of {len(weights(whole))} tensors differ after {args.kills} kills")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
