"""What counts as a body in a video that is scored without a clip table."""

import numpy as np
import pytest

from transm3e.data.skeleton import Skeleton
from transm3e.data.skeleton.bodies import frames_with_body
from transm3e.joints import LAYOUTS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_body_is_two_of_shoulders_and_hips_in_the_frame(layout):
    names = LAYOUTS[layout].names
    points = np.zeros((5, 2, len(names), 3), np.float32)
    trunk = [names.index(name) for name in ("left_shoulder", "left_hip")]
    others = [i for i, name in enumerate(names) if "shoulder" not in name and "hip" not in name]
    points[0, 1, trunk] = (10, 10, 0.5)
    points[1, 0, others] = (10, 10, 1)  # a face, hands, feet
    points[2, 0, trunk] = (10, 10, 0.1)  # guesses
    points[3, 0, trunk] = (10, 33, 1)  # below the frame
    points[4, [0, 1], trunk] = (10, 10, 1)  # one joint each of two persons
    assert frames_with_body(Skeleton(points, layout, 32, 48)).tolist() == [True, False, False, False, False]
