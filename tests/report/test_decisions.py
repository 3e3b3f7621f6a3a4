"""Decisions at a threshold against scikit-learn and by hand; figures of a run's errors."""

import csv

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from transm3e.data.annotations import MUSCLES
from transm3e.metrics.decisions import co_activation, cross_entropy
from transm3e.report.decisions import Scored, at_threshold, draw_decisions, find_mistakes


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 20)) < 0.3).astype(np.uint8)
    scores = (0.6 * rng.random((60, 20)) + 0.4 * labels * rng.random((60, 20))).astype(np.float32)
    labels[:, 3] = 0  # never shown
    scores[:, 4] = 0.1  # never predicted
    scores[:, 3] = 0.1
    return scores, labels


def test_precision_recall_and_f1_are_scikit_learns(drawn):
    scores, labels = drawn
    found = at_threshold(scores, labels, MUSCLES, 0.5)
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        for column, muscle in enumerate(MUSCLES):
            theirs = score(labels[:, column], scores[:, column] >= 0.5, zero_division=np.nan)
            assert found[name][muscle] == (None if np.isnan(theirs) else pytest.approx(theirs)), (name, muscle)
    assert [found[name][MUSCLES[3]] for name in ("precision", "recall", "f1")] == [None, None, None]
    assert [found[name][MUSCLES[4]] for name in ("precision", "recall", "f1")] == [None, 0, 0]
    assert found["macro_f1"] == pytest.approx(np.mean([v for v in found["f1"].values() if v is not None]))


def test_calibration_error_is_that_of_scikit_learns_curve(drawn):
    scores, labels = drawn
    seen, predicted = calibration_curve(labels.ravel(), scores.ravel(), n_bins=10)
    counts = np.histogram(scores, 10, (0, 1))[0]
    theirs = (np.abs(seen - predicted) * counts[counts > 0]).sum() / scores.size
    assert at_threshold(scores, labels, MUSCLES, 0.5)["ece"] == pytest.approx(theirs, abs=1e-7)
    assert at_threshold(scores + 1, labels, MUSCLES, 0.5)["ece"] is None
    assert at_threshold(scores[:0], labels[:0], MUSCLES, 0.5)["macro_f1"] is None


def test_cross_entropy_is_scikit_learns(drawn):
    scores, labels = drawn
    theirs = [log_loss(y, p.astype(float), labels=[0, 1]) for p, y in zip(scores, labels, strict=True)]
    np.testing.assert_allclose(cross_entropy(scores, labels), theirs, rtol=1e-6)


def test_co_activation_counts_pairs():
    labels = np.array([[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(co_activation(labels, labels), [[1, 0.5, 0], [1, 1, 0], [np.nan] * 3])


def test_mistakes_are_named_worst_first():
    scores = np.array([[0.9, 0.1], [0.01, 0.8]])
    labels = np.array([[1, 0], [1, 0]])
    worst, best = find_mistakes({"new_val": Scored(scores, labels, ["a", "b"], ("x", "y"))}, 0.5)
    assert (worst.clip, worst.missed, worst.false) == ("b", ["x"], ["y"])
    assert (best.clip, best.missed, best.false) == ("a", [], [])
    # Activities: the highest score counts, and clips of no class are left out.
    classes = Scored(np.array([[0.4, 0.3, 0.3], [0.2, 0.5, 0.3]]), np.array([[0, 0, 1], [0, 0, 0]]), ["a", "b"], "xyz")
    assert find_mistakes({"new_val": classes}, None)[0][:2] == ("new_val", "a")
    assert [(m.missed, m.false) for m in find_mistakes({"new_val": classes}, None)] == [(["z"], ["x"])]


def test_figures_of_muscles_and_of_activities(drawn, tmp_path):
    scores, labels = drawn
    of = Scored(scores, labels, [f"$v_{i}.mp4" for i in range(60)], MUSCLES)
    results = {"run": {"name": "a", "target": "muscles"}}
    draw_decisions(results, {"known_val": of, "new_test": of}, tmp_path, 0.3, tmp_path / "no_videos")
    made = {"reliability.png", "co_activation.png", "errors.png", "errors.csv"}
    assert {file.name for file in tmp_path.iterdir()} == made
    rows = list(csv.DictReader((tmp_path / "errors.csv").open(encoding="utf-8")))
    assert len(rows) == 120
    assert [float(row["cross_entropy"]) for row in rows] == sorted(
        (float(r["cross_entropy"]) for r in rows), reverse=True
    )
    rng = np.random.default_rng(0)
    names = [f"activity {i}" for i in range(50)]
    classes = Scored(rng.random((80, 50)), np.eye(50)[rng.integers(50, size=80)], [str(i) for i in range(80)], names)
    out = tmp_path / "activities"
    out.mkdir()
    results = {"run": {"name": "a", "target": "activity"}}
    draw_decisions(results, {"known_val": classes}, out, 0.3)
    assert {file.name for file in out.iterdir()} == {"confusion.png", "errors.csv"}
    draw_decisions(results, {"known_val": Scored(*np.empty((2, 0, 50)), [], names)}, tmp_path / "nothing", 0.3)
