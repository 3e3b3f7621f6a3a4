"""Kill a training with SIGKILL at random moments, restart it each time, and compare its weights at the end.

    python -m tests.faults.kills [--kills 20] [--processes 1] [--epochs 10] [--seed 0]

Makes MuscleSynth tiny in a temporary folder, trains it once without interruption and once with, prints each kill and
ends with status 0 if the weights are identical to the last bit, else 1. Of two processes one is killed, or both; the
other one has to end by itself and to name it. `make test` runs a short form.
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
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.run_net import REPO, SMALL, command, quiet_env
from tests.two_processes import free_port
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.models.weights import read_checkpoint
from transm3e.prepare.musclesynth.generate import generate

BATCH_SIZE = 8  # of all processes together
END_S = 90.0  # within which a process ends when another one is gone
SILENT_S = 6.0  # DIST_TIMEOUT


def short_run(data: Path, out: Path, epochs: int, *more: object) -> list[object]:
    """The words of a training of so many epochs, 40 steps each on MuscleSynth tiny, with a checkpoint every 3 steps."""
    return [
        *("--cfg", "configs/MuscleSynth/mcts_rgb.yaml", "DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", out, *SMALL),
        *("SOLVER.MAX_EPOCH", epochs, "TRAIN.BATCH_SIZE", BATCH_SIZE, "TRAIN.CHECKPOINT_STEPS", 3),
        *("TRAIN.EVAL_PERIOD", 2, "LOG_PERIOD", 1, "TENSORBOARD.ENABLE", False, *more),
    ]


def start(words: Sequence[object], out: Path, processes: int = 1) -> list[subprocess.Popen[bytes]]:
    """Start a run, each process in a group of its own, to be killed; what they print goes to files beside `out`."""
    if processes == 1:
        lines = [command(*words)]
    else:
        together = ("--num_shards", processes, "--init_method", f"tcp://127.0.0.1:{free_port()}")
        size = ("TRAIN.BATCH_SIZE", BATCH_SIZE // processes, "DIST_TIMEOUT", SILENT_S)
        lines = [command(*together, "--shard_id", n, *words, *size) for n in range(processes)]
    started = []
    for number, line in enumerate(lines):
        with printed(out, number).open("wb") as said:
            started.append(
                subprocess.Popen(
                    line,
                    cwd=REPO,
                    stdout=said,
                    stderr=said,
                    stdin=subprocess.DEVNULL,
                    env=quiet_env(),
                    start_new_session=True,
                )
            )
    return started


def printed(out: Path, number: int) -> Path:
    """What process `number` of the run in `out` last printed."""
    return out.with_name(f"{out.name}.{number}.txt")


def finish(words: Sequence[object], out: Path, processes: int = 1) -> None:
    """Run to the end."""
    for number, process in enumerate(start(words, out, processes)):
        assert process.wait() == 0, printed(out, number).read_text()


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


def wait_for_step(process: subprocess.Popen[bytes], out: Path, seconds: float = 120) -> None:
    """Until a started run has done one more step, or has ended."""
    before, end = steps_logged(out), time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and steps_logged(out) == before:
        time.sleep(0.01)


def kill_during_training(
    words: Sequence[object], out: Path, rng: random.Random, spread: float = 0.5, processes: int = 1
) -> str:
    """Start a run and kill some of its processes up to `spread` seconds after a step; returns what happened.

    The others have to end by themselves within END_S, and to say who is gone if they had all met.
    """
    started = start(words, out, processes)
    met = rng.random() >= 0.2
    if met:
        wait_for_step(started[0], out)
    else:
        # Now and then before the first step: while it starts, loads data or reads a checkpoint.
        time.sleep(rng.uniform(0, 5))
    time.sleep(rng.uniform(0, spread))
    victims = rng.choice([[0]] if processes == 1 else [[0], [1], [0, 1]])
    for number in victims:
        if started[number].poll() is None:
            os.killpg(started[number].pid, signal.SIGKILL)
    begin = time.monotonic()
    for number, process in enumerate(started):
        status = process.wait(timeout=END_S)
        said = printed(out, number).read_text(errors="replace")
        if number not in victims and (out / "results.json").exists() is False:
            assert status != 0, said
            assert not met or any(f"rank {victim} " in said for victim in victims), said
    gone = f"{len(victims)} of {processes} processes killed" if processes > 1 else "killed"
    return f"{gone}, ended after {time.monotonic() - begin:.1f} s; {steps_logged(out)} steps logged"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, choices=(1, 2), default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as place:
        data, whole, killed = (Path(place) / name for name in ("data", "whole", "killed"))
        generate(data, "tiny")
        finish(short_run(data, whole, args.epochs), whole, args.processes)
        for kill in range(args.kills):
            what = kill_during_training(short_run(data, killed, args.epochs), killed, rng, processes=args.processes)
            if (killed / "results.json").is_file():
                print(f"the run ended before kill {kill + 1}; raise --epochs")
                return 1
            print(f"kill {kill + 1}: {what}", flush=True)
        finish(short_run(data, killed, args.epochs), killed, args.processes)
        wrong = differing(whole, killed)
        print(
            f"{len(wrong)} of {len(weights(whole))} tensors differ after {args.kills} kills of {args.processes} process(es)"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
