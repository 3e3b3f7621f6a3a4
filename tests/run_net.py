"""Runs tools/run_net.py as a user does, in a process of its own, or in this one, which need not import torch anew."""

from __future__ import annotations

import functools
import importlib.util
import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

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


def run_net_here(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The same in this process, for tests that need no process of their own: no signals, exits or threads."""
    line = command(*words)[1:]
    status, out, err = 0, io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", line), redirect_stdout(out), redirect_stderr(err):
        try:
            status = load_tool("run_net").main()
        except SystemExit as end:
            status = end.code
    assert not check or status == 0, out.getvalue() + err.getvalue()
    return subprocess.CompletedProcess(line, status, out.getvalue(), err.getvalue())


@functools.cache
def load_tool(name: str) -> ModuleType:
    """tools/NAME.py as a module; processes that it starts do not find its functions."""
    spec = importlib.util.spec_from_file_location(name, REPO / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
