"""A run's folder: whose it is, and what is done in it already."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from transm3e.errors import ExitRequest, UserError
from transm3e.report import run as report
from transm3e.runs.folder import (
    LOCK,
    RESULTS,
    claim,
    evaluation_checkpoint,
    is_evaluated,
    is_trained,
)
from transm3e.runs.lock import holder
from transm3e.runs.plan import plan
from transm3e.runs.record import OWNER, changed_settings, check_owner, on_other_data, owner_of
from transm3e.runs.results import summarise, write_results


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(KEY, VALUE, ...) -> the run of a config in a folder with a clip table."""
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("NUM_GPUS: 0\nDATA: {PATH_TO_DATA_DIR: data}\nSOLVER: {MAX_EPOCH: 2}\n")
    Path("data").mkdir()
    Path("data/clips.csv").write_text("table one\n")

    def make(*opts):
        [run] = plan(["a.yaml"], opts)
        return run

    return make


def claimed(run):
    with claim(run, owner_of(run)):
        pass


def finish(run):
    run.final_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run.final_checkpoint.touch()


def test_the_owner_is_name_id_and_table(make):
    run = make()
    owner = owner_of(run)
    assert (owner["name"], owner["id"], len(owner["table"])) == ("a", run.id, 16)
    Path("data/clips.csv").write_text("table two\n")
    assert owner_of(run)["table"] != owner["table"]


def test_a_demo_alone_needs_no_table(make):
    Path("data/clips.csv").unlink()
    with pytest.raises(UserError, match=r"no clip table at .*clips\.csv"):
        owner_of(make())
    run = make("TRAIN.ENABLE", False, "TEST.ENABLE", False, "DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", "a.mp4")
    assert owner_of(run)["table"] == ""


def test_a_claimed_folder_holds_the_config_and_the_owner(make):
    run = make()
    claimed(run)
    assert json.loads((run.folder / OWNER).read_text()) == owner_of(run)
    assert (run.folder / "config.yaml").read_text() == run.cfg.dump()
    claimed(run)
    assert sorted(file.name for file in run.folder.iterdir()) == ["config.yaml", OWNER]


def test_a_dumped_config_is_the_same_run(make):
    run = make()
    claimed(run)
    [again] = plan([str(run.folder / "config.yaml")])
    assert (again.id, again.folder) == (run.id, run.folder)


def test_another_run_may_not_take_the_folder(make):
    first = make("OUTPUT_DIR", "out")
    claimed(first)
    same = make("OUTPUT_DIR", "out", "DATA_LOADER.NUM_WORKERS", 0, "LOG_PERIOD", 1)
    check_owner(same, owner_of(same))
    other = make("OUTPUT_DIR", "out", "RNG_SEED", 1)
    with pytest.raises(UserError, match=rf"out holds another run \(a, {first.id}\) than a, {other.id}"):
        claimed(other)
    assert json.loads(Path("out", OWNER).read_text())["id"] == first.id


def test_another_clip_table_is_another_run(make):
    run = make("OUTPUT_DIR", "out")
    claimed(run)
    Path("data/clips.csv").write_text("table two\n")
    other = make("OUTPUT_DIR", "out")
    assert other.id != run.id
    with pytest.raises(
        UserError, match=r"of other data: 0 clips of data/clips\.csv, data .* choose another OUTPUT_DIR"
    ):
        check_owner(other, owner_of(other))


@pytest.mark.parametrize("text", ["{", "[]", "5", '{"name": "a"}'])
def test_a_damaged_owner_is_a_users_error(make, text):
    run = make()
    run.folder.mkdir(parents=True)
    (run.folder / OWNER).write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        check_owner(run, owner_of(run))


def test_a_run_is_trained_when_its_last_checkpoint_is_there(make):
    run = make()
    assert not is_trained(run)
    finish(run)
    assert is_trained(run)
    assert not is_trained(make("TRAIN.AUTO_RESUME", False))
    assert is_trained(make("TRAIN.ENABLE", False, "RNG_SEED", 9))


def test_a_run_is_evaluated_when_its_results_have_the_same_settings(make):
    run = make()
    assert not is_evaluated(run)
    run.folder.mkdir(parents=True)
    write_results(run.folder / RESULTS, {"run": {"eval_id": run.eval_id}, **summarise({})})
    assert is_evaluated(run)
    assert is_evaluated(make("LOG_PERIOD", 3))
    assert not is_evaluated(make("TEST.NUM_ENSEMBLE_VIEWS", 1))
    assert is_evaluated(make("TEST.NUM_ENSEMBLE_VIEWS", 1, "TEST.ENABLE", False))


def test_which_checkpoint_is_scored(make):
    run = make()
    with pytest.raises(UserError, match=r"no trained weights at .*checkpoint_epoch_00002\.pyth; train first"):
        evaluation_checkpoint(run)
    finish(run)
    assert evaluation_checkpoint(run) == run.final_checkpoint
    with pytest.raises(UserError, match=r"no trained weights at .*checkpoint_best\.pyth"):
        evaluation_checkpoint(make("TEST.WHICH_CHECKPOINT", "best"))
    assert evaluation_checkpoint(make("TEST.CHECKPOINT_FILE_PATH", "w.pyth")) == Path("w.pyth")
    assert evaluation_checkpoint(make("MODEL.MODEL_NAME", "Random", "TRAIN.ENABLE", False)) is None


