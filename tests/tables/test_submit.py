"""Runs as jobs: submitit's local executor for real, and SLURM by fakes of its commands on PATH."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("submitit", reason="pip install -e '.[slurm]'")

from tests.tables.fake_run_net import command, order
from tests.tables.fake_slurm import install, shut_down, submitted
from transm3e.errors import ExitRequest, UserError
from transm3e.tables import runner as runner_module
from transm3e.tables.cluster import slurm as slurm_module
from transm3e.tables.cluster.backends import local_backend, slurm_backend
from transm3e.tables.cluster.job import ClusterJob
from transm3e.tables.cluster.slurm_settings import minutes, slurm_settings
from transm3e.tables.command import run_missing

SETTINGS = ["partition=gpu", "time=1-0", "account=lab", "mem_gb=64", "reservation=night", "exclusive"]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(runner_module, "POLL_S", 0.02)
    monkeypatch.setattr(slurm_module, "ASK_EVERY_S", 0.2)
    monkeypatch.setattr(slurm_module, "PATIENCE_S", 0.3)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder of the fake's jobs."""
    place = tmp_path / "slurm"
    place.mkdir()
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_STAND_IN", str(place))
    yield place
    shut_down(place)


@pytest.fixture
def call(make, tmp_path):
    """Returns a function (backend, seconds of a run) -> failures, as tools/make_table.py calls it; ends what is left."""

    def run(backend, seconds=0.0):
        logs = tmp_path / "logs"
        return run_missing(make(), command(tmp_path, seconds), backend.environments, logs, backend.runner)

    yield run
    for line in (tmp_path / "order.txt").read_text().splitlines() if (tmp_path / "order.txt").is_file() else ():
        if not line.startswith("end"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(line.split()[3]), signal.SIGKILL)


def in_the_meantime(act):
    """Start a function beside what the main thread does."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def job_of(tmp_path, name):
    """Process number of the job that has begun a run, which is the parent of the run's process."""
    while True:
        text = (tmp_path / "order.txt").read_text() if (tmp_path / "order.txt").is_file() else ""
        if found := re.search(rf"^begin {name} (\d+) \d+\n", text, re.MULTILINE):
            return int(found[1])
        time.sleep(0.02)


def test_a_table_is_submitted_in_levels_recognised_and_watched_to_its_end(call, slurm, tmp_path, capsys):
    (slurm / "hold").touch()
    detached, watched = (slurm_backend(SETTINGS, 2, 4, detach) for detach in (True, False))
    for _ in range(2):  # what is queued is not submitted again
        with pytest.raises(
            ExitRequest, match=r"submitted: 6 runs are queued or running in SLURM.*scancel 1000 1001 1002"
        ) as end:
            call(detached)
        assert end.value.exit_status == 0
    first, students, of_flow = submitted(slurm).values()
    assert (first["array"], students["array"]) == ("0-2%2", "0-1%2")
    assert "array" not in of_flow
    assert "dependency" not in first
    assert students["dependency"] == "afterany:1000_0:1000_1"
    assert of_flow["dependency"] == "afterany:1000_0:1000_2"
    asked = {"partition": "gpu", "account": "lab", "time": "1440", "mem": "64GB", "gpus-per-node": "4"}
    assert {key: first[key] for key in asked} == asked
    assert {key: first[key] for key in ("requeue", "exclusive", "reservation", "cpus-per-task", "signal")} == {
        **{"requeue": "", "exclusive": "", "reservation": "night"},
        **{"cpus-per-task": "3", "signal": "USR2@90"},
    }
    (slurm / "hold").unlink()
    failures = call(watched)
    assert len(submitted(slurm)) == 3
    assert "6 runs: 4 done, 2 failed" in capsys.readouterr().err
    flow, student = failures.values()
    assert re.fullmatch(r"failed, error: no column flow; log: \S+/1000_2_0_log.out", flow)
    assert re.search(
        r"failed, error: it starts from flow-\w+, which has not written .*checkpoint_epoch_\d+.pyth", student
    )
    ran = order(tmp_path)
    assert max(ran.index(["end", name]) for name in ("rgb", "rgb_diff")) < ran.index(["begin", "student"])
    assert ran.count(["end", "student"]) == 2
    # The same call again: what is done is not submitted again, what failed is tried again.
    (slurm / "hold").touch()
    with pytest.raises(ExitRequest, match="2 runs"):
        call(detached)
    again, of_flow = list(submitted(slurm).values())[3:]
    assert "array" not in {**again, **of_flow}
    assert of_flow["dependency"] == "afterany:1003"


def test_jobs_at_work_are_ones_own_and_a_kill_while_submitting_submits_nothing_twice(
    call, slurm, tmp_path, monkeypatch
):
    def killed(*_):
        real(*_)
        raise KeyboardInterrupt

    real = slurm_module.submit
    monkeypatch.setattr(slurm_module, "submit", killed)
    with pytest.raises(KeyboardInterrupt):
        call(slurm_backend(["comment=mine"], None, 0, True), seconds=60)
    monkeypatch.setattr(slurm_module, "submit", real)
    assert re.fullmatch(r"mine transm3e-\w+", submitted(slurm)[1000]["comment"])
    for name in ("rgb", "rgb_diff"):
        job_of(tmp_path, name)
    wait_for(lambda: (slurm / "1000_2.state").read_text() == "FAILED")
    # Now the folders of the other two are held, by jobs that are this user's; the failed one is tried again.
    with pytest.raises(
        ExitRequest, match=r"submitted: 6 runs are queued or running in SLURM.*scancel 1000 1001 1002 1003 "
    ):
        call(slurm_backend([], None, 0, True))
    _, students, again, of_flow = submitted(slurm).values()
    assert "array" not in {**again, **of_flow}
    assert (students["array"], students["dependency"]) == ("0-1%2", "afterany:1000_0:1000_1")
    assert of_flow["dependency"] == "afterany:1000_0:1002"


