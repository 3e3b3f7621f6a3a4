"""Average precision: parity with scikit-learn and with the formula written out, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from transm3e.errors import UserError
from transm3e.metrics import average_precision, mean_average_precision


def formula(scores, labels):
    """AP of one muscle straight from its definition, thresholds from high to low."""
    recall_before, ap = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        hits = (chosen & (labels == 1)).sum()
        recall = hits / labels.sum()
        ap += (recall - recall_before) * hits / chosen.sum()
        recall_before = recall
    return ap


def draw(seed, clips=60, muscles=20, share=0.3):
    rng = np.random.default_rng(seed)
    labels = (rng.random((clips, muscles)) < share).astype(np.int64)
    labels[0] = 1
    return rng.normal(size=(clips, muscles)) + labels, labels


def test_equals_scikit_learn_over_all_muscles_at_once():
    scores, labels = draw(0)
    ap = average_precision(scores, labels)
    assert ap.shape == (20,)
    assert ap.dtype == np.float64
    np.testing.assert_allclose(ap, average_precision_score(labels, scores, average=None), rtol=0, atol=1e-15)
    assert mean_average_precision(scores, labels) == pytest.approx(
        average_precision_score(labels, scores, average="macro"), abs=1e-15
    )


@settings(max_examples=40, deadline=None)
@given(
    scores=arrays(np.float64, (9, 3), elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0])),
    labels=arrays(np.uint8, (9, 3), elements=st.integers(0, 1)),
)
def test_equals_the_formula_with_ties(scores, labels):
    ap = average_precision(scores, labels)
    for c in range(3):
        expected = formula(scores[:, c], labels[:, c]) if labels[:, c].any() else np.nan
        np.testing.assert_allclose(ap[c], expected, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_only_the_order_of_scores_matters_and_not_that_of_clips(seed):
    scores, labels = draw(seed, clips=30, muscles=4)
    ap = average_precision(scores, labels)
    order = np.random.default_rng(seed).permutation(len(scores))
    np.testing.assert_allclose(average_precision(scores[order], labels[order]), ap, atol=1e-12)
    np.testing.assert_allclose(average_precision(np.arctan(scores), labels), ap, atol=1e-12)
    assert ((ap > 0) & (ap <= 1)).all()


def test_constant_scores_give_the_share_of_clips_and_perfect_ones_give_1():
    _, labels = draw(1)
    np.testing.assert_allclose(average_precision(np.ones(labels.shape), labels), labels.mean(axis=0))
    np.testing.assert_array_equal(average_precision(labels * 1.0, labels), np.ones(20))


def test_muscles_without_a_positive_are_nan_and_left_out_of_the_mean():
    scores, labels = draw(2)
    labels[:, [3, 7]] = 0
    ap = average_precision(scores, labels)
    assert np.flatnonzero(np.isnan(ap)).tolist() == [3, 7]
    kept = [c for c in range(20) if c not in (3, 7)]
    assert mean_average_precision(scores, labels) == pytest.approx(ap[kept].mean(), abs=1e-15)


def test_one_clip():
    ap = average_precision([[0.3, 0.9]], [[0, 1]])
    assert np.isnan(ap[0])
    assert ap[1] == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_every_float_type_count_like_arrays(dtype):
    scores, labels = draw(3)
    tensor = torch.tensor(scores, dtype=dtype, requires_grad=True)
    same = tensor.detach().double().numpy()
    np.testing.assert_array_equal(
        average_precision(tensor, torch.tensor(labels).bool()), average_precision(same, labels)
    )


@pytest.mark.parametrize(
    ("scores", "labels"),
    [(np.zeros((4, 3)), np.ones((4, 2))), (np.zeros((4, 3)), np.ones((3, 3))), (np.zeros(4), np.ones(4))],
)
def test_shapes_must_agree(scores, labels):
    with pytest.raises(ValueError, match=r"one shape \(clips, muscles\)"):
        average_precision(scores, labels)


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan])
def test_labels_must_be_0_or_1(value):
    labels = np.ones((4, 3))
    labels[2, 1] = value
    with pytest.raises(ValueError, match="labels hold values besides 0 and 1"):
        average_precision(np.zeros((4, 3)), labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_must_be_finite_and_the_message_says_where(value):
    scores, labels = draw(4)
    scores[5, 2] = scores[9, 0] = value
    with pytest.raises(UserError, match=r"2 of 1200 scores .* clip 5, muscle 2"):
        mean_average_precision(scores, labels)


def test_no_clip_and_no_positive_are_refused():
    with pytest.raises(UserError, match="without clips"):
        average_precision(np.zeros((0, 20)), np.zeros((0, 20)))
    with pytest.raises(UserError, match="no clip carries any muscle"):
        mean_average_precision(np.zeros((5, 20)), np.zeros((5, 20)))
