"""LOG.BACKENDS: packages that are not there are refused, those that fail are left out; wandb and mlflow by stand-ins."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from transm3e.config import get_cfg
from transm3e.engine import writers
from transm3e.engine.logging import Recorder
from transm3e.errors import UserError


class Calls(ModuleType):
    """A module that keeps what is called in it; `given` are its attributes."""

    def __init__(self, name, **given):
        super().__init__(name)
        self.calls = []
        vars(self).update(given)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **named: self.calls.append((name, args, named))


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "training.png"
    cv2.imwrite(str(file), np.full((4, 6, 3), (0, 0, 255), np.uint8))
    return file


def write(folder, picture, name):
    recorder = Recorder(folder, [name])
    recorder.text("config", "A: 1")
    recorder.record({"_type": "train_iter_", "loss": 0.5, "lr": 0.1, "epoch": "1/2"}, 7)
    recorder.figure(picture, 2)
    recorder.weights({"head.weight": torch.ones(3), "n": torch.ones(1, dtype=torch.int64)}, [""], 2)
    recorder.close()


def test_wandb_gets_everything_and_a_resumed_run_goes_on(tmp_path, picture, monkeypatch):
    run = Calls("run", config=Calls("config"), id="k7")
    wandb = Calls("wandb", init=lambda **named: wandb.calls.append(named) or run)
    wandb.Image, wandb.Histogram = (lambda file: ("image", file)), lambda values: ("histogram", values.tolist())
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    write(tmp_path, picture, "wandb")
    write(tmp_path, picture, "wandb")
    assert [(o["id"], o["resume"], o["project"]) for o in wandb.calls] == [
        (None, "allow", "transm3e"),
        ("k7", "allow", "transm3e"),
    ]
    logged = [args[0] for name, args, _ in run.calls if name == "log"]
    assert logged[: len(logged) // 2] == [
        {"Train/loss": 0.5, "Train/lr": 0.1, "step": 7},
        {"training": ("image", str(picture)), "step": 2},
        {"Weights/head.weight": ("histogram", [1.0, 1.0, 1.0]), "step": 2},
    ]
    assert run.config.calls[0][1] == ({"config": "A: 1"},)
    assert run.calls[-1][0] == "finish"


def test_mlflow_gets_scalars_text_and_figures_in_one_run(tmp_path, picture, monkeypatch):
    def start_run(**named):
        mlflow.calls.append(("start_run", (), named))
        return SimpleNamespace(info=SimpleNamespace(run_id="17"))

    mlflow = Calls("mlflow", start_run=start_run)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write(tmp_path, picture, "mlflow")
    write(tmp_path, picture, "mlflow")
    starts = [named["run_id"] for name, _, named in mlflow.calls if name == "start_run"]
    assert starts == [None, "17"]
    assert ("set_tracking_uri", ((tmp_path / "mlruns").as_uri(),), {}) in mlflow.calls
    assert ("log_metrics", ({"Train/loss": 0.5, "Train/lr": 0.1},), {"step": 7}) in mlflow.calls
    assert ("log_text", ("A: 1", "config.txt"), {}) in mlflow.calls
    assert ("log_artifact", (str(picture),), {}) in mlflow.calls
    assert mlflow.calls[-1][0] == "end_run"


def test_tensorboard_gets_the_figure_in_its_colours(tmp_path, picture):
    write(tmp_path, picture, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0}).Reload()
    [image] = events.Images("training")
    pixels = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert (image.step, pixels[0, 0].tolist()) == (2, [0, 0, 255])


def test_a_backend_that_fails_is_left_out_with_one_warning(tmp_path, picture, monkeypatch, caplog):
    class Full(writers.Csv):
        def scalars(self, values, step):
            raise OSError(28, "No space left on device")

    monkeypatch.setitem(writers.WRITERS, "csv", Full)
    write(tmp_path, picture, "csv")
    assert caplog.text.count("no more logs to csv in this run: [Errno 28] No space left on device") == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_not_installed_is_named_before_training(name, monkeypatch):
    cfg = get_cfg()
    cfg.LOG.BACKENDS = ["csv", name]
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(
        UserError, match=f"^LOG.BACKENDS names {name}, but the package {name} is not installed; run pip"
    ):
        writers.check_backends([cfg])


def test_tensorboard_is_off_where_its_own_key_says_so():
    cfg = get_cfg()
    cfg.LOG.BACKENDS, cfg.TENSORBOARD.ENABLE = ["csv", "tensorboard"], False
    assert writers.backends_of(cfg) == ("csv",)
