"""A disk that fails at any touch of a run's folder, or is full: one line and status 2, and nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.faults.disk import ERRORS, Disk
from tests.faults.inputs import one_line
from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.engine.evaluate import ScoredSplit
from transm3e.engine.logging import log_to
from transm3e.errors import UserError, disk_faults
from transm3e.files import atomic_path
from transm3e.models.weights import read_checkpoint
from transm3e.report import run as report
from transm3e.runs.folder import claim
from transm3e.runs.plan import plan
from transm3e.runs.record import check_owner, owner_of
from transm3e.runs.results import read_results

WORDS = {errno.ENOSPC: "disk full", errno.EDQUOT: "disk quota exceeded", errno.EROFS: "read-only"}


@pytest.fixture(scope="module")
def disk():
    return Disk()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(folder) -> a run there."""

    def picture(_results, path, *_):
        with atomic_path(path) as partial:
            partial.write_bytes(b"picture")

    monkeypatch.setattr(report, "muscle_bars", picture)
    monkeypatch.setattr(report, "training_curves", picture)
    (tmp_path / "clips.csv").write_text("a table")
    (tmp_path / "a.yaml").write_text(f"NUM_GPUS: 0\nDATA: {{PATH_TO_DATA_DIR: {tmp_path}}}\n")
    return lambda folder: plan([str(tmp_path / "a.yaml")], ["TENSORBOARD.ENABLE", False, "OUTPUT_DIR", str(folder)])[0]


def write_all(run, numbers=10):
    """What tools/run_net.py does to a run's folder, without the training; its status."""
    rng, owner = np.random.default_rng(0), owner_of(run)
    scored = ScoredSplit(
        np.arange(4), list("abcd"), rng.random((4, 20), dtype=np.float32), np.eye(4, 20, dtype=np.uint8), []
    )
    progress = {"epoch": 1, "history": [{"epoch": 1, "loss": 1.0}], "failed": {}}
    try:
        with exit_with_message():
            check_owner(run, owner)
            with log_to(run.folder), disk_faults(), claim(run, owner):
                store = CheckpointStore(run.folder, 1)
                store.newest_whole(read_checkpoint)
                path = store.save({"model_state": {"w": torch.zeros(numbers)}, "progress": progress}, 1)
                store.mark_best(path)
                report.write_report(run, owner, path, {"known_val": scored})
            report.final_table([run])
    except SystemExit as end:
        return end.code
    return 0


def refuse_halves(folder):
    for file in folder.rglob("*.json"):
        assert file.name.startswith(".") or file.read_text().endswith("}\n")
    if (folder / "results.json").exists():
        read_results(folder / "results.json")
    for file in folder.glob("checkpoints/checkpoint*"):
        read_checkpoint(file)


def test_each_touch_may_fail(make, disk, tmp_path, capsys, monkeypatch):
    run = make(tmp_path / "run")
    # There are hundreds of runs.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(type(run.cfg), "dump", lambda _: "settings")
    with disk.failing(run.folder, None):
        assert write_all(run) == 0
    touches = len(disk.touches)
    assert touches > 40
    tolerated = []
    for number in range(touches):
        shutil.rmtree(run.folder)
        capsys.readouterr()
        error = ERRORS[number % len(ERRORS)]
        with disk.failing(run.folder, number, error):
            status = write_all(run)
        said = capsys.readouterr().err
        if status:
            assert status == USER_MISTAKE
            assert f"{WORDS.get(error, '')} ({os.strerror(error)}); ".lstrip() in one_line(said)
        else:
            tolerated.append(disk.touches[number])
        refuse_halves(run.folder)
        assert write_all(run) == 0, disk.touches[number]
    # What has been renamed is not there any more, nor need a folder be made twice; and the best checkpoint may be a copy. In a
    # folder that may not be looked into pathlib's glob finds nothing.
    assert {event for event, path in tolerated} - {"os.scandir"} == {"os.remove", "os.mkdir", "os.link", "open"}
    assert {path for event, path in tolerated if event == "open"} == {"/.lock.owner"}


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(KiB) -> a folder on a disk of that size."""
    place, mounted = tmp_path / "disk", []

    def mount(size):
        place.mkdir(exist_ok=True)
        if mounted:
            subprocess.run(["umount", place], check=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", place], capture_output=True)
        if done.returncode:
            pytest.skip("no disk can be mounted here")
        mounted[:] = [place]
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full(make, small_disk, capsys):
    whole = False
    for size in range(8, 1000, 62):
        run = make(small_disk(size) / "run")
        status = write_all(run, numbers=10_000)
        said = capsys.readouterr().err
        if status:
            assert status == USER_MISTAKE
            assert "disk full (No space left on device); free space there" in one_line(said)
            refuse_halves(run.folder)
            assert not whole
        whole = not status
    assert whole


def test_errors_that_are_not_the_disks_stay_what_they_are():
    with pytest.raises(FileNotFoundError), disk_faults():
        Path("/nowhere/at/all").read_text()
    with pytest.raises(ProcessLookupError), disk_faults():
        raise ProcessLookupError(errno.ESRCH, "no such process")
    with (
        pytest.raises(UserError, match=r"^a/b: disk quota exceeded \(.*\); delete files of yours there"),
        disk_faults(),
    ):
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "a/b")
