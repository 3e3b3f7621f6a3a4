"""Average precision of random scores: the formula of its mean, scikit-learn's on drawn scores, and the same each time."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from transm3e.metrics import average_precision
from transm3e.metrics.random_scores import random_average_precision

CLIPS, POSITIVES, DRAWS = 40, (1, 2, 12, 39, 40, 0), 4000


@pytest.fixture(scope="module")
def labels():
    return (np.arange(CLIPS)[:, None] < np.array(POSITIVES)).astype(np.uint8)


def test_the_mean_is_the_formulas(labels):
    found = random_average_precision(labels, DRAWS, (0, 1))
    harmonic = sum(1 / k for k in range(1, CLIPS + 1))
    for column, positives in enumerate(POSITIVES[:-1]):
        expected = (harmonic + (positives - 1) / (CLIPS - 1) * (CLIPS - harmonic)) / CLIPS
        error = found[:, column].std() / np.sqrt(DRAWS)
        assert found[:, column].mean() == pytest.approx(expected, abs=4 * error + 1e-12)
    assert np.isnan(found[:, -1]).all()


def test_draws_are_spread_as_the_average_precision_of_normal_scores(labels):
    found = random_average_precision(labels, 300, (0,))
    rng = np.random.default_rng(1)
    drawn = np.array([average_precision(rng.normal(size=labels.shape), labels) for _ in range(300)])
    for column in range(3):
        assert ks_2samp(found[:, column], drawn[:, column]).pvalue > 0.001
    # Muscles are drawn each by itself.
    assert abs(np.corrcoef(found[:, 1], found[:, 2])[0, 1]) < 0.2


def test_the_key_alone_decides(labels):
    first = random_average_precision(labels, 5, (0, 1))
    np.testing.assert_array_equal(first, random_average_precision(labels, 5, (0, 1)))
    assert not np.array_equal(first[:, 2], random_average_precision(labels, 5, (0, 2))[:, 2])
