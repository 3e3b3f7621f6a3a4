"""Runs in processes: order, failures, a stop, a second call, a folder that another process holds; with a fake run_net.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.tables.fake_run_net import command, order
from transm3e.errors import ExitRequest
from transm3e.runs.folder import GPUS, LOCK
from transm3e.runs.lock import Owner
from transm3e.tables import runner as runner_module
from transm3e.tables.command import run_missing, write_tables
from transm3e.tables.progress import DONE, ELSEWHERE, FAILED, RUNNING, describe, last_stats, summary
from transm3e.tables.runner import Runner


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(runner_module, "POLL_S", 0.02)


def test_a_table_is_run_in_order_and_a_failed_row_stops_only_itself(make, tmp_path):
    plan = make()
    failures = run_missing(plan, command(tmp_path), [{}, {}], tmp_path / "logs")
    ran = order(tmp_path)
    assert sorted(map(tuple, ran)) == sorted(
        [(word, name) for name in ("rgb", "rgb_diff", "student", "student") for word in ("begin", "end")]
        + [("begin", "flow")]
    )
    assert min(ran.index(["begin", "student"]), len(ran)) > max(
        ran.index(["end", "rgb"]), ran.index(["end", "rgb_diff"])
    )
    assert len(failures) == 2
    assert any("status 1: error: no column flow; log: " in reason for reason in failures.values())
    text = write_tables(plan, failures, tmp_path / "out")
    assert "| flow | - | - | - | - | - | - | not run; failed, it starts from flow-" in text
    assert "**10.0** (10.0, +0.0)" in text
    assert "**40.0** (40.2, -0.2)" in text
    table = (tmp_path / "out" / "trial-MuscleSynth-full.csv").read_text().splitlines()
    assert table[0].startswith(
        "row,known_val,known_val_std,known_val_paper,known_val_difference,known_val_rank,new_val,"
    )
    assert table[1].startswith("student,10.00,,10.00,+0.0,1,20.00,")
    latex = (tmp_path / "out" / "trial-MuscleSynth-full.tex").read_text()
    assert r"student & \textbf{10.0} (10.0, +0.0) & " in latex
    assert r"known\_val" in latex
    # The same call again: what is done is not run again, what failed is tried again.
    (tmp_path / "order.txt").unlink()
    assert len(run_missing(make(), command(tmp_path), [{}], tmp_path / "logs")) == 2
    assert order(tmp_path) == [["begin", "flow"]]


def test_a_stop_ends_the_runs_and_the_next_call_resumes_them(make, tmp_path):
    runner = Runner(make().missing(), command(tmp_path, seconds=30), [{}], tmp_path / "logs")

    def stop():
        while not (tmp_path / "order.txt").is_file():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(ExitRequest, match="the same command resumes") as end:
        runner.run()
    thread.join()
    assert end.value.exit_status == 128 + signal.SIGTERM
    assert order(tmp_path) == [["begin", "rgb"]]
    assert len(make().missing()) == 6


def test_a_folder_that_another_process_holds_is_waited_for(make, tmp_path):
    job = make().missing()[0]
    job.run.folder.mkdir(parents=True)
    hold = "import pathlib, sys, time; from transm3e.runs.lock import hold; lock = hold(pathlib.Path(sys.argv[1])); "
    hold += "lock.__enter__(); print(1, flush=True); time.sleep(60)"
    lock = job.run.folder / LOCK
    process = subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE)
    process.stdout.readline()
    seen = []

    def watch(progress):
        seen.append(progress[0].state)
        if len(seen) == 2:
            process.kill()
            process.wait()

    [progress] = Runner([job], command(tmp_path), [{}], tmp_path / "logs", watch).run()
    process.stdout.close()
    assert seen[:2] == ["running elsewhere", "running elsewhere"]
    assert progress.state == DONE
    assert not lock.exists()


def test_a_run_that_continues_keeps_its_gpu(make, tmp_path, monkeypatch):
    """After kill -9 of the tool its runs go on; what the next call starts beside them takes the other GPUs."""
    jobs = make().missing()[:3]
    here = f"process 1 on {socket.gethostname()}"
    held = {jobs[0].run.folder: Owner(here, "1"), jobs[2].run.folder: Owner("process 1 on elsewhere", "0")}
    monkeypatch.setattr(runner_module, "holder", lambda lock: held.get(lock.parent))
    started = []
    monkeypatch.setattr(Runner, "_start", lambda self, progress, given: (started.append(given), lambda: None)[1])
    runner = Runner(jobs, [], [{GPUS: "1"}, {GPUS: "0"}], tmp_path / "logs")
    runner._step()
    assert [progress.state for progress in runner.progress.values()] == [ELSEWHERE, RUNNING, ELSEWHERE]
    assert started == [{GPUS: "0"}]


def test_the_view_says_where_a_run_is_and_why_one_failed(make, tmp_path):
    runner = Runner(make().missing()[:2], command(tmp_path), [{}], tmp_path / "logs")
    running, failed = runner.progress.values()
    running.state, failed.state, failed.reason = "running", FAILED, "status 2: error: no"
    log = running.job.run.folder / "stdout.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        'x json_stats: {"epoch": "1/3", "loss": 0.5}\nx json_stats: {"epoch": "2/3", "loss": 0.25}\nx json_st'
    )
    assert last_stats(log) == {"epoch": "2/3", "loss": 0.25}
    assert describe(running) == f"{running.job.name}: running epoch 2/3 loss 0.25"
    assert describe(failed) == f"{failed.job.name}: failed, status 2: error: no; log: {failed.log}"
    assert summary([running, failed]) == "2 runs: 1 running, 1 failed"
