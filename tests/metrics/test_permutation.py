"""The paired permutation test against its definition, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest

from transm3e.metrics import mean_average_precision
from transm3e.metrics.bootstrap import (
    bootstrap_map,
    draw_counts,
    draw_swaps,
    holm,
    p_value,
    percentile_interval,
    swapped_differences,
)


def pair(seed, first=1.0, second=1.0, number=120, muscles=5, decimals=8):
    """Labels, and scores of two models with errors in common."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((number, muscles)) < 0.2).astype(np.uint8)
    common, *own = generator.normal(size=(3, *labels.shape))
    scores = [
        np.round(signal * labels + 0.8 * common + 0.6 * noise, decimals)
        for signal, noise in zip((first, second), own, strict=True)
    ]
    return *scores, labels


def difference(first, second, labels):
    return mean_average_precision(first, labels) - mean_average_precision(second, labels)


def ranks(scores):
    return np.stack([((c > c[:, None]).sum(0) + (c >= c[:, None]).sum(0)) / 2 for c in scores.T], axis=1)


@pytest.mark.parametrize("decimals", [0, 8])
def test_permuted_differences_are_those_of_swapped_ranks(decimals):
    first, second, labels = pair(0, decimals=decimals)
    swaps = draw_swaps(len(labels), 8, [0])
    expected = []
    for swap in swaps[:, :, None]:
        ours, theirs = ranks(first), ranks(second)
        expected.append(difference(np.where(swap, theirs, ours), np.where(swap, ours, theirs), labels))
    found = swapped_differences(first, second, labels, swaps)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    # A scale of one's own changes nothing; all or no clips swapped give the difference itself.
    np.testing.assert_allclose(swapped_differences(100 * first - 7, second, labels, swaps), found, atol=1e-12)
    both = swapped_differences(first, second, labels, np.array([[False], [True]]).repeat(len(labels), axis=1))
    observed = difference(first, second, labels)
    np.testing.assert_allclose(both, [observed, -observed], atol=1e-12)


def test_equal_models_have_p_1_and_clearly_different_ones_a_small_p():
    first, second, labels = pair(1, first=2.0, second=0.5)
    swaps = draw_swaps(len(labels), 300, [1])
    same = swapped_differences(first, first, labels, swaps)
    assert not same.any()
    assert p_value(0.0, same) == 1.0
    assert p_value(difference(first, second, labels), swapped_differences(first, second, labels, swaps)) == 1 / 301


def test_models_alike_are_told_apart_as_often_as_the_level_says():
    found = []
    for seed in range(120):
        first, second, labels = pair(seed, number=80, muscles=3)
        swaps = draw_swaps(len(labels), 99, [seed])
        found.append(p_value(difference(first, second, labels), swapped_differences(first, second, labels, swaps)))
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.1
    assert 0.4 <= np.mean(np.array(found) <= 0.5) <= 0.6


def test_the_interval_of_a_difference_is_narrow_because_clips_are_paired():
    first, second, labels = pair(2, second=1.3)
    ours, other = (draw_counts(len(labels), 400, [seed]) for seed in (0, 1))
    paired = percentile_interval(bootstrap_map(first, labels, ours) - bootstrap_map(second, labels, ours))
    apart = percentile_interval(bootstrap_map(first, labels, ours) - bootstrap_map(second, labels, other))
    assert 1.5 * np.ptp(paired) < np.ptp(apart)


def test_groups_change_sides_together():
    groups = np.array(["b", "a", "b", "c"])
    swaps = draw_swaps(4, 400, [0], groups)
    assert (swaps[:, 0] == swaps[:, 2]).all()
    assert (swaps[:, 0] != swaps[:, 1]).any()
    assert swaps.mean() == pytest.approx(0.5, abs=0.05)


def test_holms_method_on_a_worked_example():
    # Holm 1979: the smallest times their number, the next times one less, and never below one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_without_a_positive_clip_there_is_nothing_to_compare():
    first, second, labels = pair(3)
    with pytest.raises(ValueError, match="no clip carries any muscle"):
        swapped_differences(first, second, 0 * labels, draw_swaps(len(labels), 2, [0]))
