"""tools/gpu_check.sh: it runs on a CPU, and a part that hangs, crashes or fails is a row. tests/tools/test_gpu.py has a GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from transm3e.benchmark.gpu import check, cost
from transm3e.benchmark.gpu.rows import Row, failed, tiny
from transm3e.models import MODELS


def rows_of(text):
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines()[2:]]


def test_all_parts_run_on_a_cpu(repo):
    command = [str(repo / "tools" / "gpu_check.sh"), "--cpu"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(done.stdout)
    assert list(dict.fromkeys(row[0] for row in rows)) == list(check.PARTS)
    assert {row[1].split()[0] for row in rows if row[0] == "models against the CPU"} == set(MODELS)
    judged = [row for row in rows if row[-1] == "ok"]
    assert len(judged) > 15
    labels = "\n".join(row[1] for row in rows)
    for wanted in (
        "transm3e_s, float32, train",
        "activation checkpointing",
        "transm3e_s: host waits",
        "DDP",
        "transm3e_rgb_motion",
    ):
        assert wanted in labels


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_part_that_hangs_crashes_or_fails_is_a_row_and_the_rest_goes_on(repo, monkeypatch, capsys):
    def hangs(scale):
        yield Row("first", "1")
        time.sleep(60)

    def crashes(scale):
        yield Row("second", "2", ok=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def fails(scale):
        raise ValueError("a | b")

    def wrong(scale):
        yield Row("third", "3", "4", ok=False)

    parts = {"hangs": (hangs, 0.5), "crashes": (crashes, 20), "fails": (fails, 20), "wrong": (wrong, 20)}
    monkeypatch.setattr(check, "PARTS", parts)
    text, sound = check.run_parts(tiny(repo), list(parts))
    assert not sound
    assert [line.split(" | ", 1)[1] for line in text.splitlines()[2:]] == [
        "first | 1 |  |  |",
        " |  | not done after the 0 s that were left | FAILED |",
        "second | 2 |  | ok |",
        " |  | its process ended with status -9 | FAILED |",
        " |  | ValueError: a \\| b | FAILED |",
        "third | 3 | 4 | FAILED |",
    ]
    assert "hangs: " in capsys.readouterr().err


def test_budgets_are_under_eight_minutes_together():
    assert sum(seconds for _, seconds in check.PARTS.values()) <= 480


def test_what_a_failure_says():
    assert failed("x", RuntimeError("CUDA out of memory. Tried")) == Row("x", "does not fit", "")
    two = RuntimeError("backend='inductor' raised:\n\nCompilationError: no triton\nmore")
    assert failed("x", two).beside == "RuntimeError: backend='inductor' raised: CompilationError: no triton"


def test_a_reference_that_fails_is_compared_with_nothing(repo, monkeypatch):
    """Least of all with the first that does not."""
    real = cost.build_candidate

    def build(entry, device):
        if entry.source == "torchvision:mc3_18":
            raise RuntimeError("CUDA out of memory")
        return real(entry, device)

    monkeypatch.setattr(cost, "build_candidate", build)
    monkeypatch.setattr(cost, "VARIANTS", {})
    first, *rest = cost.speed(tiny(repo))
    assert first == Row("torchvision:mc3_18, float32", "does not fit", "")
    assert len(rest) == 4
    assert [row.beside for row in rest] == [""] * 4
