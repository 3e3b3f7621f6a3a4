"""Turned squares, heat maps and the one-euro filter against plain formulas."""

import math

import numpy as np
import pytest

from transm3e.data.blazepose.landmarks import refine
from transm3e.data.blazepose.pose import Pose
from transm3e.data.blazepose.region import MARGIN, Region, around, whole
from transm3e.data.blazepose.smooth import METRES, PIXELS, smooth


@pytest.mark.parametrize(("scale", "angle"), [((50, 10), 0), ((90, 50), 90), ((50, 90), 180), ((10, 50), -90)])
def test_the_square_is_rotated_like_the_body(scale, angle):
    region = around(np.array([50, 50]), np.array(scale))
    assert region[:3] == pytest.approx((50, 50, 2 * MARGIN * 40))
    assert math.cos(region.angle - math.radians(angle)) == pytest.approx(1)
    # The point that gave it lies straight above its middle.
    np.testing.assert_allclose(region.to_frame(np.array([0.5, 0.5 - 0.5 / MARGIN])), scale, atol=1e-9)


def test_points_map_back_as_rotated_and_scaled_by_hand():
    region = Region(30.0, 70.0, 24.0, 0.7)
    for u, v in np.random.default_rng(0).uniform(-0.5, 1.5, (20, 2)):
        x = 30 + 24 * (math.cos(0.7) * (u - 0.5) - math.sin(0.7) * (v - 0.5))
        y = 70 + 24 * (math.sin(0.7) * (u - 0.5) + math.cos(0.7) * (v - 0.5))
        np.testing.assert_allclose(region.to_frame(np.array([u, v])), (x, y))


def test_the_cut_out_agrees_with_its_points():
    y, x = np.mgrid[:120, :160]
    frame = np.stack([x, y, 0 * x + 255], axis=2).astype(np.uint8)
    region = Region(80.0, 60.0, 64.0, 0.5)
    cut = region.cut(frame, 32)
    rows, columns = np.mgrid[:32, :32]
    places = region.to_frame(np.stack([columns, rows], axis=2) / 32)
    np.testing.assert_allclose(cut[..., :2], places, atol=0.6)
    edges = whole(120, 160).cut(frame, 32)  # 160x160 around it: black above and below
    assert edges[:3].max() == edges[-3:].max() == 0
    assert (edges[5:-5, :, 2] == 255).all()


def test_landmarks_move_to_the_mean_of_a_confident_heat_map():
    heat = np.full((64, 64, 4), -20.0, np.float32)
    heat[20:23, 10:13, :] = 3.0
    heat[30, 30, 0] = 9.0  # beyond the kernel
    heat[..., 1] -= 4.0  # nowhere SURE
    xy = np.array([[9.5, 19.5], [9.5, 19.5], [-0.5, 19.5], [14.2, 24.9]]) / 64
    refined = refine(xy, heat)
    np.testing.assert_allclose(refined[0] * 64, [11, 21], atol=1e-4)
    np.testing.assert_array_equal(refined[1:3], xy[1:3])
    np.testing.assert_allclose(refined[3] * 64, [11.5, 21.5], atol=1e-4)  # cells 11, 12 and 21, 22 are in reach
    heat[0, 63] = 3.0
    np.testing.assert_allclose(refine(np.array([[63.9, 0.1]] * 4) / 64, heat)[3] * 64, [63, 0], atol=1e-3)


def euro(values, seconds, scales, min_cutoff, beta):
    """The paper's filter for one number, as MediaPipe scales its speed."""

    def alpha(cutoff, step):
        return 1 / (1 + 1 / (2 * math.pi * cutoff) / step)

    out, speed = [values[0]], 0.0
    for n in range(1, len(values)):
        step = seconds[n] - seconds[n - 1]
        now = (values[n] - values[n - 1]) / scales[n] / step
        speed += alpha(1.0, step) * (now - speed)
        share = alpha(min_cutoff + beta * abs(speed), step)
        out.append(share * values[n] + (1 - share) * out[-1])
    return out


def test_smoothing_is_the_one_euro_filter_and_restarts_after_a_gap():
    rng = np.random.default_rng(0)
    seconds = np.cumsum(rng.uniform(0.02, 0.05, 12))
    sides = rng.uniform(80, 120, 12)
    joints, world = rng.normal(0, 5, (12, 33, 3)), rng.normal(0, 0.1, (12, 33, 3))
    poses = [Pose(j, w, Region(0, 0, s), 1.0) for j, w, s in zip(joints, world, sides, strict=True)]
    poses[6] = None
    found = list(smooth(poses, seconds))
    assert found[6] is None
    for part in (slice(0, 6), slice(7, 12)):
        for joint in (0, 32):
            expected = euro(joints[part, joint, 1], seconds[part], sides[part], *PIXELS)
            np.testing.assert_allclose([pose.joints[joint, 1] for pose in found[part]], expected)
            expected = euro(world[part, joint, 2], seconds[part], np.ones(12), *METRES)
            np.testing.assert_allclose([pose.world[joint, 2] for pose in found[part]], expected)
        np.testing.assert_array_equal([pose.joints[:, 2] for pose in found[part]], joints[part, :, 2])
