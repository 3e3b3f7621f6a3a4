"""The learning-rate finder: where the loss of a known problem falls, and on a run's data by the command line."""

import csv

import pytest
import torch

from tests.clips import make_noise_data
from tests.engine.test_train import CPU, FakeLoader, FakeTask
from tests.run_net import load_tool
from transm3e.engine.find_lr import Sweep, rising, sweep
from transm3e.engine.optim import Schedule
from transm3e.engine.precision import Precision
from transm3e.engine.settings import TrainSettings


def test_rates_rise_by_one_factor():
    rates = rising(1e-4, 1.0, 5)
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_the_sweep_trains_until_the_loss_diverges_and_suggests_a_rate_below(tmp_path):
    task = FakeTask(dropout=0.0, spoil=lambda batch, loss: loss * 10)
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    settings = TrainSettings(tmp_path, Schedule("constant", 0.1, 0.1, 1, 0, 0.1, True), max_epoch=1, accum_steps=2)
    found = sweep(task, FakeLoader(), optimizer, Precision(CPU, torch.float32), settings, rising(1e-4, 1e4, 60))
    assert 20 < len(found.rates) < 60
    assert min(found.smoothed) < 0.99 * found.smoothed[5]
    assert found.rates[6] < found.suggestion() < found.rates[-1]


def test_the_suggestion_is_the_steepest_fall():
    found = Sweep()
    for i, rate in enumerate(rising(1e-5, 1.0, 51)):
        # The steepest fall of tanh is at 0, here at 1e-3; the smoothed loss lags by some steps of 1.26.
        found.add(rate, 2 - torch.tensor((i - 20) / 5.0).tanh().item())
    assert 1e-3 <= found.suggestion() < 1e-2
    flat = Sweep(rising(1e-5, 1, 20), [1.0] * 20, [1.0] * 20)
    assert flat.suggestion() is None
    assert Sweep().add(0.1, float("nan"))


SMALL = ("DATA.NUM_FRAMES", 2, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "TRAIN.BATCH_SIZE", 2)


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Of a command in a folder with a config and its data."""
    monkeypatch.chdir(tmp_path)
    data = make_noise_data(tmp_path / "data")
    (tmp_path / "a.yaml").write_text(
        "MODEL: {MODEL_NAME: MViT}\nMVIT: {DEPTH: 2, EMBED_DIM: 8, POOL_Q_STRIDE: [[0, 1, 1, 1], [1, 1, 2, 2]], "
        "DIM_MUL: [[1, 2.0]], HEAD_MUL: [[1, 2.0]]}\n"
    )
    opts = ("NUM_GPUS", 0, "DATA_LOADER.NUM_WORKERS", 0, "DATA.PATH_TO_DATA_DIR", data, *SMALL)
    return ["--cfg", "a.yaml", "--steps", "12", *map(str, opts)]


def test_the_batch_of_several_gpus_is_not_divided(words, monkeypatch):
    tool = load_tool("find_lr")
    monkeypatch.setattr(tool, "select_device", lambda number: CPU)
    monkeypatch.setattr(tool, "sweep", lambda task, loader, *_: Sweep([loader.batch_size]))
    found, _ = tool.find(tool.parse_args([*words, "NUM_GPUS", "2"]))
    assert found.rates == [2]


def test_the_command_writes_a_figure_and_its_numbers(words, tmp_path, capsys):
    tool = load_tool("find_lr")
    assert tool.main(words) == 0
    out = capsys.readouterr().out
    assert "figure: find_lr.png" in out
    with (tmp_path / "find_lr.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert float(rows[0]["rate"]) == 1e-7
    assert (tmp_path / "find_lr.png").read_bytes()[1:4] == b"PNG"
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SystemExit) as caught:
        tool.main(["--cfg", "a.yaml", "--steps", "3"])
    assert caught.value.code == 2
