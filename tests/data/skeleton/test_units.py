"""Numbers that are not what they are taken for: refused with what was seen, or converted as the user says."""

import json
import pickle

import numpy as np
import pytest

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton import Skeleton, fit_video, read_skeleton
from transm3e.data.skeleton.units import Declared, clean

HEIGHT, WIDTH = 240, 320


def body(frames=4, joints=17, width=WIDTH, height=HEIGHT, score=0.9):
    """(T, 1, V, 3): one person, somewhere in the frame."""
    rng = np.random.default_rng(0)
    xy = rng.uniform([0.3 * width, 0.1 * height], [0.7 * width, 0.9 * height], (frames, 1, joints, 2))
    return np.concatenate([xy, np.full((frames, 1, joints, 1), score)], axis=-1)


def cleaned(points, said=None, layout="coco17", **more):
    return clean(Skeleton(points, layout, **more), said or Declared(), "s.json")


def as_shares(points, width=WIDTH, height=HEIGHT, low=0):
    """The same in 0 to 1, or with low=-1 in -1 to 1, measured from the frame's edges."""
    moved = points.copy()
    moved[..., :2] = (points[..., :2] + 0.5) / [width, height] * (1 - low) + low
    return moved


@pytest.mark.parametrize(("low", "units"), [(0, "shares"), (-1, "centred")])
def test_openpose_files_of_scaled_joints_are_refused_unless_declared(tmp_path, low, units):
    points = body(5, 18)
    for t, frame in enumerate(as_shares(points, low=low)):
        people = [{"person_id": [-1], "pose_keypoints_2d": person.ravel().tolist()} for person in frame]
        file = tmp_path / f"vid_{t:012}_keypoints.json"
        file.write_text(json.dumps({"version": 1.3, "people": people}))
    with pytest.raises(DecodeError, match=rf"joints lie in x .* not pixels; convert .*--units .*{units} \(."):
        read_skeleton(tmp_path)
    found = fit_video(read_skeleton(tmp_path, Declared(units)), (HEIGHT, WIDTH), "s.json")
    np.testing.assert_allclose(found.points, points, atol=1e-3)
    assert (found.height, found.width, found.units) == (HEIGHT, WIDTH, "pixels")


def test_small_but_valid_bodies_are_read():
    still = np.repeat(body(1), 30, axis=0)
    single = np.zeros((5, 1, 17, 3))
    single[2, 0, 4] = [120, 80, 0.7]
    moved = single.copy()
    moved[3, 0, 4] = [120.5, 81, 0.7]  # the same joint, hardly moved
    eyes = np.zeros((5, 1, 17, 3))
    eyes[:, 0, 1:3] = [[100, 50, 0.8], [101, 50, 0.8]]
    nobody = np.zeros((5, 0, 17, 3))
    far = body()
    far[..., :2] = far[..., :2] / 60 + 100  # a body of five pixels
    for points in (still, single, moved, eyes, np.zeros((5, 1, 17, 3)), nobody, far):
        np.testing.assert_allclose(cleaned(points).points, points, rtol=1e-6)


def test_a_body_within_two_pixels_is_refused_wherever_it_is_and_with_strays():
    speck = body()
    speck[..., :2] = speck[..., :2] / 300 + 100
    strays = as_shares(body())
    strays[0, 0, :3, :2] = [1.7, 3.0]  # beyond the frame, as MediaPipe guesses legs
    for points in (speck, strays, np.where(np.arange(17)[:, None] == 3, as_shares(body()), 0)):
        with pytest.raises(DecodeError, match="not pixels; convert"):
            cleaned(points)


