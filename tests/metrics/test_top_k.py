"""Top-k accuracy equals scikit-learn's, and ties go to the first class."""

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from transm3e.metrics import top_k_accuracy


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_it_is_scikit_learns(k):
    rng = np.random.default_rng(k)
    scores, classes = rng.random((50, 7)), rng.integers(0, 7, 50)
    expected = top_k_accuracy_score(classes, scores, k=k, labels=range(7))
    assert top_k_accuracy(scores, np.eye(7)[classes], k) == pytest.approx(expected, abs=1e-15)
    assert top_k_accuracy(torch.from_numpy(scores), torch.eye(7)[classes], k) == pytest.approx(expected, abs=1e-15)


def test_ties_go_to_the_first_and_more_than_all_classes_is_certain():
    assert top_k_accuracy([[0.5, 0.5], [0.5, 0.5]], [[1, 0], [0, 1]], 1) == 0.5
    assert top_k_accuracy([[0.5, 0.5], [0.1, 0.9]], [[1, 0], [1, 0]], 5) == 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "k"),
    [
        ([[1, 2]], [[1, 1]], 1),
        ([[1, 2]], [[0, 0]], 1),
        ([[1, 2]], [[1]], 1),
        ([[1, 2]], [[1, 0]], 0),
        (np.zeros((0, 2)), np.zeros((0, 2)), 1),
        ([[1, 2]], [[2, -1]], 1),
    ],
)
def test_what_is_no_single_class_is_refused(scores, labels, k):
    with pytest.raises(ValueError, match=r"must|allowed"):
        top_k_accuracy(scores, labels, k)
