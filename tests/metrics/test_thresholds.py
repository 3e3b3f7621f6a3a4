"""Thresholds with the highest F1, against scikit-learn and by trying all."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from transm3e.metrics.decisions import decisions
from transm3e.metrics.thresholds import best_thresholds


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_higher_f1(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (20, 3)).astype(np.float32) / 8  # with ties
    labels = (rng.random((20, 3)) < 0.4).astype(np.uint8)
    found = best_thresholds(scores, labels)
    reached = decisions(scores, labels, found)
    for c in range(3):
        predicted = scores[:, c] >= found[c]
        everything = [f1_score(labels[:, c], scores[:, c] >= t) for t in np.unique(scores[:, c])]
        assert reached.f1[c] == pytest.approx(max(everything))
        assert reached.precision[c] == pytest.approx(precision_score(labels[:, c], predicted))
        assert reached.recall[c] == pytest.approx(recall_score(labels[:, c], predicted))


def test_a_threshold_is_halfway_to_the_next_lower_score():
    scores = np.float32([[0.9], [0.6], [0.2], [0.1]])
    assert best_thresholds(scores, np.array([[1], [1], [0], [0]])) == pytest.approx([0.4])
    # All clips have it: nothing is lower.
    assert best_thresholds(scores, np.ones((4, 1))) == pytest.approx([0.1])


def test_what_is_not_defined_is_nan():
    scores, labels = np.float32([[0.9, 0.5], [0.1, 0.5]]), np.array([[0, 0], [0, 1]])
    thresholds = best_thresholds(scores, labels)
    assert np.isnan(thresholds).tolist() == [True, False]
    found = decisions(scores, np.zeros_like(labels), np.array([0.5, 0.9]))
    assert found.precision[0] == 0
    assert np.isnan(found.precision[1])
    assert np.isnan(found.recall).all()
    assert np.isnan(decisions(scores, labels, thresholds).f1).tolist() == [True, False]
