"""Figures: drawn from whatever splits there are, without touching a caller's matplotlib."""

import subprocess
import sys

import cv2
import matplotlib
import numpy as np
import pytest

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.report import figures as drawing
from transm3e.report.figures import muscle_bars, training_curves
from transm3e.runs.results import split_result, summarise


def results(*splits, empty=()):
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 20)) < 0.4).astype(np.uint8)
    labels[:, [MUSCLES.index(muscle) for muscle in empty]] = 0
    return summarise({split: split_result(rng.normal(size=(50, 20)) + labels, labels) for split in splits})


@pytest.fixture
def figures(monkeypatch):
    """The figures a function draws, kept for a look inside."""
    drawn, make = [], drawing.new_figure
    monkeypatch.setattr(drawing, "new_figure", lambda *size: drawn.append(make(*size)) or drawn[-1])
    return drawn


def bars(axes):
    """{legend label: bar lengths from top to bottom}"""
    return {c.get_label(): [bar.get_width() for bar in c] for c in axes.containers}


def test_bars_are_the_average_precisions(tmp_path, figures):
    drawn = results("known_val", "new_val", "known_test", "new_test")
    drawn["run"] = {"model": "TransM3E-S", "dataset": "MuscleSynth"}
    muscle_bars(drawn, tmp_path / "bars.png")
    (figure,) = figures
    assert figure.get_suptitle() == "TransM3E-S on MuscleSynth"
    for axes, kind, splits in zip(
        figure.axes, ("Validation", "Test"), (("known_val", "new_val"), ("known_test", "new_test")), strict=True
    ):
        for split, label in zip(splits, ("known activities", "new activities"), strict=True):
            expected = [100 * ap for ap in drawn["splits"][split]["per_muscle"].values()]
            assert bars(axes)[label] == pytest.approx(expected)
        assert axes.get_title().startswith(f"{kind}: mAP known {100 * drawn['splits'][splits[0]]['mAP']:.1f}")
    image = cv2.imread(str(tmp_path / "bars.png"))
    assert min(image.shape[:2]) > 1000
    # The two colours of the bars cover a good part of the figure.
    for colour in ((0xB2, 0x72, 0x00), (0x00, 0x9F, 0xE6)):
        assert (image == colour).all(axis=2).mean() > 0.05


def test_diamonds_are_the_shares_of_clips(tmp_path, figures):
    drawn = results("known_test")
    muscle_bars(drawn, tmp_path / "bars.png")
    (axes,) = figures[0].axes
    (diamonds,) = axes.lines
    shares = [100 * n / 50 for n in drawn["splits"]["known_test"]["positives"].values()]
    assert diamonds.get_xdata() == pytest.approx(shares)


def test_muscles_without_a_positive_are_named_and_have_no_bar(tmp_path, figures):
    muscle_bars(results("new_test", empty=["wrists", "chest"]), tmp_path / "bars.png")
    (axes,) = figures[0].axes
    notes = [text for text in axes.texts if text.get_text() == "no clip"]
    assert sorted(text.get_position()[1] for text in notes) == [MUSCLES.index("chest"), MUSCLES.index("wrists")]
    assert len(bars(axes)["new activities"]) == 18


@pytest.mark.parametrize("suffix", ["pdf", "svg"])
def test_other_formats(tmp_path, suffix):
    training_curves([{"epoch": 1, "loss": 0.5}], tmp_path / f"c.{suffix}")
    assert (tmp_path / f"c.{suffix}").read_bytes()[:4] in (b"%PDF", b"<?xm")


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(UserError, match="no split of the results has an mAP"):
        muscle_bars(summarise({"known_val": split_result(np.zeros((0, 20)), np.zeros((0, 20)))}), tmp_path / "b.png")
    with pytest.raises(UserError, match="no epoch is finished"):
        training_curves([], tmp_path / "c.png")
    with pytest.raises(UserError, match=r"allowed: .png, .pdf, .svg"):
        training_curves([{"epoch": 1, "loss": 0.5}], tmp_path / "c.bmp")
    assert not list(tmp_path.iterdir())


def test_curves_skip_epochs_without_validation(tmp_path, figures):
    records = [
        {"epoch": 2, "loss": 0.4, "known_val": None, "new_val": 0.3},
        {"epoch": 1, "loss": 0.7, "known_val": 0.5, "new_val": 0.4},
        {"epoch": 3, "loss": 0.3, "known_val": 0.6},
    ]
    training_curves(records, tmp_path / "c.png")
    loss, maps = figures[0].axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 0.7], [2, 0.4], [3, 0.3]]
    known, new = maps.lines
    assert known.get_xydata().tolist() == [[1, 50], [3, 60]]
    assert new.get_xydata().tolist() == [[1, 40], [2, 30]]
    assert known.get_label() == "known val (best 60.0 at 3)"


def test_curves_show_every_loss_and_the_learning_rate(tmp_path, figures):
    records = [
        {"epoch": e, "loss": 1 / e, "loss_class": 0.5, "val_loss": 0.7, "known_val": 0.5, "lr": 0.1 * e} for e in (1, 2)
    ]
    training_curves(records, tmp_path / "c.png")
    losses, _, rate = figures[0].axes
    assert [line.get_label() for line in losses.lines] == ["loss", "loss class", "val loss"]
    assert rate.lines[0].get_xydata().tolist() == [[1, 0.1], [2, 0.2]]


def test_the_callers_matplotlib_is_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    muscle_bars(results("known_val"), tmp_path / "b.png")
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys, transm3e.report.figures as p; assert 'matplotlib' not in sys.modules;"
        f"p.training_curves([{{'epoch': 1, 'loss': 0.5}}], {str(tmp_path / 'c.png')!r});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
