"""Who is taken, how a person is followed, what becomes of it in files; the networks themselves where they are there."""

import csv
import math
import runpy

import numpy as np
import pytest

from transm3e.data.blazepose import pose as module
from transm3e.data.blazepose.models import have_models
from transm3e.data.blazepose.persons import INPUT, anchors
from transm3e.data.blazepose.pose import BlazePose
from transm3e.data.encode import write_video
from transm3e.data.skeleton import read_skeleton
from transm3e.prepare.free_exercise.landmarks import read_poses
from transm3e.prepare.free_exercise.source import read_photo

SIDE = 200


def output(values):
    """Both networks' outputs by their number of values."""
    return {np.asarray(each).size: np.asarray(each, np.float32) for each in values}


def seen(people):
    """The first network's output for persons (x, y of the hips, x, y of the scale point), shares of its input."""
    raw, logits = np.zeros((2254, 12)), np.full((2254, 1), -9.0)
    for anchor, (hips, body) in enumerate(people):
        at = 200 * (anchor + 1)
        face = [anchors()[at], [0.01, 0.01], hips, body, hips, body]
        raw[at] = ((np.array(face) - anchors()[at] * [[1], [0], [1], [1], [1], [1]]) * INPUT).ravel()
        raw[at, :2] = 0
        logits[at] = 9.0
    return output([raw, logits])


def marks(flag=1.0, turned=False):
    """The second network's: the first landmark in the middle, others below it, 33 there, too, 34 above it or to its right;
    all 100 mm to the right in metres."""
    values = np.tile([128.0, 128.0, 0, 9, 9], (39, 1))
    values[1:33, 1] += np.arange(32)
    values[34, :2] = (230, 128) if turned else (128, 26)
    world = np.tile([0.1, 0.0, 0.0], (39, 1))
    return output([values.ravel(), [flag], np.full((64, 64, 39), -9.0), world.ravel(), np.zeros((256, 256, 1))])


@pytest.fixture
def networks(monkeypatch):
    """Networks that say what a test puts into them: a value, or a function of the image."""
    said = {"find": seen([]), "look": marks()}

    def network(name):
        return lambda image: said[name](image) if callable(said[name]) else said[name]

    monkeypatch.setattr(module, "load_networks", lambda: (network("find"), network("look")))
    return said


def frame(shade=0):
    return np.full((SIDE, SIDE, 3), shade, np.uint8)


def test_the_person_in_front_is_large_and_in_the_middle(networks):
    small = ((0.5, 0.5), (0.5, 0.4))
    large = ((0.4, 0.5), (0.4, 0.2))
    corner = ((0.95, 0.95), (0.95, 0.64))  # a little larger still
    networks["find"] = seen([small, corner, large])
    pose = BlazePose().detect(frame())
    np.testing.assert_allclose(pose.joints[0, :2] + 0.5, [0.4 * SIDE, 0.5 * SIDE], atol=1e-3)
    assert pose.joints[0, 2] == pytest.approx(1 / (1 + math.exp(-9)) ** 2)


def test_world_landmarks_rotate_with_the_square(networks):
    lying = ((0.5, 0.5), (0.8, 0.5))  # the head to the right
    networks["find"] = seen([lying])
    np.testing.assert_allclose(BlazePose().detect(frame()).world, [[0, 0.1, 0]] * 33, atol=1e-6)


def test_without_an_upright_person_rotated_frames_are_searched(networks):
    def only_turned(image):
        # The frame is white on its left: turned by a quarter it is so above or below.
        return seen([((0.5, 0.5), (0.5, 0.2))] if image[:60].mean() > 0.5 else [])

    networks["find"] = only_turned
    white = frame()
    white[:, :80] = 255
    pose = BlazePose().detect(white)
    # Its head is on the left of the frame, where the turned one has its top.
    assert pose.region.angle == pytest.approx(-math.pi / 2)
    assert BlazePose().detect(frame()) is None


def test_a_person_is_followed_until_lost(networks):
    asked = []

    def find(image):
        asked.append("find")
        return seen([((0.5, 0.5), (0.5, 0.3))])

    networks["find"] = find
    networks["look"] = lambda image: asked.append("look") or marks(flag=float(image.mean() < 0.9), turned=True)
    poses = list(BlazePose().follow([frame(), frame(), frame(255), frame()]))
    assert [pose is None for pose in poses] == [False, False, True, False]
    # Lost with the square of the frame before, and in the frame as it is and turned by three quarters.
    assert "".join(word[0] for word in asked) == "fl" + "l" + "l" + "fl" * 4 + "fl"
    assert poses[1].region.angle == pytest.approx(math.pi), "the square turns on from its own angle"


def test_a_clip_becomes_a_file_with_metres(networks, repo, tmp_path, capsys):
    networks["find"] = seen([((0.5, 0.5), (0.5, 0.3))])
    networks["look"] = lambda image: marks(flag=float(image.mean() < 0.5))
    for name, shades in (("a", (0, 255, 0)), ("b", (255, 255))):
        write_video(tmp_path / f"{name}.mp4", np.array([frame(shade) for shade in shades]), 20)
    with (tmp_path / "clips.csv").open("w", newline="") as lines:
        rows = [[f"{name}.mp4", "train", "x", "none"] for name in "ab"]
        csv.writer(lines).writerows([["path", "split", "activity", "muscles"], *rows])
    main = runpy.run_path(str(repo / "datasets" / "extract_skeleton.py"))["main"]
    arguments = [str(tmp_path), "--detector", "blazepose", "--workers", "2", "--smooth", "--update-table"]
    assert main(arguments) == 2
    assert "b.mp4: nobody was found" in capsys.readouterr().out
    file = tmp_path / "skeletons" / "a.npz"
    skeleton, arrays = read_skeleton(file), np.load(file)
    assert (skeleton.layout, skeleton.height, skeleton.points[:, 0, 0, 2].round().tolist()) == (
        "blazepose33",
        SIDE,
        [1, 0, 1],
    )
    np.testing.assert_allclose(arrays["world"][0, :, :, 0], [[0.1] * 33, [0] * 33, [0.1] * 33], atol=1e-4)
    stamp = file.stat().st_mtime_ns
    main(arguments)
    assert file.stat().st_mtime_ns == stamp
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--detector", "blazepose", "--weights", "x.pth"])
    assert "--weights is not for --detector blazepose, which takes: --smooth" in capsys.readouterr().err


def test_the_shipped_landmarks_are_the_networks_output(repo, shared):
    photos = shared / "data" / "free_exercise" / "images"
    pytest.importorskip("ai_edge_litert", reason="the extra `pose` is not installed")
    if not have_models():
        pytest.skip("BlazePose's networks are not in the cache: python datasets/get_pose_models.py")
    poses, detector = read_poses(repo / "datasets" / "annotations" / "free_exercise_poses.npz"), BlazePose()
    for number in range(0, len(poses.id), 120):
        image = read_photo(photos / str(poses.id[number]) / "0.jpg")
        found = detector.detect(image)
        shipped = poses.xy[number, 0].astype(float) * poses.size[number, 0, ::-1] - 0.5
        seen_well = found.joints[:, 2] > 0.5
        size = np.ptp(shipped, axis=0).max()
        assert np.abs(found.joints[:, :2] - shipped)[seen_well].max() < 0.02 * size
        assert np.abs(found.world - poses.world[number, 0])[seen_well].max() < 0.03
