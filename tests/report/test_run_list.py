"""The list of runs: state, epoch, scores and data set of every folder, newest first, whatever one of them holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.runs import main
from transm3e.errors import UserError
from transm3e.report.run_list import list_runs, runs_table
from transm3e.runs.folder import claim
from transm3e.runs.plan import plan
from transm3e.runs.record import owner_of
from transm3e.runs.results import summarise, write_results

HOLD = """
import sys, time
from transm3e.runs.plan import plan
from transm3e.runs.record import owner_of
from transm3e.runs.folder import claim
[run] = plan(["a.yaml"], ["RNG_SEED", 7])
with claim(run, owner_of(run)):
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(seed, age, *checkpoints, log="") -> folder of a run that was begun, `age` seconds ago."""
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("NUM_GPUS: 0\nDATA: {PATH_TO_DATA_DIR: data/Mine}\nSOLVER: {MAX_EPOCH: 2}\n")
    Path("data/Mine").mkdir(parents=True)
    Path("data/Mine/clips.csv").write_text("path,split\na.mp4,train\n")

    def make(seed, age, *checkpoints, log="", results=None):
        [run] = plan(["a.yaml"], ["RNG_SEED", seed])
        with claim(run, owner_of(run)):
            (run.folder / "checkpoints").mkdir()
        for name in checkpoints:
            (run.folder / f"checkpoints/checkpoint_epoch_0000{name}.pyth").touch()
        (run.folder / "stdout.log").write_text(log)
        if results:
            write_results(run.folder / "results.json", {"run": {"dataset": "Mine"}, **summarise(results)})
        for file in (*run.folder.iterdir(), run.folder):
            os.utime(file, (1e9 - age, 1e9 - age))
        return run.folder

    return make


ERROR = "[01/01 00:00:00][ERROR] logging.py:   71: %s\n"
SCORES = {name: {"mAP": score} for name, score in (("known_val", 0.5), ("new_val", 0.25), ("known_test", None))}


def test_every_run_is_listed_with_its_state_newest_first(make):
    folders = [
        make(0, 1, "2", results=SCORES),
        make(1, 2, "2"),
        make(2, 3, "1", "2_step_0000007"),
        make(3, 4, "1", log=ERROR % "stopped in epoch 2; the same command resumes there"),
        make(4, 5, log="[01/01 00:00:00][INFO] a.py:    1: x\n" + ERROR % "data/Mine: 1 of 1 videos are missing"),
        make(5, 6, log=ERROR % "x" + "[01/01 00:00:00][INFO] a.py:    1: going on\n"),
    ]
    for name in ("tables", "runs.txt"):
        Path("runs", name).mkdir()
    runs = list_runs("runs")
    assert [run.folder for run in runs] == folders
    assert [run.state for run in runs] == ["done", "trained", "stopped", "stopped", "failed", "stopped"]
    assert [run.epoch for run in runs] == ["2 of 2", "2 of 2", "1 of 2", "1 of 2", "", ""]
    assert runs[0].scores == {"mean_val": 0.375, "mean_test": None}
    assert {run.dataset for run in runs} == {"Mine"}
    lines = runs_table(runs).splitlines()
    assert lines[0].split() == ["run", "state", "epoch", "mean_val", "mean_test", "dataset", "changed"]
    assert lines[1].split()[:6] == [folders[0].name, "done", "2", "of", "2", "37.5"]
    assert "    data/Mine: 1 of 1 videos are missing" in lines


def test_a_run_that_is_worked_in_is_so(make):
    folder = make(7, 0, "1")
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        [run] = list_runs("runs")
        process.kill()
    assert (run.folder, run.state) == (folder, "at work")
    assert run.note.startswith(f"process {process.pid} on ")


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", "{"), ("results.json", "[]"), ("config.yaml", "TRAIN: 5"), ("config.yaml", "\0"), ("run.json", "5")],
)
def test_a_damaged_folder_is_a_line(make, name, text):
    whole, broken = make(0, 5), make(1, 0)
    (broken / name).write_text(text)
    bad, good = list_runs("runs")
    assert (bad.folder, bad.state, good.folder) == (broken, "damaged", whole)
    assert name in bad.note
    assert f"    {bad.note}\n" in runs_table([bad, good])


def test_the_command_prints_text_or_json(make, capsys):
    folder = make(0, 0, "2", results=SCORES)
    assert main([]) == 0
    assert folder.name in capsys.readouterr().out
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["scores"]["mean_val"] == 0.375


def test_a_folder_that_is_not_there():
    with pytest.raises(UserError, match="cannot read gone: No such file or directory; name the folder"):
        list_runs("gone")
