"""tools/benchmark.py from command line to files, and what it says to users' mistakes."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

from transm3e.benchmark import model
from transm3e.benchmark.memory import Peak

RGB = ("model", "--cfg", "configs/MuscleSynth/mcts_rgb.yaml")
SMALL = (
    *("DATA.NUM_FRAMES", "2", "DATA.TRAIN_CROP_SIZE", "32", "DATA.TEST_CROP_SIZE", "32", "MVIT.EMBED_DIM", "8"),
    *("--device", "cpu", "--threads", "1", "--repeats", "2", "--warmup", "1"),
)


@pytest.fixture
def benchmark(repo, monkeypatch, capsys):
    """Calls main() with words in place of sys.argv; returns (status, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("benchmark_tool", repo / "tools" / "benchmark.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(repo)
    monkeypatch.setattr(model, "cpu_peak", lambda request: Peak(2**20, "fake"))
    monkeypatch.setattr(model, "matrix_rate", lambda device, dtype: 1e9)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, words)])
        try:
            status = tool.main()
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_table_json_and_figure(benchmark, tmp_path):
    out = tmp_path / "a" / "b"
    status, shown, _ = benchmark(*RGB, *SMALL, "--against", "configs/MuscleSynth/mcts_rgb.yaml", "--out", out)
    assert status == 0
    assert (out / "model.md").read_text() == shown
    assert "| mcts_rgb (2) | 2x32x32 |" in shown
    values = json.loads((out / "model.json").read_text())
    assert values["command"][:2] == ["benchmark.py", "model"]
    assert [len(row["seconds"]) for row in values["measurements"]] == [2] * 4
    assert values["machine"]["threads"] == 1
    assert (out / "model.png").stat().st_size > 1000


def test_mistakes(benchmark, tmp_path):
    for words, message in [
        ((*RGB, "--against", "torchvision:resnet50"), "allowed: pytorchvideo:c2d_r50"),
        (("model", "--cfg", "configs/none.yaml"), "cannot read the config configs/none.yaml"),
        ((*RGB, "SOLVER.BASE_RL", "1"), "did you mean SOLVER.BASE_LR"),
        ((*RGB, "--precision", "fp16", "--device", "cpu"), "use --precision bf16"),
        (("model", "--cfg", "configs/MuscleSynth/random.yaml", "--device", "cpu"), "Random has no weights"),
    ]:
        status, _, err = benchmark(*words, "--out", tmp_path)
        assert status == 2
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert message in lines[0]
        assert "Traceback" not in err
        assert list(tmp_path.iterdir()) == []
