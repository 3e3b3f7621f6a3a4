"""Skeleton files of every layout, real and made, good and bad."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton import Skeleton, check_frames, read_skeleton
from transm3e.data.skeleton.pyskl import write_npz
from transm3e.data.skeleton.units import Declared

PKL = "paddlevideo_example_UCF101_skeleton.pkl"
NPZ = "v_ApplyEyeMakeup_g01_c01_coco17.npz"
JSON = "alphapose_format_from_paddlevideo_UCF101.json"


def person(seed, joints=17, high=1.0):
    rng = np.random.default_rng(seed)
    return np.round(np.column_stack([rng.uniform(1, 200, (joints, 2)), rng.uniform(0.1, high, joints)]), 3)


def entry(image, seed=0, joints=17, high=1.0, **more):
    return {"image_id": image, "category_id": 1, "keypoints": person(seed, joints, high).ravel().tolist(), **more}


def annotation(frames=5, persons=2, name="a"):
    points = np.stack([[person(10 * p + t) for t in range(frames)] for p in range(persons)])
    return {
        "frame_dir": name,
        "keypoint": points[..., :2].astype(np.float16),
        "keypoint_score": points[..., 2].astype(np.float16),
        "img_shape": (240, 320),
        "total_frames": frames,
        "label": 3,
    }


@pytest.fixture
def write(tmp_path):
    def write(content, name="s.json"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return file

    return write


def test_the_real_files_of_three_layouts_agree(shared):
    pkl, npz, listed = (read_skeleton(shared / "data" / "skeleton" / name) for name in (PKL, NPZ, JSON))
    every = np.arange(163)
    assert (pkl.num_frames, pkl.height, pkl.width, pkl.layout) == (163, 256, 340, "coco17")
    assert pkl.joints(every).shape == (163, 2, 17, 3)
    np.testing.assert_array_equal(pkl.joints(every), npz.joints(every))
    # Two decimals were written.
    np.testing.assert_allclose(pkl.joints(every), listed.joints(every), atol=0.006)
    assert (listed.height, listed.width) == (None, None)
    assert pkl.joints(every)[..., 2].max() <= 1


def test_every_json_layout_holds_the_same_persons(write):
    shown = {0: [1, 2], 2: [3]}  # nobody in frame 1
    people = [(t, seed) for t, seeds in shown.items() for seed in seeds]

    def flat(seed):
        return person(seed, 18).ravel().tolist()

    layouts = [
        [{"image_id": f"{t}.jpg", "keypoints": flat(seed), "score": 2.7} for t, seed in people],
        {f"{t}.jpg": {"version": "x", "bodies": [{"joints": flat(s)} for s in seeds]} for t, seeds in shown.items()},
        {f"{t}.jpg": {"people": [{"pose_keypoints_2d": flat(s)} for s in seeds]} for t, seeds in shown.items()},
        {f"{t}.jpg": [{"keypoints": flat(s), "score": 1.2} for s in seeds] for t, seeds in shown.items()},
    ]
    expected = np.zeros((3, 2, 18, 3))
    expected[0], expected[2, 0] = [person(1, 18), person(2, 18)], person(3, 18)
    for content in layouts:
        skeleton = read_skeleton(write(content))
        assert skeleton.layout == "openpose18"
        np.testing.assert_allclose(skeleton.joints([0, 1, 2]), expected, rtol=1e-6)


def test_openpose_writes_a_file_per_frame(write, tmp_path):
    for t in range(3):
        people = [{"pose_keypoints_2d": person(t, 25).ravel().tolist()}] if t != 1 else []
        write({"version": 1.3, "people": people}, f"v_g01_00000000000{t}_keypoints.json")
    skeleton = read_skeleton(tmp_path)
    assert skeleton.layout == "openpose18"
    # BODY_25: nose, neck, arms, middle hip (8), legs, eyes, ears, feet.
    expected = np.delete(person(2, 25)[:19], 8, axis=0)
    np.testing.assert_allclose(skeleton.joints([2])[0, 0], expected, rtol=1e-6)
    assert not skeleton.joints([1]).any()


@pytest.mark.parametrize(
    ("images", "numbers"),
    [
        (["0.jpg", "4.jpg"], [0, 4]),
        (["1.jpg", "4.jpg"], [0, 3]),
        (["3.jpg", "4.jpg"], [3, 4]),  # a video that shows nobody at first
        (["x/frame_000003.png", "x/frame_000012.png"], [2, 11]),
        ([1, 2], [0, 1]),
        ([0, 2], [0, 2]),
        (["v_g01_c01_000000.jpg", "v_g01_c01_000012.jpg"], [0, 12]),
    ],
)
def test_frame_numbers_of_image_ids(write, images, numbers):
    skeleton = read_skeleton(write([entry(image) for image in images]))
    assert np.flatnonzero(skeleton.points.any(axis=(1, 2, 3))).tolist() == numbers


def test_scores_and_whole_bodies(write):
    old = read_skeleton(write([entry("0.jpg", high=6)]), Declared(score_scale=6))
    np.testing.assert_allclose(old.points[0, 0, :, 2], person(0, high=6)[:, 2] / 6, rtol=1e-6)
    overshoot = read_skeleton(write([entry("0.jpg", high=1.5)]))
    np.testing.assert_allclose(overshoot.points[0, 0, :, 2], person(0, high=1.5)[:, 2].clip(0, 1), rtol=1e-6)
    for joints, body, layout in [(136, 26, "halpe26"), (133, 17, "coco17"), (26, 26, "halpe26")]:
        skeleton = read_skeleton(write([entry("0.jpg", joints=joints)]))
        assert skeleton.layout == layout
        np.testing.assert_allclose(skeleton.points[0, 0], person(0, joints)[:body], rtol=1e-6)


def test_tracks_and_missing_joints(write):
    first = entry("0.jpg", 1, idx=7)
    first["keypoints"][:3] = [0, 0, 0.4]
    first["keypoints"][3:6] = [5, 5, 0]
    skeleton = read_skeleton(write([first, entry("0.jpg", 2, idx=[4.0]), entry("1.jpg", 3, idx=4)]))
    assert skeleton.track_numbers([0, 1, 9]).tolist() == [[7, 4], [4, -1], [-1, -1]]
    assert not skeleton.points[0, 0, :2].any()
    assert skeleton.points[0, 0, 2:].all()


@pytest.mark.parametrize("holder", ["one", "list", "annotations"])
def test_pickles_of_one_and_many_videos(write, holder):
    one, other = annotation(), annotation(6, 1, "folder/b")
    content = {"one": one, "list": [one, other], "annotations": {"split": {}, "annotations": [one, other]}}[holder]
    file = write(pickle.dumps(content), "s.pkl")
    skeleton = read_skeleton(f"{file}::a")
    np.testing.assert_array_equal(skeleton.joints(range(5))[:, 1, :, :2], one["keypoint"][1])
    if holder != "one":
        assert read_skeleton(f"{file}::folder/b").num_frames == 6
        with pytest.raises(DecodeError, match="holds 2 videos; write FILE::frame_dir"):
            read_skeleton(file)
        with pytest.raises(DecodeError, match=r"no 'folder/c' among its 2 videos.*::folder/b"):
            read_skeleton(f"{file}::folder/c")


def test_a_changed_pickle_is_read_again(write, monkeypatch):
    file = write(pickle.dumps([annotation()]), "s.pkl")
    assert read_skeleton(file).num_frames == 5
    with monkeypatch.context() as patch:
        patch.setattr("transm3e.data.skeleton.pyskl.read_pickle", None)  # not called again
        read_skeleton(file)
    write(pickle.dumps([annotation(9)]), "s.pkl")
    assert read_skeleton(file).num_frames == 9


def test_an_npz_round_trip(tmp_path):
    points = np.stack([np.stack([person(t), person(50 + t)]) for t in range(4)]).astype(np.float32)
    points[2, 1] = 0
    tracks = np.array([[1, 2], [1, 2], [1, -1], [2, 1]])
    write_npz(tmp_path / "s.npz", Skeleton(points, "coco17", tracks=tracks), (240, 320), "a test")
    back = read_skeleton(tmp_path / "s.npz")
    assert (back.height, back.width, back.layout, back.open_ended) == (240, 320, "coco17", False)
    np.testing.assert_array_equal(back.tracks, tracks)
    np.testing.assert_allclose(back.points[..., :2], points[..., :2], atol=1 / 32)
    np.testing.assert_allclose(back.points[..., 2], points[..., 2], atol=5e-4)
    write_npz(tmp_path / "nobody.npz", Skeleton(points[:, :0], "coco17"), (240, 320), "a test")
    assert read_skeleton(tmp_path / "nobody.npz").joints([0, 3]).shape == (2, 0, 17, 3)


def of_ntu(**more):
    points = np.stack([person(t, 25) for t in range(5)])[None]
    return {**annotation(), "keypoint": points[..., :2], "keypoint_score": points[..., 2], **more}


def test_25_joints_are_the_kinects_if_the_file_says_so(write, tmp_path):
    file = write(pickle.dumps(of_ntu(layout="ntu25")), "s.pkl")
    skeleton = read_skeleton(file)
    assert (skeleton.layout, skeleton.points.shape) == ("ntu25", (5, 1, 25, 3))
    np.testing.assert_allclose(skeleton.points[3, 0], person(3, 25), rtol=1e-6)
    write_npz(tmp_path / "s.npz", skeleton, (240, 320), "a test")
    back = read_skeleton(tmp_path / "s.npz")
    assert back.layout == "ntu25"
    np.testing.assert_allclose(back.points[..., :2], skeleton.points[..., :2], atol=1 / 32)


NAN = entry("0.jpg") | {"keypoints": [float("nan")] * 51}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "neither JSON nor pickle nor npz"),
        (b'[{"image_id": "0.jpg", "keyp', "not JSON, or truncated"),
        (b"PK\x03\x04cut", "not an npz of arrays"),
        (pickle.dumps({"keypoint": 1})[:-9], "not a pickle, or a damaged one"),
        (pickle.dumps({"paths": []}), "a pickle of another layout"),
        (pickle.dumps(annotation() | {"total_frames": 7}), "total_frames is 7 but the arrays hold 5"),
        (pickle.dumps(annotation() | {"img_shape": "big"}), "img_shape is 'big'"),
        (pickle.dumps(of_ntu()), "25 joints per person are NTU-25 or OpenPose's BODY_25; add layout='ntu25'"),
        (pickle.dumps(of_ntu(layout="kinect")), "25 joints per person do not fit its layout 'kinect'; allowed: coco17"),
        (pickle.dumps(annotation() | {"layout": "ntu25"}), "17 joints per person do not fit its layout 'ntu25'"),
        ([entry("0.jpg", joints=25)], "25 joints per person are NTU-25 or"),
        (pickle.dumps(eval), "refused, it holds builtins.eval"),
        ([], "holds no person in any frame"),
        ([NAN], "NaN"),
        ([entry("0.jpg") | {"keypoints": [10**400] * 51}], "a flat list"),
        ([entry("0.jpg") | {"keypoints": [1e300] * 51}], "infinite"),
        ([entry("0.jpg", joints=15)], "15 joints per person; allowed: 17 .coco17."),
        ([entry("0.jpg"), entry("1.jpg", joints=26)], "17 and 26 joints"),
        ([entry("a/0.jpg"), entry("b/1.jpg")], r"several videos \(a/..., b/...\)"),
        ([entry("first.jpg")], "'first.jpg' has no frame number"),
        ([entry(None)], "'None' has no frame number"),
        ([entry(2**40), entry(1)], "not the frames of one video"),
        ([entry("0.jpg", idx=float("inf"))], "idx"),
        ({"info": {}, "images": [], "annotations": []}, "JSON of another layout"),
        ([1, 2], "JSON of another layout"),
        ("text", "neither JSON"),
    ],
)
def test_bad_files_are_named_with_the_reason(write, content, reason):
    file = write(content)
    with pytest.raises(DecodeError, match=reason) as caught:
        read_skeleton(file)
    assert caught.value.path == str(file)
    assert "\n" not in caught.value.reason


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_error_of_one_line_or_a_skeleton(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    kind = data.draw(st.sampled_from(["npz", "pkl", "json"]))
    file = folder / f"damaged.{kind}"
    if kind == "npz":
        write_npz(file, Skeleton(np.stack([person(t)[None] for t in range(3)]), "coco17"), (240, 320), "a test")
    else:
        file.write_bytes(pickle.dumps(annotation()) if kind == "pkl" else json.dumps([entry("0.jpg")]).encode())
    content = bytearray(file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    reason = ""
    try:
        assert read_skeleton(file).joints([0, 2]).shape[0] == 2
    except DecodeError as error:
        reason = error.reason
    assert "\n" not in reason


def test_a_missing_file_and_a_member_of_another_format(write):
    file = write([entry("0.jpg")])
    with pytest.raises(DecodeError, match=r"no such file; make it with datasets/extract_skeleton.py"):
        read_skeleton(file.with_name("other.json"))
    with pytest.raises(DecodeError, match="without ::a"):
        read_skeleton(f"{file}::a")


@pytest.mark.parametrize(
    ("frames", "video", "open_ended", "good"),
    [
        (163, 164, False, True),
        (10, 12, False, True),
        (10, 13, False, False),
        (13, 10, True, False),
        (1000, 1020, False, True),
        (1000, 1021, False, False),
        (75, 100, True, True),  # nobody in the last quarter, perhaps
        (74, 100, True, False),
    ],
)
def test_frames_that_do_not_match_the_video(frames, video, open_ended, good):
    skeleton = Skeleton(np.zeros((frames, 1, 17, 3), np.float32), "coco17", open_ended=open_ended)
    if good:
        check_frames(skeleton, video, "s.json")
    else:
        with pytest.raises(DecodeError, match=f"{frames}.*, its video has {video}; run"):
            check_frames(skeleton, video, "s.json")


def test_past_the_end_the_last_frame_is_repeated_or_empty():
    points = np.ones((3, 1, 17, 3), np.float32) * np.arange(1, 4).reshape(3, 1, 1, 1)
    assert Skeleton(points, "coco17").joints([2, 3, 9])[:, 0, 0, 0].tolist() == [3, 3, 3]
    assert Skeleton(points, "coco17", open_ended=True).joints([2, 3, 9])[:, 0, 0, 0].tolist() == [3, 0, 0]
