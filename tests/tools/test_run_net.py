"""What tools/run_net.py says to mistakes that take more than one call (tests/faults has the others)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.run_net import run_net as process_of
from transm3e.engine.seed import set_deterministic
from transm3e.models import build_model
from transm3e.models.transm3e import TransM3E

RGB = ("--cfg", "configs/MuscleSynth/mcts_rgb.yaml")
QUICK = (
    *("SOLVER.MAX_EPOCH", 1, "DATA_LOADER.NUM_WORKERS", 0, "DATA.NUM_FRAMES", 2, "DATA.SAMPLING_RATE", 2),
    *("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "MVIT.EMBED_DIM", 8, "TENSORBOARD.ENABLE", False),
)


def assert_mistake(result, *parts):
    status, _, err = result
    assert status == 2, err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for part in parts:
        assert str(part) in lines[0], lines[0]


def test_checkpoint_of_another_model(run_net, noise_data, tmp_path, tiny_cfg):
    torch.save({"model_state": build_model(tiny_cfg).state_dict(), "cfg": ""}, tmp_path / "other.pyth")
    result = run_net(
        *(*RGB, "DATA.PATH_TO_DATA_DIR", noise_data, *QUICK),
        *("TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", tmp_path / "other.pyth"),
    )
    assert_mistake(result, "other.pyth belongs to another model than TransM3E")


def test_output_dir_of_another_run(run_net, noise_data, tmp_path):
    words = (*RGB, "DATA.PATH_TO_DATA_DIR", noise_data, *QUICK, "OUTPUT_DIR", tmp_path / "run")
    assert run_net(*words)[0] == 0
    assert_mistake(run_net(*words, "SOLVER.BASE_LR", 0.5), "holds another run", "choose another OUTPUT_DIR")


def test_an_operation_without_a_deterministic_version(run_net, noise_data, tmp_path, monkeypatch):
    real = TransM3E.forward

    def forward(self, clips):
        # CPUs refuse this one, as GPUs the gradient of max_pool3d.
        torch.zeros(2).put_(torch.tensor([0, 1]), torch.ones(2))
        return real(self, clips)

    monkeypatch.setattr(TransM3E, "forward", forward)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        result = run_net(*RGB, "DATA.PATH_TO_DATA_DIR", noise_data, *QUICK, "DETERMINISTIC", True)
    finally:
        set_deterministic(False)
    assert_mistake(
        result, "MODEL.MODEL_NAME TransM3E uses put_, which does not have a deterministic", "set DETERMINISTIC False"
    )
    [run] = (tmp_path / "runs").iterdir()
    assert not (run / "checkpoints").exists()


def test_results_are_of_the_data_they_name_and_other_data_are_another_run(run_net, noise_data, tmp_path):
    words = (*RGB, "DATA.PATH_TO_DATA_DIR", noise_data, *QUICK)
    assert run_net(*words)[0] == 0
    [first] = (tmp_path / "runs").iterdir()
    table, where = noise_data / "clips.csv", f"clips of {noise_data / 'clips.csv'}"
    assert f"done already, in {first} (24 {where}, data " in run_net(*words)[2]
    record = {name: (first / name).read_text() for name in ("config.yaml", "run.json")}
    table.write_text(
        "\n".join(f"{line},{'note' if not i else ''}" for i, line in enumerate(table.read_text().splitlines()))
    )
    assert "done already" in run_net(*words)[2]
    # The same settings are scored anew: what was trained keeps its record.
    assert run_net(*words, "TEST.NUM_ENSEMBLE_VIEWS", 1)[0] == 0
    demo = ("TEST.ENABLE", False, "DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", noise_data)
    assert run_net(*words, *demo)[0] == 0
    assert {name: (first / name).read_text() for name in record} == record
    assert "NUM_ENSEMBLE_VIEWS: 1" in (first / "config_test.yaml").read_text()
    assert f"INPUT_VIDEO: {noise_data}" in (first / "config_demo.yaml").read_text()
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == [first.name]
    videos = tmp_path / "videos"
    shutil.copytree(noise_data, videos)
    (videos / "2.mp4").write_bytes((videos / "3.mp4").read_bytes() + b"0")
    status, _, err = run_net(*words, "DATA.PATH_PREFIX", videos)
    assert (status, "done already" in err) == (0, False)
    assert f"a new run, as the one in {first} is on other data: 24 {where}, data " in err
    assert f"here: 24 {where} with the files in {videos}, data " in err
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_start_that_fails_leaves_no_folder(run_net, noise_data, tmp_path):
    words = (*RGB, "DATA.PATH_TO_DATA_DIR", noise_data, *QUICK)
    (noise_data / "2.mp4").unlink()
    assert_mistake(run_net(*words), "1 of 16 video files are not in")
    assert list((tmp_path / "runs").iterdir()) == []


def test_undecodable_clips_are_named_and_counted(run_net, noise_data):
    for name in ("2.mp4", "17.mp4"):
        (noise_data / name).write_bytes(b"no video")
    arguments = (*RGB, "DATA.PATH_TO_DATA_DIR", noise_data, *QUICK)
    status, _, err = run_net(*arguments)
    assert status == 2
    assert "left out of training" in err
    assert "2.mp4" in err
    last = err.strip().splitlines()[-1]
    assert "1 clip(s) could not be read" in last
    assert "17.mp4: cannot be decoded" in last
    assert "TEST.ALLOW_MISSING True" in last
    (folder,) = (noise_data.parent / "runs").iterdir()
    assert not (folder / "results.json").exists()
    assert "17.mp4" in (folder / "missing_clips.csv").read_text()
    # Training is not done again.
    status, _, err = run_net(*arguments, "TEST.ALLOW_MISSING", True)
    assert (status, "train_iter_" in err) == (0, False), err
    text = (folder / "results.json").read_text()
    assert "17.mp4" in text
    assert "2.mp4" in text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_full_disk_while_saving(run_net, noise_data, monkeypatch):
    def full(state, path):
        with open("/dev/full", "wb") as disk:
            disk.write(b"x" * 10_000_000)

    monkeypatch.setattr(torch, "save", full)
    assert_mistake(
        run_net(*RGB, "DATA.PATH_TO_DATA_DIR", noise_data, *QUICK), "cannot write", "No space left", "free space"
    )


IMPORTED = """
import runpy, sys
{before}
sys.argv = ["run_net.py", *{words!r}]
try:
    runpy.run_path("tools/run_net.py", run_name="__main__")
