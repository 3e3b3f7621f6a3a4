"""Runs tools/run_net.py as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
# Small enough for seconds per epoch; stage 1 and 2 alike.
SMALL = ("DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 8, "LOG_PERIOD", 20)


def command(*words: object) -> list[str]:
    """The command line of a run on one CPU thread."""
    return [sys.executable, str(REPO / "tools" / "run_net.py"), *map(str, words), "CPU_THREADS", "1"]


def run_net(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run to the end; with `check`, a failure shows what was printed."""
    done = subprocess.run(command(*words), cwd=REPO, capture_output=True, text=True, env=quiet_env(), check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def start(*words: object) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, to be killed."""
    return subprocess.Popen(
        command(*words),
        cwd=REPO,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=quiet_env(),
        start_new_session=True,
    )


def quiet_env() -> dict[str, str]:
    """No warnings of libraries in what is read back."""
    return {**os.environ, "PYTHONWARNINGS": "ignore"}
