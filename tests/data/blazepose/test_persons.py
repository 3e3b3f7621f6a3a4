"""What the first network says: anchors, their decoding, one detection per person."""

import numpy as np
import pytest

from transm3e.data.blazepose.persons import INPUT, MIN_SCORE, anchors, decode, merge


def test_anchors_are_two_per_cell_of_each_stride():
    centres = anchors()
    assert centres.shape == (2254, 2)
    np.testing.assert_allclose(centres[:4] * INPUT, [[4, 4], [4, 4], [12, 4], [12, 4]])
    np.testing.assert_allclose(centres[2 * 28 * 28] * INPUT, [8, 8])
    # The stride of 32 is listed three times.
    np.testing.assert_allclose(centres[-7:] * INPUT, [[176, 208]] + [[208, 208]] * 6)


def test_boxes_and_points_count_from_their_anchor():
    rng = np.random.default_rng(0)
    raw, logits = rng.normal(0, 40, (2254, 12)).astype(np.float32), np.full(2254, -200.0, np.float32)
    logits[[7, 900]] = 0.3, 150
    points, scores = decode(raw, logits, anchors())
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-0.3)), 1], rtol=1e-6)
    for row, found in zip((7, 900), points, strict=True):
        x, y, w, h, *rest = raw[row].astype(float) / INPUT
        cx, cy = anchors()[row]
        expected = [cx + x - w / 2, cy + y - h / 2, cx + x + w / 2, cy + y + h / 2]
        expected += [value + (cx, cy)[n % 2] for n, value in enumerate(rest)]
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-9)
    logits[:] = np.log(MIN_SCORE / (1 - MIN_SCORE)) - 1e-3
    assert len(decode(raw, logits, anchors())[1]) == 0


def test_detections_of_one_person_are_averaged_by_score():
    def box(x, mark):
        return [[x, 0.2], [x + 0.4, 0.6], [mark, mark]]

    points, scores = np.array([box(0.10, 1), box(0.12, 2), box(0.55, 9)]), np.array([0.6, 0.9, 0.7])
    people, best = merge(points, scores)
    assert best.tolist() == [0.9, 0.7]
    assert people[0, 2, 0] == pytest.approx((0.6 * 1 + 0.9 * 2) / 1.5)
    np.testing.assert_allclose(people[1], points[2])
    assert merge(points[:0], scores[:0])[0].shape == (0, 3, 2)
    flat = np.repeat(points[:, :1], 3, axis=1)  # boxes without a size
    assert len(merge(flat, scores)[0]) == 3
