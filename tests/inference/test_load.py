"""transm3e.load and predict: the scores of run_net's DEMO, of files and arrays; mistakes are told in one line."""

from __future__ import annotations

import csv
import doctest
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

import transm3e
from tests.run_net import run_net_here
from transm3e.data import build_loader
from transm3e.data.annotations import MUSCLES
from transm3e.data.backends import open_source
from transm3e.errors import UserError
from transm3e.models import MODELS

WORDS = (
    *("--cfg", "configs/MuscleSynth/c2d.yaml", "SOLVER.MAX_EPOCH", 1, "DATA_LOADER.NUM_WORKERS", 0, "NUM_GPUS", 0),
    *("DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 2, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32),
    *("TEST.NUM_ENSEMBLE_VIEWS", 2, "TENSORBOARD.ENABLE", False, "RESNET.WIDTH_PER_GROUP", 8, "TRAIN.BATCH_SIZE", 8),
)
PUBLIC = ("transm3e", "transm3e.inference.predictor", "transm3e.inference.scores")


@pytest.fixture
def run(noise_data, tmp_path):
    """(folder of a trained run, scores.csv by DEMO)."""
    out = ("OUTPUT_DIR", tmp_path / "run", "DEMO.ENABLE", True, "DEMO.INPUT_VIDEO", noise_data)
    run_net_here(*WORDS, "DATA.PATH_TO_DATA_DIR", noise_data, *out)
    return tmp_path / "run"


def test_scores_are_those_of_demo(run, noise_data):
    with (run / "scores.csv").open(newline="", encoding="utf-8") as lines:
        demo = {row["clip"]: row for row in csv.DictReader(lines)}
    model = transm3e.load(run, device="cpu")
    of_folder = model.predict(noise_data)
    assert set(of_folder.clips) == set(demo)
    for one in of_folder:
        known = {name: f"{v:.6f}" for name, v in zip(one.columns, one.values, strict=True) if name not in model.unknown}
        assert known == {name: demo[one.clips[0]][name] for name in known}
        assert {demo[one.clips[0]][name] for name in model.unknown} <= {""}
    # A file alone, its frames as an array, and a list of both, in their order.
    frames = open_source(noise_data / "3.mp4").frames(range(8))
    listed = model.predict([noise_data / "3.mp4", frames, noise_data / "1.mp4", noise_data / "3.mp4"])
    number = of_folder.clips.index
    np.testing.assert_allclose(listed.values[[0, 2]], of_folder.values[[number("3.mp4"), number("1.mp4")]], atol=1e-6)
    np.testing.assert_array_equal(listed.values[3], listed.values[0])
    np.testing.assert_allclose(listed.values[1], listed.values[0], atol=1e-6)
    # A checkpoint says the same as its run, and a loader's batches can be scored.
    checkpoint = transm3e.load(next((run / "checkpoints").glob("*.pyth")), device="cpu")
    np.testing.assert_array_equal(checkpoint.predict(frames).values, model.predict(frames).values)
    batch = next(iter(build_loader(model.cfg, "known_val")))
    assert model(batch.clips).logits.shape == (len(batch), 20)
    # A file that cannot be read is named among several, and refused alone.
    (noise_data / "broken.mp4").write_bytes(b"no video")
    some = model.predict([noise_data / "broken.mp4", noise_data / "1.mp4"])
    assert np.isnan(some.values[0]).all()
    assert not np.isnan(some.values[1]).any()
    assert [*some.failed] == [str(noise_data / "broken.mp4")]
    with pytest.raises(UserError, match=r"broken\.mp4: "):
        model.predict(noise_data / "broken.mp4")
    assert len(some.top(3)[1]) == 3
    drawn = some[1:].show()
    assert drawn._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (np.zeros((8, 32, 32), np.uint8), r"shape \(8, 32, 32\); allowed: \(T, H, W, 3\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), "at least one"),
        (np.zeros((8, 32, 32, 3), np.float32), "float32; allowed: uint8"),
        ("missing.mp4", "no such file"),
        ([], "no clips"),
        ([None], "NoneType"),
    ],
)
def test_mistakes(clip, words):
    with pytest.raises(UserError, match=words):
        transm3e.load("configs/MuscleSynth/all_ones.yaml").predict(clip)


def test_arrays_without_what_the_model_reads():
    clip = np.zeros((8, 32, 32, 3), np.uint8)
    ones = "configs/MuscleSynth/all_ones.yaml"
    with pytest.raises(UserError, match="reads skeleton, which array 0 does not have"):
        transm3e.load(ones, ["DATA.MODALITY", "skeleton"]).predict(clip)
    timed = transm3e.load(ones, ["DATA.TARGET_FPS", 5.0])
    with pytest.raises(UserError, match="pass fps="):
        timed.predict(clip)
    assert timed.predict(clip, fps=10).values.shape == (1, 20)


def test_sources_that_are_no_model(tmp_path):
    for source, words in ((tmp_path, "no run folder"), ("x.yaml", "no config at"), ("x.txt", "not a run folder")):
        with pytest.raises(UserError, match=words):
            transm3e.load(source)
    with pytest.raises(UserError, match="unknown; allowed: cpu"):
        transm3e.load("configs/MuscleSynth/all_ones.yaml", device="gpu")


def test_models_can_be_listed():
    assert len(MODELS) == len([*MODELS])
    assert "TransM3E" in MODELS
    assert "TransM3E" in repr(MODELS)


@pytest.mark.parametrize("name", PUBLIC)
def test_examples(name):
    found = doctest.testmod(import_module(name))
    assert found.attempted
    assert not found.failed


def test_importing_it_is_light():
    code = "import transm3e, sys; assert 'torch' not in sys.modules; transm3e.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    scores = transm3e.Scores(("a",), MUSCLES, np.ones((1, 20), np.float32), unknown=("chest",))
    frame = scores.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.isna().to_numpy().sum() == 1