CLAIM = """
import sys, time
from transm3e.runs.lock import holder
from transm3e.runs.plan import plan
from transm3e.runs.record import owner_of
from transm3e.runs.folder import claim
[run] = plan(["a.yaml"], [])
with claim(run, owner_of(run)):
    print("there", flush=True)
    time.sleep(60)
"""


def test_who_works_in_a_folder_is_known_and_looking_takes_it_from_nobody(make, monkeypatch):
    run = make()
    assert holder(run.folder / LOCK) is None
    claimed(run)
    assert holder(run.folder / LOCK) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with subprocess.Popen([sys.executable, "-c", CLAIM], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"there\n"
        found = holder(run.folder / LOCK)
        assert found.process == f"process {process.pid} on {socket.gethostname()}"
        assert found.note == "2,3"
        with pytest.raises(UserError, match=rf"is in use by process {process.pid} on \S+; wait for it"):
            claimed(run)
        process.kill()
    assert holder(run.folder / LOCK) is None


def test_the_record_of_a_training_is_written_once(make):
    run = make()
    claimed(run)
    record = {name: (run.folder / name).read_text() for name in ("config.yaml", OWNER)}
    # Before its first checkpoint it begins anew.
    other = make("DATA_LOADER.NUM_WORKERS", 5)
    claimed(other)
    assert (run.folder / "config.yaml").read_text() == other.cfg.dump()
    claimed(run)
    (run.folder / "checkpoints").mkdir()
    (run.folder / "checkpoints" / "checkpoint_epoch_00001.pyth").touch()
    assert changed_settings(run) == ""
    for words in (
        ("DATA_LOADER.NUM_WORKERS", 5),
        ("TEST.NUM_ENSEMBLE_VIEWS", 1),
        ("TRAIN.ENABLE", False, "DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", "a.mp4"),
    ):
        claimed(make(*words))
        assert {name: (run.folder / name).read_text() for name in record} == record
    assert changed_settings(make("LOG_PERIOD", 5, "RNG_SEED", 0)) == "LOG_PERIOD 5 (was 10)"
    (run.folder / "config.yaml").write_text("{")
    assert changed_settings(run).startswith("unknown, as config.yaml cannot be read")


@pytest.mark.parametrize("end", [UserError("no clips"), ExitRequest("rank 1: no clips", 2)])
def test_a_start_that_fails_by_a_users_mistake_leaves_no_folder(make, end):
    run = make()

    def start(name, begun, error):
        with claim(run, owner_of(run)) as start:
            for file in {"stdout.log", name}:
                (run.folder / file).touch()
            start.begun = begun
            raise error

    def fail(name="stdout.log", begun=False, error=end):
        with pytest.raises(type(error)):
            start(name, begun, error)

    fail()
    assert not run.folder.exists()
    for words in ({"name": "results.json"}, {"begun": True}, {"error": ExitRequest("stopped", 143)}):
        fail(**words)
        assert (run.folder / "stdout.log").is_file()
        fail()  # it was there before
        assert run.folder.exists()
        shutil.rmtree(run.folder)


def test_a_run_on_other_data_is_named(make):
    run = make()
    claimed(run)
    assert on_other_data(run, owner_of(run)) == ""
    Path("runs/a-broken").mkdir()
    Path("runs/a-broken", OWNER).write_text("{")
    other = make("RNG_SEED", 5)
    assert on_other_data(other, owner_of(other)) == ""
    Path("data/clips.csv").write_text("path,split\na.mp4,train\nb.mp4,train\n")
    new = make()
    said = on_other_data(new, owner_of(new))
    assert said.startswith(f"a new run, as the one in {run.folder} is on other data: 0 clips of data/clips.csv, data ")
    assert f"here: 2 clips of data/clips.csv, data {new.data.digest}" in said


def test_every_process_takes_the_run_that_the_main_one_has_planned(make, monkeypatch):
    [main] = [make("INIT.STUDENT_FROM", "w.pyth")]
    Path("data/clips.csv").write_text("another table\n")
    other = make("INIT.STUDENT_FROM", "w.pyth", "SHARD_ID", 1, "NUM_SHARDS", 2)
    assert other.id != main.id
    assert report.agreed(other, owner_of(other))[0] == other
    told = []
    monkeypatch.setattr(report, "gather", lambda item: told.append(item) or told)
    report.agreed(main, {"id": main.id})
    run, owner = report.agreed(other, owner_of(other))
    assert (run.id, run.eval_id, run.folder, owner) == (main.id, main.eval_id, main.folder, {"id": main.id})
    assert run.cfg.SHARD_ID == 1


def test_a_folder_that_cannot_be_made_is_a_users_error(make):
    Path("file").touch()
    run = make("OUTPUT_DIR", "file/run")
    with pytest.raises(UserError, match=r"cannot make the folder file/run: Not a directory; choose another OUTPUT_DIR"):
        claimed(run)