except SystemExit:
    print(*sorted(sys.modules), sep=" ", file=sys.stderr)
"""


def imported(repo, words, before=""):
    """Names of the modules that an answer of the command line imports."""
    code = IMPORTED.format(before=before, words=words)
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def test_help_and_print_config_import_no_more_than_they_need(repo):
    helped = imported(repo, ["--help"])
    assert len(helped) < 200
    assert not {"torch", "numpy", "fvcore"} & helped
    printed = imported(repo, ["--cfg", "configs/MuscleSynth/transm3e.yaml", "--print-config"])
    torch_alone = imported(repo, ["--help"], "import torch")
    # Of torch itself only what it imports anyway, and beside it the configs and the models that they name.
    assert {name for name in printed - torch_alone if name.startswith("torch")} == set()
    assert len(printed - torch_alone) < 150
    packages = {name.split(".")[1] for name in printed if name.startswith("transm3e.")}
    assert not packages & {"data", "engine", "tasks", "report"}


def test_print_config_prints_every_run_and_makes_nothing(tmp_path):
    words = ("--cfg", "configs/MuscleSynth/transm3e.yaml", "--print-config", "RUNS_DIR", tmp_path / "runs")
    lines = [line.split()[1] for line in process_of(*words).stdout.splitlines() if line.startswith("# ")]
    assert lines == ["mcts_rgb", "mcts_rgb_diff", "transm3e"]
    assert not (tmp_path / "runs").exists()
    wrong = process_of(*words, "MODEL.MODEL_NAME", "TransM3", check=False)
    assert (wrong.returncode, "did you mean TransM3E?" in wrong.stderr) == (2, True)