def wait_for(condition):
    """Until it holds; the runs' own time limits end what never does."""
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_preempted_jobs_save_are_requeued_and_resumed_while_nobody_watches(call, slurm, tmp_path):
    jobs = {}

    def stop_watching():
        jobs.update({name: job_of(tmp_path, name) for name in ("rgb", "rgb_diff")})
        os.kill(os.getpid(), signal.SIGINT)

    thread = in_the_meantime(stop_watching)
    # The run on flow fails by itself (no column flow): it is still there, or no longer.
    with pytest.raises(ExitRequest, match=r"stopped watching: [56] runs are queued or running in SLURM") as end:
        call(slurm_backend([], None, 0, False), seconds=60)
    thread.join()
    assert end.value.exit_status == 130
    assert "gpus-per-node" not in submitted(slurm)[1000]
    # With a signal of its own (also before the end of the job's time), the job is requeued by submitit.
    os.kill(jobs["rgb"], signal.SIGUSR2)
    wait_for(lambda: ["end", "rgb"] in order(tmp_path))
    assert ["resume", "rgb"] in order(tmp_path)
    # Without one: SIGTERM, and SLURM requeues the job when it ends it; a job that ended by itself it would not.
    os.kill(jobs["rgb_diff"], signal.SIGTERM)
    wait_for(lambda: list((tmp_path / "runs").glob("rgb_diff-*/saved")))
    time.sleep(0.5)
    assert (slurm / "1000_1.state").read_text() == "RUNNING"
    (slurm / "1000_1.requeue").touch()
    os.kill(jobs["rgb_diff"], signal.SIGKILL)
    wait_for(lambda: ["end", "rgb_diff"] in order(tmp_path))
    assert ["resume", "rgb_diff"] in order(tmp_path)


def test_submitits_local_executor_makes_a_table(call, tmp_path):
    failures = call(local_backend(2, 0, by_submitit=True))
    assert sorted(map(tuple, order(tmp_path))) == sorted(
        [(word, name) for name in ("rgb", "rgb_diff", "student", "student") for word in ("begin", "end")]
        + [("begin", "flow")]
    )
    assert len(failures) == 2
    assert any(re.match(r"failed, error: no column flow; log: \S+_log.out", reason) for reason in failures.values())


def test_a_local_job_is_requeued_and_outlives_its_watcher(call, tmp_path):
    def preempt_and_stop_watching():
        os.kill(job_of(tmp_path, "rgb"), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = in_the_meantime(preempt_and_stop_watching)
    with pytest.raises(ExitRequest, match=r"stopped watching: 1 runs continue.*kill \d+ stops them"):
        call(local_backend(1, 0, by_submitit=True), seconds=60)
    thread.join()
    wait_for(lambda: ["end", "rgb"] in order(tmp_path))
    assert order(tmp_path) == [["begin", "rgb"], ["resume", "rgb"], ["end", "rgb"]]


def test_a_run_that_does_not_save_in_time_is_ended_and_requeued():
    job = ClusterJob(("true",), {"A": "1"}, {}, 0.0, save_s=0.3)
    deaf = [sys.executable, "-Sc", "import signal, time; signal.signal(15, 1); print(flush=True); time.sleep(60)"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        job._process = process
        again = job.checkpoint()
    assert process.returncode == -signal.SIGKILL
    assert pickle.loads(pickle.dumps(again)).function == job


def test_what_slurm_or_the_installation_refuses_is_reported_in_one_line(call, slurm, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    for damaged in ('{"x": {"job": "7"}}', '{"x": {"mark": "m", "task": 1e999, "logs": "l"}}'):
        (tmp_path / "runs" / "submissions.json").write_text(damaged)
        with pytest.raises(UserError, match=r"submissions.json is damaged .*squeue --me, scancel"):
            call(slurm_backend([], None, None, False))
    (tmp_path / "runs" / "submissions.json").unlink()
    (slurm / "refuse").touch()
    with pytest.raises(UserError, match=r"sbatch refuses 3 jobs .*Invalid account"):
        call(slurm_backend([], None, None, False))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"squeue fails .*No such file"):
        call(slurm_backend([], None, None, False))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"submitit.* is missing .*; pip install -e '.\[slurm\]'"):
        slurm_backend([], None, None, False)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("partitoin=gpu", "nearest: partition"),
        ("configs/tables/table04.yaml", "no option of sbatch or submitit"),
        ("gpus_per_node=4", "use --gpus-per-run"),
        ("array-parallelism=4", "use --jobs"),
        ("partition", "has no value; write partition=VALUE"),
        ("account=", "has no value"),
        ("mem_gb=much", "whole number"),
        ("time=soon", "no time limit"),
        ("time=0", "no time limit"),
    ],
)
def test_a_wrong_setting_is_refused(word, message):
    with pytest.raises(UserError, match=message):
        slurm_settings([word], 1)


def test_times_are_sbatchs():
    times = {"90": 90, "90:00": 90, "1:30": 2, "24:00:00": 1440, "2-0": 2880, "1-12:30": 2190, "1-0:0:30": 1441}
    assert {time: minutes(time) for time in times} == times


def test_a_gpu_of_a_kind_takes_the_place_of_the_number():
    assert "gpus_per_node" not in slurm_settings(["gres=gpu:v100:4"], 4)
