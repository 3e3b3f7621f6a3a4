"""Resampled mAP against scikit-learn on the repeated clips, and what intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from transm3e.errors import UserError
from transm3e.metrics import bootstrap, mean_average_precision
from transm3e.metrics.bootstrap import bootstrap_map, centred, draw_counts, percentile_interval


def clips(seed, number=60, muscles=4, share=0.15, decimals=8, signal=1.0):
    """Scores and labels; few decimals give equal scores."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((number, muscles)) < share).astype(np.uint8)
    return np.round(signal * labels + generator.normal(size=labels.shape), decimals), labels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.sampled_from([0, 1, 8]), st.integers(2, 70), st.sampled_from([1, 3, 300]))
def test_a_resample_scores_as_its_repeated_clips_do(seed, decimals, number, times):
    scores, labels = clips(seed, number, decimals=decimals)
    labels[0] = 1
    counts = times * draw_counts(number, 6, [seed]).astype(int)
    for count, mean in zip(counts, bootstrap_map(scores, labels, counts), strict=True):
        repeated = np.repeat(labels, count, axis=0)
        if repeated.any():
            assert mean == pytest.approx(mean_average_precision(np.repeat(scores, count, axis=0), repeated), abs=1e-12)
        else:
            assert np.isnan(mean)


def test_it_is_scikit_learns_weighted_average_precision():
    scores, labels = clips(1, 400, muscles=1, decimals=1)
    counts = draw_counts(400, 5, [2])
    expected = [average_precision_score(labels[:, 0], scores[:, 0], sample_weight=count) for count in counts]
    np.testing.assert_allclose(bootstrap_map(scores, labels, counts), expected, rtol=0, atol=1e-12)


def test_muscles_that_no_clip_of_a_resample_carries_are_left_out_of_its_mean(monkeypatch):
    scores, labels = np.array([[3.0, 1], [2, 2], [1, 3]]), np.array([[0, 1], [1, 0], [0, 0]])
    counts = np.array([[1, 1, 1], [0, 2, 1], [1, 0, 1], [0, 0, 3]])
    expected = [(1 / 2 + 1 / 3) / 2, 1.0, 1 / 2, np.nan]
    np.testing.assert_allclose(bootstrap_map(scores, labels, counts), expected)
    # In pieces of one resample it is the same.
    monkeypatch.setattr(bootstrap, "CHUNK", 1)
    np.testing.assert_allclose(bootstrap_map(scores, labels, counts), expected)


def test_draws_are_reproducible_and_groups_stay_together():
    counts = draw_counts(50, 300, [3, 1])
    assert (counts == draw_counts(50, 300, [3, 1])).all()
    assert (counts != draw_counts(50, 300, [3, 2])).any()
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.05)
    groups = np.array(["b", "a", "b", "c"])
    drawn = draw_counts(4, 100, [0], groups)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, :2].sum(axis=1) + drawn[:, 3] == 3).all()


def test_the_interval_of_95_percent_holds_the_score_of_other_clips_in_about_95_of_100_splits():
    splits = [clips(seed, 120, muscles=8) for seed in range(160)]
    ones = np.ones((1, 120), int)
    values = [bootstrap_map(*split, ones)[0] for split in splits]
    expected = np.mean(values)
    samples = [bootstrap_map(*split, draw_counts(120, 200, [seed])) for seed, split in enumerate(splits)]
    moved = [percentile_interval(centred(s, value)) for s, value in zip(samples, values, strict=True)]
    assert 0.9 <= np.mean([low <= expected <= high for low, high in moved]) <= 0.99
    # Repeated clips score higher: that is what centring takes away.
    assert np.mean(samples) - expected > 0.01


def test_wrong_counts_and_empty_samples_are_refused():
    scores, labels = clips(0)
    for counts in (np.ones((2, 59), int), np.ones((2, 60)), -np.ones((2, 60), int), np.ones(60, int)):
        with pytest.raises(ValueError, match=r"allowed: non-negative integers \(resamples, 60 clips\)"):
            bootstrap_map(scores, labels, counts)
    with pytest.raises(UserError, match="NaN or infinite"):
        bootstrap_map(scores * np.nan, labels, np.ones((1, 60), int))
    with pytest.raises(ValueError, match="no resample has a value"):
        percentile_interval(centred(np.array([np.nan]), 0.5))
    assert np.isnan(bootstrap_map(scores, np.zeros_like(labels), np.ones((3, 60), int))).all()