def test_joints_mostly_outside_the_frame_are_refused():
    points = body()
    points[..., :2] += [WIDTH / 4, 0]
    reason = r"% of the joints lie outside 160x120 pixels; .*--detector-size WIDTH"
    with pytest.raises(DecodeError, match=reason):
        cleaned(points, height=HEIGHT // 2, width=WIDTH // 2)
    with pytest.raises(DecodeError, match=reason):
        fit_video(cleaned(points), (HEIGHT // 2, WIDTH // 2), "s.json")
    assert cleaned(points, Declared(size=(HEIGHT, 2 * WIDTH)), height=120, width=160).width == 2 * WIDTH


def test_guesses_beyond_the_edge_count_by_their_score():
    points = body(joints=33)
    points[:, :, 11:, 1] += HEIGHT  # a face: the body is guessed below the frame
    points[:, :, 11:, 2] = 0.05
    close_up = fit_video(cleaned(points, layout="blazepose33"), (HEIGHT, WIDTH), "s.json")
    np.testing.assert_allclose(close_up.points, points, rtol=1e-6)
    legs = body()
    legs[:, :, 11:, 1] += HEIGHT / 3
    assert cleaned(legs, height=HEIGHT, width=WIDTH).width == WIDTH


def test_swapped_sides_are_recognised_by_the_joints_or_the_video():
    wide = body()
    wide[..., 0] += 60  # up to 284 of 320
    with pytest.raises(DecodeError, match=r"outside 240x320 pixels, and all inside 320x240: img_shape is .height"):
        cleaned(wide, height=WIDTH, width=HEIGHT)
    narrow = cleaned(body(), height=WIDTH, width=HEIGHT)  # the joints alone do not tell
    with pytest.raises(DecodeError, match=r"240 wide and 320 high, its video is 320 wide and 240 high.*size 320x240"):
        fit_video(narrow, (HEIGHT, WIDTH), "s.json")
    for same in [(256, 340), (224, 224), (120, 160)]:  # resized, squeezed, smaller: the video's own way up
        assert fit_video(cleaned(body(), height=256, width=340), same, "s.json").height == 256


def test_one_outlier_does_not_change_the_others(tmp_path):
    points = body(20).swapaxes(0, 1)
    points[0, 3, 2, 2] = 2.1
    whole = {"keypoint": points[..., :2], "keypoint_score": points[..., 2], "img_shape": (HEIGHT, WIDTH)}
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(whole))
    score = read_skeleton(tmp_path / "s.pkl").points[..., 2]
    assert score[3, 0, 2] == 1
    np.testing.assert_allclose(np.delete(score, 3, axis=0), 0.9, rtol=1e-6)


def test_a_scale_is_declared_for_all_files_and_never_guessed_for_one():
    loud, quiet = body(score=4.5), body(score=1.2)
    with pytest.raises(DecodeError, match=r"100% of its joint scores are above 1.5, up to 4.5: .*--score-scale N, the"):
        cleaned(loud)
    assert set(cleaned(quiet).points[..., 2].ravel()) == {1.0}  # a heat map's peaks
    said = Declared(score_scale=6)
    for points in (loud, quiet):
        np.testing.assert_allclose(cleaned(points, said).points[..., 2], points[..., 2] / 6, rtol=1e-6)


def test_world_landmarks_and_pixels_read_as_shares_are_refused():
    metres = as_shares(body(joints=33), low=-1) * [0.8, 0.8, 1]
    for points in (metres, body(joints=33)):
        with pytest.raises(DecodeError, match=r"outside the frame, as shares of it .*--units pixels or centred"):
            cleaned(points, layout="blazepose33", units="shares")
    assert cleaned(body(joints=33), Declared("pixels"), "blazepose33", units="shares").units == "pixels"


def test_the_shared_cases_have_their_right_value(shared):
    cases = shared / "data" / "cases"
    with pytest.raises(DecodeError, match="not pixels; convert"):
        read_skeleton(cases / "openpose_scaled")
    assert read_skeleton(cases / "openpose_scaled", Declared("shares")).points.shape[:3:2] == (5, 18)
    score = read_skeleton(cases / "one_outlier_2.1.pkl").points[..., 2]
    assert np.isclose(score, 0.9).sum() == score.size - 1
