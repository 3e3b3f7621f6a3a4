"""tools/explain.py and tools/compare_to_reference.py on noise: every file they name, and one line for what cannot be."""

import csv
import importlib.util

import pytest
import torch

from tests.clips import make_noise_data
from transm3e.config import load_cfg
from transm3e.models import build_model

CONFIG = """
NUM_GPUS: 0
MODEL: {MODEL_NAME: TransM3E}
TRANSM3E: {NUM_MCTS: 3}
TRAIN: {ENABLE: False}
DATA: {NUM_FRAMES: 4, SAMPLING_RATE: 1, TRAIN_CROP_SIZE: 32, TEST_CROP_SIZE: 32, TARGET_FPS: 0.0}
DATA_LOADER: {NUM_WORKERS: 0}
MVIT:
  EMBED_DIM: 16
  NUM_HEADS: 1
  DEPTH: 2
  DIM_MUL: [[1, 2.0]]
  HEAD_MUL: [[1, 2.0]]
  POOL_Q_STRIDE: [[0, 1, 1, 1], [1, 1, 2, 2]]
  POOL_KV_STRIDE_ADAPTIVE: [1, 2, 2]
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """--cfg and its opts, of an untrained model on noise."""
    root = tmp_path_factory.mktemp("explained")
    (root / "a.yaml").write_text(CONFIG)
    data = make_noise_data(root / "data")
    cfg = load_cfg(root / "a.yaml")
    torch.save({"model_state": build_model(cfg).state_dict(), "cfg": cfg.dump()}, root / "w.pyth")
    opts = ["DATA.PATH_TO_DATA_DIR", data, "TEST.CHECKPOINT_FILE_PATH", root / "w.pyth", "RUNS_DIR", root / "runs"]
    return [str(word) for word in ["--cfg", root / "a.yaml", *opts]], data


def tool(repo, name):
    spec = importlib.util.spec_from_file_location(f"{name}_tool", repo / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_what_scores_rest_on(repo, words, tmp_path, capsys):
    (cfg, data), main = words, tool(repo, "explain")
    assert main([*cfg, "--out", str(tmp_path), "--clips", "2", "--method", "rollout"]) == 0
    files = ["clips.png", "deletion.png", "tokens.png"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in files]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in files)
    assert main([*cfg, "--out", str(tmp_path), "--video", str(data / "0.mp4"), "--muscle", "biceps"]) == 0
    assert (tmp_path / "0.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("words_after", "message"),
    [
        (["--muscle", "nose"], "--muscle nose is unknown; allowed: neck_and_head"),
        (["--method", "joints"], "--method joints does not go with TransM3E, a model of rgb; allowed: gradcam"),
        (["--video", "none.mp4"], "none.mp4: no such file"),
        (["TEST.THRESHOLD", "2"], "TEST.THRESHOLD is 2"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(repo, words, tmp_path, capsys, words_after, message):
    with pytest.raises(SystemExit) as end:
        tool(repo, "explain")([*words[0], "--out", str(tmp_path / "out"), *words_after])
    assert end.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: {message}"), error
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_an_execution_is_compared(repo, words, tmp_path, capsys):
    (cfg, data), main = words, tool(repo, "compare_to_reference")
    video = str(data / "0.mp4")
    assert main([*cfg, "--video", video, "--good", video, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("unexpected: none; missing: none\n")
    rows = list(csv.DictReader((tmp_path / "deviations.csv").open(encoding="utf-8")))
    assert {float(row["difference"]) for row in rows} == {0}
    assert {file.name for file in tmp_path.iterdir()} == {"deviations.csv", "difference.png", "0.mp4"}
    # An untrained model gives every muscle about a half.
    assert (
        main([*cfg, "--video", video, "--activity", "activity 0", "--out", str(tmp_path), "TEST.THRESHOLD", "0.9"]) == 0
    )
    assert "missing: neck and head, " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*cfg, "--video", video, "--activity", "plank", "--out", str(tmp_path / "none")])
    assert "has no activity plank; allowed: activity 0" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
