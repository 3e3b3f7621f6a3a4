"""Augmentation of joints and of tempo: what is drawn stays in its range, and what is missing stays missing."""

from __future__ import annotations

import numpy as np
import pytest

from transm3e.data.joint_augmentation import TORSO, DrawnJointAugmentation, JointAugmentation
from transm3e.data.sampling import Span
from transm3e.joints import EXTREMITIES, LAYOUTS

NAMES = LAYOUTS["body23"].names


def figure(axes, seed=0):
    """(6, 1, 23, axes + 1), one joint missing."""
    joints = np.random.default_rng(seed).uniform(0, 1, (6, 1, 23, axes + 1)).astype(np.float32)
    joints[..., 3, :] = 0
    return joints


def distances(joints):
    points = np.delete(joints[..., :-1], 3, axis=2)
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


@pytest.mark.parametrize("axes", [2, 3])
def test_rotations_keep_lengths_scores_and_missing_joints(axes):
    joints = figure(axes)
    changed = DrawnJointAugmentation(JointAugmentation(turn=90, tilt=20), 1).apply(joints, "body23")
    np.testing.assert_allclose(distances(changed), distances(joints), atol=1e-5)
    np.testing.assert_array_equal(changed[..., -1], joints[..., -1])
    assert not changed[..., 3, :].any()
    assert np.abs(changed - joints).max() > 0.05


def test_only_3d_joints_are_rotated_around_the_vertical_axis():
    changes = DrawnJointAugmentation(JointAugmentation(turn=90), 2)
    np.testing.assert_allclose(changes.apply(figure(2), "body23"), figure(2), atol=1e-6)
    turned = changes.apply(figure(3), "body23")
    np.testing.assert_allclose(turned[..., 1], figure(3)[..., 1], atol=1e-6)
    assert np.abs(turned - figure(3)).max() > 0.05


def test_noise_is_in_body_sizes_and_stretch_in_shares():
    joints = figure(2)
    errors = [
        DrawnJointAugmentation(JointAugmentation(noise=0.1), seed).apply(joints, "body23") - joints
        for seed in range(200)
    ]
    points = np.delete(joints[..., :2], 3, axis=2)
    size = np.sqrt(((points - points.mean(axis=(0, 1, 2))) ** 2).sum(-1).mean())
    measured = np.delete(np.stack(errors)[..., :2], 3, axis=3).std(axis=(1, 2, 3, 4)) / (0.1 * size * np.sqrt(2))
    # Each clip draws 0 to 2 times as much.
    assert measured.mean() == pytest.approx(1, abs=0.1)
    assert measured.min() < 0.2
    assert 1.6 < measured.max() < 2.4
    twice = DrawnJointAugmentation(JointAugmentation(noise=0.1), 0).apply(100 * joints, "body23")
    np.testing.assert_allclose(twice[..., :2], 100 * (joints + errors[0])[..., :2], rtol=1e-3)
    ratios = DrawnJointAugmentation(JointAugmentation(stretch=0.3), 3).apply(joints, "body23")
    spans = [np.ptp(np.delete(each[..., :2], 3, axis=2), axis=(0, 1, 2)) for each in (ratios, joints)]
    assert (np.abs(spans[0] / spans[1] - 1) <= 0.3).all()


def test_groups_of_joints_are_dropped_at_their_rate_and_the_torso_never():
    kept = [
        DrawnJointAugmentation(JointAugmentation(dropout=0.4), seed).apply(figure(2), "body23") for seed in range(400)
    ]
    missing = ~np.stack(kept).any(axis=(1, 2, 4))  # (400, 23)
    feet = missing[:, [NAMES.index(name) for name in EXTREMITIES[:4]]].all(axis=1)
    assert 0.33 < feet.mean() < 0.47
    assert not missing[:, [NAMES.index(name) for name in TORSO]].any()
    assert 0.06 < missing[:, NAMES.index("left_knee")].mean() < 0.14


def test_a_warped_clip_runs_back_and_forth_without_jumps():
    span = Span(16, 2)
    for seed in range(50):
        numbers = span.warped(32, (0.5, 3.0), 0.2, np.random.default_rng(seed))
        assert numbers.shape == (16,)
        assert set(numbers.tolist()) <= set(range(32))
        assert np.abs(np.diff(numbers)).max() <= 2 * 3 * np.exp(1)
    steps = [np.abs(np.diff(span.warped(10_000, (2.0, 2.0), 0.0, np.random.default_rng(n)))).mean() for n in range(20)]
    assert np.mean(steps) == pytest.approx(4, rel=0.1)
    still = [np.diff(span.warped(10_000, (2.0, 2.0), 0.3, np.random.default_rng(n))) == 0 for n in range(200)]
    assert 0.2 < np.mean(still) < 0.4
    assert not span.warped(1, (1.0, 2.0), 0.0, np.random.default_rng(0)).any()
