"""Exported models give the model's scores: every registered model in ONNX, some in torch's formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import transm3e
from tests.run_net import load_tool
from tests.test_every_model import TINY, of_each_model, stirred  # noqa: F401 (a fixture)
from transm3e.errors import UserError
from transm3e.inference import export as exporting
from transm3e.inference.export import export, random_clips
from transm3e.inference.onnx_task import OnnxTask
from transm3e.models import MODELS, build_model
from transm3e.tasks.build import build_classify

ONES = "configs/MuscleSynth/all_ones.yaml"
# One of each registered model; Random has none to export.
ONE_OF_EACH = {TINY[name][1].split()[0]: name for name in TINY if name != "Random"}


def task_of(cfg):
    """A task whose logits are around 1: with larger ones scores are 0 and 1, and nothing behind them would be seen."""
    torch.manual_seed(0)
    task = build_classify(cfg, stirred(build_model(cfg)).eval())
    names = [name for name in ("skeleton", "rgb") if name in random_inputs(cfg)]
    clips = random_inputs(cfg)
    with torch.no_grad():
        logits = task.model(task.inputs(clips)).logits
        head = getattr(task.model, "head", None)
        if names == ["skeleton"] and isinstance(head, torch.nn.Linear):
            head.weight /= logits.std()
            head.bias.zero_()
    return task


def random_inputs(cfg):
    return random_clips(cfg, exporting.stored_modalities(cfg, training=False), 2)


def test_every_model_in_onnx(of_each_model, tiny_cfg, tmp_path):  # noqa: F811
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    seen = set()

    def rule(cfg):
        name = cfg.MODEL.MODEL_NAME
        if name in seen or name == "Random":
            return
        seen.add(name)
        assert export(cfg, task_of(cfg), tmp_path / f"{name}.onnx", "onnx") <= 1e-4

    of_each_model(rule)
    assert seen == set(MODELS) - {"Random"} == set(ONE_OF_EACH)


@pytest.mark.parametrize("to", ["torch_export", "torchscript"])
def test_formats_of_torch(tiny_cfg, tmp_path, to):
    assert export(tiny_cfg, task_of(tiny_cfg), tmp_path / "x.pt2", to) <= 1e-5


def test_a_file_that_differs_is_not_left(tiny_cfg, tmp_path):
    with pytest.raises(UserError, match="differs from the model"):
        export(tiny_cfg, task_of(tiny_cfg), tmp_path / "x.pt", "torchscript", tolerance=-1.0)
    assert [*tmp_path.iterdir()] == []


def test_loading_and_precisions(tiny_cfg, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    task, sizes = task_of(tiny_cfg), {}
    for precision in ("float32", "fp16", "int8"):
        file = tmp_path / f"{precision}.onnx"
        export(tiny_cfg, task, file, "onnx", precision)
        sizes[precision] = len(file.read_bytes())
    assert sizes["fp16"] < sizes["float32"]
    clip = np.random.default_rng(0).integers(0, 256, (16, 40, 48, 3), dtype=np.uint8)
    there = transm3e.load(tmp_path / "float32.onnx")
    assert isinstance(there.task, OnnxTask)
    here = transm3e.Predictor(there.cfg, task, torch.device("cpu"), ())
    np.testing.assert_allclose(there.predict(clip).values, here.predict(clip).values, atol=1e-5)
    with pytest.raises(UserError, match="has scores only"):
        there({})


def test_the_tool(tmp_path, capsys):
    tool, out = load_tool("export"), tmp_path / "ones.pt"
    words = ["--cfg", ONES, "DATA.NUM_FRAMES", "4", "--to", "torchscript", "--out", str(out)]
    assert tool.main(words) == 0
    assert "scores differ by 0.0e+00" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        tool.main(words)
    assert end.value.code == 2
    assert "add --force" in capsys.readouterr().err
    assert Path(out).is_file()
