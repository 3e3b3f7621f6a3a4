"""tools/show_batch.py from command line to figures, and what it says to users' mistakes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import cv2
import pytest
import torch

from transm3e.config import load_cfg
from transm3e.layers.mlp import Mlp
from transm3e.models import build_model

RGB, STUDENT = "configs/MuscleSynth/mcts_rgb.yaml", "configs/MuscleSynth/transm3e.yaml"
SMALL = (
    *("TRAIN.BATCH_SIZE", 4, "TEST.BATCH_SIZE", 3, "DATA.NUM_FRAMES", 2, "DATA.SAMPLING_RATE", 2),
    *("DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32),
)


@pytest.fixture
def show_batch(repo, monkeypatch, capsys, tmp_path, noise_data):
    """Calls main() on the noise data; returns (status, printed paths below --out, stderr)."""
    spec = importlib.util.spec_from_file_location("show_batch", repo / "tools" / "show_batch.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(repo)
    folder = tmp_path / "out"

    def call(*words):
        try:
            status = tool.main([*map(str, words), "DATA.PATH_TO_DATA_DIR", str(noise_data), "RUNS_DIR", str(folder)])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    call.folder = folder
    return call


def test_modalities_between_options_and_keys(show_batch):
    options = ("--out", show_batch.folder / "deep", "--clips", 1, "--modalities", "rgb", "rgb_diff")
    status, files, err = show_batch("--cfg", RGB, *options, *SMALL)
    assert status == 0, err
    assert files == [str(show_batch.folder / "deep" / f"batch_{name}.png") for name in ("rgb", "rgb_diff")]
    # One row of two frames: the figure is wider than high.
    height, width = cv2.imread(files[0]).shape[:2]
    assert 300 < height < width


def test_a_student_is_shown_with_its_teacher_in_training_alone(show_batch):
    status, files, err = show_batch("--cfg", STUDENT, *SMALL)
    assert status == 0, err
    assert files == [str(show_batch.folder / "batch" / f"batch_{name}.png") for name in ("rgb", "rgb_diff")]
    status, files, _ = show_batch("--cfg", STUDENT, *SMALL, "--split", "known_val")
    assert (status, len(files)) == (0, 1)


@pytest.mark.parametrize("task", ["classify", "har_lookup"])
def test_activities_are_shown_by_name(show_batch, task, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "transm3e.report.batch_figure._draw_rows", lambda screen, titles, *_, **__: shown.append(titles) or 1 / 0
    )
    words = (
        "--cfg",
        RGB,
        *SMALL,
        "MODEL.LOSS_FUNC=cross_entropy",
        "MODEL.NUM_CLASSES=3",
        f"TASK={task}",
        "MIXUP.ENABLE=True",
    )
    with pytest.raises(ZeroDivisionError):
        show_batch(*words)
    assert all("\nactivity " in title for title in shown[0])


def test_broken_clips_are_named(show_batch, noise_data):
    (noise_data / "16.mp4").write_text("no video")
    status, files, err = show_batch("--cfg", RGB, "--split", "known_val", *SMALL, "TEST.BATCH_SIZE=4")
    assert (status, len(files)) == (0, 1)
    assert "left out: 16.mp4: " in err


def test_a_nan_in_training_is_replayed_from_what_the_run_has_saved(
    run_net, show_batch, noise_data, tmp_path, monkeypatch
):
    """The module that was made to give NaN is named, though what the run started from is gone."""

    def unstable(self, x, *args):
        out = forward(self, x, *args)
        return out * float("nan") if self.training else out

    forward = Mlp.forward
    start = write_start(tmp_path)
    monkeypatch.setattr(Mlp, "forward", unstable)
    words = (*SMALL, "DATA.PATH_TO_DATA_DIR", noise_data, "TRAIN.CHECKPOINT_FILE_PATH", start, "MIXUP.ENABLE", True)
    status, _, err = run_net("--cfg", RGB, *words, "DATA_LOADER.NUM_WORKERS", 0, "NUM_GPUS", 0)
    assert status == 2, err
    assert "the loss is nan in epoch 1, step 1, with the clips " in err
    file = re.search(r"replayed by python tools/show_batch\.py --bad (\S+bad_batch_rank_0\.pt);", err)[1]
    start.unlink()
    status, lines, err = show_batch("--bad", file)
    assert status == 0, err
    assert lines[0] == "the loss was nan in epoch 1, step 1, on rank 0"
    assert lines[2].startswith("first output that is not finite: model.backbone.blocks.0.mlp (Mlp), ")
    assert lines[2].endswith("; what it reads is finite")
    assert lines[-1] == str(Path(file).parent / "bad_batch" / "batch_rgb.png")
    monkeypatch.setattr(Mlp, "forward", forward)
    assert "all values are finite here" in show_batch("--bad", file)[1][1]
    status, _, err = show_batch("--bad", file, "MVIT.MLP_RATIO", 3.0)
    assert (status, "bad_weights.pyth does not fit this config" in err) == (2, True)


def write_start(folder):
    cfg = load_cfg(RGB, [str(word) for word in SMALL])
    torch.save({"model_state": build_model(cfg).state_dict()}, folder / "start.pyth")
    return folder / "start.pyth"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bad", "absent.pt"), "no file absent.pt"),
        (("--bad", "a.pt", "--cfg", RGB), "not allowed with argument"),
        ((), "one of the arguments --cfg --bad is required"),
        (("--cfg", RGB, "--modalities", "rbg"), "unknown modality 'rbg'; allowed: rgb, rgb_diff, rgb_motion, flow"),
        (("--cfg", RGB, "--modalities", "skeleton"), "have nothing in the column skeleton"),
        (("--cfg", RGB, "--step", 4), "steps are 0 to 3"),
        (("--cfg", RGB, "--clips", 0), "allowed: 1 to 64"),
        (("--cfg", RGB, "SOLVER.BASE_RL", "1"), "did you mean SOLVER.BASE_LR"),
        (("--cfg", RGB, RGB), "one config at a time"),
        (("--cfg", RGB, "--step", "two"), "invalid int value"),
        (("--cfg", RGB, "--frobnicate"), "unknown option --frobnicate"),
    ],
)
def test_mistakes(show_batch, words, message):
    status, files, err = show_batch(*words, *SMALL)
    assert (status, files) == (2, [])
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
