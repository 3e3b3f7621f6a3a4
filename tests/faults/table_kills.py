"""Kill tools/make_table.py at random moments, start it again each time, and compare its runs with undisturbed ones.

    python datasets/prepare_musclesynth.py --size small
    python -m tests.faults.table_kills configs/tables/table03.yaml [--seeds 0] [--kills 2] [--whole RUNS_DIR]

Every other kill also reaches the runs that are in work. Makes the table without interruption as well, unless --whole
names the RUNS_DIR where that was done (maybe with more seeds); ends with status 0 if all weights and figures are the
same, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.kills import differing
from tests.run_net import REPO, quiet_env


def start(words: Sequence[str], runs: Path) -> subprocess.Popen[bytes]:
    """Start the table with its runs in a folder."""
    command = [sys.executable, "tools/make_table.py", *words, "--opts", "RUNS_DIR", str(runs), "CPU_THREADS", "1"]
    return subprocess.Popen(
        command, cwd=REPO, env=quiet_env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def kill(process: subprocess.Popen[bytes], with_runs: bool) -> int:
    """Kill the table, and its runs if asked for; returns how many runs were in work."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    for child in children if with_runs else ():
        # Each run leads a process group, its loading processes in it.
        os.killpg(int(child), signal.SIGKILL)
    return len(children)


def finished(runs: Path, seeds: Sequence[int]) -> list[Path]:
    """Folders of the runs that have been evaluated."""
    files = sorted(runs.glob("*/results.json"))
    return [file.parent for file in files if json.loads(file.read_text())["run"]["seed"] in seeds]


def disturb(words: Sequence[str], runs: Path, seeds: Sequence[int], kills: int, of: int, rng: random.Random) -> None:
    """Start the table and kill it, `kills` times, spread over its `of` runs; then let it end."""
    for number in range(1, kills + 1):
        process = start(words, runs)
        while process.poll() is None and len(finished(runs, seeds)) < of * number // (kills + 1):
            time.sleep(0.1)
        time.sleep(rng.uniform(0, 20))
        with_runs = number % 2 == 1
        if process.poll() is None:
            in_work = kill(process, with_runs)
            done, also = len(finished(runs, seeds)), ", which were killed too" if with_runs else ", which go on"
            print(f"kill {number}: {done} of {of} runs done, {in_work} in work{also}", flush=True)
    if start(words, runs).wait():
        sys.exit("make_table.py failed in the end")


def differences(whole: Path, killed: Path, seeds: Sequence[int]) -> list[str]:
    """What of the runs differs: figures, weights, or that one is missing."""
    names = {folder.name for folder in finished(whole, seeds)} ^ {folder.name for folder in finished(killed, seeds)}
    found = [f"{name}: not made both times" for name in sorted(names)]
    for folder in finished(killed, seeds):
        if folder.name not in names:
            ours, theirs = (json.loads((runs / folder.name / "results.json").read_text()) for runs in (killed, whole))
            found += [f"{folder.name}: figures"] * (ours["splits"] != theirs["splits"])
            if (folder / "checkpoints").is_dir():
                found += [f"{folder.name}: {name}" for name in differing(whole / folder.name, folder)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--on", default="MuscleSynth")
    parser.add_argument("--scale", default="full")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the runs")
    parser.add_argument("--moments", type=int, default=0, help="seed of the moments")
    parser.add_argument("--whole", type=Path, help="RUNS_DIR of the same table, undisturbed, and of no other table")
    args = parser.parse_args()
    words = [args.table, "--on", args.on, "--scale", args.scale, "--jobs", args.jobs]
    words += ["--seeds", *map(str, args.seeds)]
    with tempfile.TemporaryDirectory() as place:
        whole, killed = args.whole or Path(place) / "whole", Path(place) / "killed"
        if args.whole is None and start(words, whole).wait():
            sys.exit("make_table.py failed undisturbed")
        made = len(finished(whole, args.seeds))
        disturb(words, killed, args.seeds, args.kills, made, random.Random(args.moments))
        found = differences(whole, killed, args.seeds)
        print(*found, f"{len(found)} differences in {made} runs after {args.kills} kills", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
