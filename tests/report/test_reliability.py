"""Cross-validation's figures, Platt scaling, and the weights that carry it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tools.calibrate import main
from transm3e.data.annotations import MUSCLES, Clip, write_clip_table
from transm3e.errors import UserError
from transm3e.metrics import mean_average_precision
from transm3e.metrics.calibration import apply_platt, expected_calibration_error, fit_platt
from transm3e.models.weights import read_checkpoint
from transm3e.report.scores import write_predictions
from transm3e.report.videos import _unreliable


def sample(clips=600, seed=0):
    """Labels drawn with known probabilities, of 19 muscles; the 20th never occurs."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.5, (clips, 20))
    labels = (rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(np.uint8)
    labels[:, 19] = 0
    return logit, labels


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_ece_is_the_distance_of_scores_from_shares():
    labels = np.array([[1], [0], [0], [0]])
    assert expected_calibration_error(np.full((4, 1), 0.25), labels) == 0
    assert expected_calibration_error(np.full((4, 1), 0.95), labels) == pytest.approx(0.7)
    assert expected_calibration_error(np.array([[1.0], [0.0], [0.0], [0.0]]), labels) == 0


def test_platt_finds_the_slope_and_biases_that_scores_were_bent_by():
    logit, labels = sample(4000)
    bent = sigmoid(2 * logit + 1)
    slope, biases = fit_platt(bent, labels)
    assert slope == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(biases[:19], -0.5, atol=0.25)
    assert biases[19] == 0
    before, after = (
        expected_calibration_error(s[:, :19], labels[:, :19]) for s in (bent, apply_platt(bent, slope, biases))
    )
    assert before > 0.1 > 0.02 > after


@pytest.fixture
def folds(tmp_path):
    logit, labels = sample()
    for fold in range(3):
        part = slice(200 * fold, 200 * (fold + 1))
        folder = tmp_path / f"fold{fold}" / "predictions"
        folder.mkdir(parents=True)
        names = [f"c{n}" for n in range(part.start, part.stop)]
        write_predictions(folder / "new_val.npz", sigmoid(2 * logit[part] + 1), labels[part], names, "new_val")
    write_clip_table(tmp_path / "clips.csv", [Clip(f"c{n}", "train", f"family{n // 4}", (0,)) for n in range(600)])
    return tmp_path, sigmoid(2 * logit + 1), labels


def test_folds_become_reliability_and_calibrated_weights(folds, capsys):
    root, scores, labels = folds
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 20))
    torch.save({"model_state": model.state_dict(), "cfg": ""}, root / "in.pyth")
    runs = [str(root / f"fold{n}") for n in range(3)]
    out = ["--table", str(root / "clips.csv"), "--out", str(root / "found.json")]
    out += ["--picture", str(root / "found.png")]
    assert main([*runs, *out, "--checkpoint", str(root / "in.pyth"), "--weights", str(root / "out.pyth")]) == 0
    assert (root / "found.png").read_bytes()[:4] == b"\x89PNG"
    found = json.loads((root / "found.json").read_text())
    assert found["mAP"] == pytest.approx(mean_average_precision(scores, labels), abs=1e-4)
    assert found["interval_95"][0] < found["mAP"] < found["interval_95"][1]
    assert found["ece_calibrated"] < 0.05 < found["ece"]
    assert [name for name, muscle in found["muscles"].items() if not muscle["known"]] == [MUSCLES[19]]
    n, positives = len(labels), labels[:, 0].sum()
    harmonic = (1 / np.arange(1, n + 1)).sum()  # the exact mean over all orders, see random_average_precision
    expected = (harmonic + (positives - 1) * (n - harmonic) / (n - 1)) / n
    assert found["muscles"][MUSCLES[0]]["random"] == pytest.approx(expected, abs=0.004)
    x = torch.rand(5, 4)
    state = read_checkpoint(root / "out.pyth")["model_state"]
    hidden = model[0](x)
    given = hidden @ state["1.weight"].T + state["1.bias"]
    expected = found["slope"] * model(x) + torch.tensor(found["biases"])
    torch.testing.assert_close(given, expected)


def test_what_is_no_cross_validation_is_refused(folds, capsys):
    root, *_ = folds
    rest = ["--table", str(root / "clips.csv"), "--out", str(root / "found.json")]
    for runs, words in (
        (["fold0"], "one run is not a cross-validation"),
        (["fold0", "fold0"], "in two of these runs' folds"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*(str(root / run) for run in runs), *rest])
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
    assert not (root / "found.json").exists()


def test_which_muscles_the_shipped_weights_do_not_know(repo, tmp_path):
    shipped = repo / "datasets/annotations/free_exercise_posenet.json"
    assert _unreliable(shipped, MUSCLES) == ["neck_and_head", "obliques", "feet_ankles", "wrists"]
    assert _unreliable(tmp_path / "none.json", MUSCLES) == []
    for text in ("[]", '{"muscles": {"chest": {}}}', "{"):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(UserError, match=r"other\.json: not a report of tools/calibrate\.py"):
            _unreliable(tmp_path / "other.json", MUSCLES)
