"""Every format that the field writes, in its published layout: the joints that were put in come out."""

import json
import pickle

import numpy as np
import pytest

from transm3e.data.decode import DecodeError
from transm3e.data.skeleton import fit_video, read_skeleton

HEIGHT, WIDTH = 240, 320
FRAMES = 3
NOBODY = 1  # in this frame


def person(seed, joints=17):
    """(K, 3): x, y in pixels, score."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform([1, 1], [WIDTH - 1, HEIGHT - 1], (joints, 2))
    return np.column_stack([xy, rng.uniform(0.1, 1, joints)])


def film(joints=17, persons=2):
    """Frames of persons, nobody in one of them, the last with one person."""
    frames = [[person(10 * t + p, joints) for p in range(persons)] for t in range(FRAMES)]
    frames[NOBODY], frames[-1] = [], frames[-1][:1]
    return frames


def check(skeleton, frames, layout="coco17", atol=1e-3):
    """In pixels of the video, what was put in."""
    fitted = fit_video(skeleton, (HEIGHT, WIDTH), "s")
    assert fitted.layout == layout
    assert fitted.num_frames == len(frames)
    for t, people in enumerate(frames):
        assert fitted.points[t].any(axis=(1, 2)).sum() == len(people)
        for slot, joints in enumerate(people):
            np.testing.assert_allclose(fitted.points[t, slot], joints, atol=atol)


def put(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


# ---------------------------------------------------------------- MediaPipe


def marks(joints, z=-0.3):
    """Landmarks as MediaPipe gives them, in shares of the frame."""
    x, y, v = joints.T
    return [
        {"x": a, "y": b, "z": z, "visibility": c}
        for a, b, c in zip((x + 0.5) / WIDTH, (y + 0.5) / HEIGHT, v, strict=True)
    ]


MEDIAPIPE = {
    "a list per frame": lambda f: [marks(p[0]) if p else [] for p in f],
    "none": lambda f: [marks(p[0]) if p else None for p in f],
    "rows": lambda f: [[list(m.values()) for m in marks(p[0])] if p else [] for p in f],
    "tasks, of several persons": lambda f: [{"pose_landmarks": [marks(j) for j in p]} for p in f],
    "by image": lambda f: {f"{t}.jpg": marks(p[0]) if p else None for t, p in enumerate(f)},
    "messages": lambda f: [{"pose_landmarks": {"landmark": marks(p[0])} if p else None} for p in f],
    "numbered": lambda f: [{"frame": t, "landmarks": marks(p[0])} for t, p in enumerate(f) if p],
    "keypoints": lambda f: [{"frame_id": t + 1, "keypoints": marks(p[0]) if p else []} for t, p in enumerate(f)],
    "within": lambda f: {"fps": 30, "frames": [{"landmarks": marks(p[0]) if p else None} for p in f]},
}


@pytest.mark.parametrize("way", MEDIAPIPE)
def test_mediapipe_as_people_write_it(tmp_path, way):
    frames = film(33, 2 if way.startswith("tasks") else 1)
    check(read_skeleton(put(tmp_path / "s.json", MEDIAPIPE[way](frames))), frames, "blazepose33")


@pytest.mark.parametrize(("shape", "key"), [((-1, 33, 4), ""), ((-1, 33, 4), "arr_0"), ((-1, 132), "pose")])
def test_mediapipe_as_arrays(tmp_path, shape, key):
    frames = film(33, 1)
    rows = [[list(m.values()) for m in marks(p[0])] if p else np.full((33, 4), np.nan) for p in frames]
    array = np.array(rows).reshape(shape)
    np.savez(tmp_path / "s.npz", **{key: array}) if key else np.save(tmp_path / "s.npy", array)
    check(read_skeleton(next(tmp_path.iterdir())), frames, "blazepose33")


def test_depth_is_not_read_as_score(tmp_path):
    frames = film(33, 1)
    np.save(
        tmp_path / "s.npy",
        [[list(m.values())[:3] for m in marks(p[0], 0.4)] if p else np.zeros((33, 3)) for p in frames],
    )
    scores = read_skeleton(tmp_path / "s.npy").points[..., 2]
    assert scores[0].tolist() == [[1.0] * 33]
    assert not scores[NOBODY].any()


# ---------------------------------------------------------------- MMPose


def instance(joints):
    xy, score = joints[:, :2].tolist(), joints[:, 2].tolist()
    return {"keypoints": xy, "keypoint_scores": score, "bbox": [[0, 0, 9, 9]], "bbox_score": 0.9}


@pytest.mark.parametrize("first", [0, 1])  # MMPoseInferencer counts from 0, the demo script from 1
@pytest.mark.parametrize("whole", [True, False])
def test_mmpose_of_a_video(tmp_path, first, whole):
    frames = film()
    listed = [{"frame_id": t + first, "instances": [instance(j) for j in p]} for t, p in enumerate(frames)]
    content = {"meta_info": {"dataset_name": "coco"}, "instance_info": listed} if whole else listed
    skeleton = read_skeleton(put(tmp_path / "s.json", content))
    check(skeleton, frames)
    assert not skeleton.open_ended


def test_mmpose_of_images_and_as_a_list_of_frames(tmp_path):
    frames = film()
    for t, people in enumerate(frames):
        put(tmp_path / "a" / f"frame_{t:05}.json", [instance(j) for j in people])
    check(read_skeleton(tmp_path / "a"), frames)
    check(read_skeleton(put(tmp_path / "s.json", [[instance(j) for j in p] for p in frames])), frames)


# ---------------------------------------------------------------- Ultralytics


def detection(joints, track=None):
    x, y, v = joints.T.tolist()
    box = {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}
    found = {"name": "person", "class": 0, "confidence": 0.9, "box": box}
    return found | ({} if track is None else {"track_id": track}) | {"keypoints": {"x": x, "y": y, "visible": v}}


def test_ultralytics_json_of_a_video_and_of_images(tmp_path):
    frames = film()
    listed = [[detection(j, 5 + n) for n, j in enumerate(p)] for p in frames]
    skeleton = read_skeleton(put(tmp_path / "s.json", listed))
    check(skeleton, frames)
    assert skeleton.tracks.tolist() == [[5, 6], [-1, -1], [5, -1]]
    for t, people in enumerate(listed):
        put(tmp_path / "a" / f"{t}.json", people)
    check(read_skeleton(tmp_path / "a"), frames)


def line(joints, *more, dims=3):
    shares = (joints + np.array([0.5, 0.5, 0])) / [WIDTH, HEIGHT, 1]
    return " ".join(f"{v:g}" for v in (0, 0.5, 0.5, 0.4, 0.6, *shares[:, :dims].ravel(), *more)) + "\n"


@pytest.mark.parametrize(("more", "tracks"), [((), None), ((0.87,), None), ((4,), [4]), ((0.87, 4), [4])])
def test_ultralytics_txt(tmp_path, more, tracks):
    frames = film(persons=1)
    for t, people in enumerate(frames):
        if people:
            put(tmp_path / f"clip_{t + 1}.txt", line(people[0], *more))  # counts from 1, no file without people
    skeleton = read_skeleton(tmp_path)
    check(skeleton, frames, atol=2e-3)
    assert (skeleton.tracks if tracks is None else skeleton.tracks[0].tolist()) == tracks
    assert skeleton.open_ended


def test_ultralytics_txt_of_a_tracker_that_lost_a_frame(tmp_path):
    frames = [[person(1)], [person(2)]]
    put(tmp_path / "clip_1.txt", line(frames[0][0], 0.87, 4))
    put(tmp_path / "clip_2.txt", line(frames[1][0], 1))
    skeleton = read_skeleton(tmp_path)
    check(skeleton, frames, atol=2e-3)
    assert skeleton.tracks is None


def test_ultralytics_txt_without_confidences_and_of_two_videos_in_a_folder(tmp_path):
    for name, seed in (("a_b", 1), ("c", 2)):
        put(tmp_path / f"{name}_1.txt", line(person(seed), dims=2))
    with pytest.raises(DecodeError, match=r"frames of several videos \(a_b_..., c_...\)"):
        read_skeleton(tmp_path)
    one = np.column_stack([person(2)[:, :2], np.ones(17)])
    check(read_skeleton(tmp_path / "c_*.txt"), [[one]], atol=2e-3)


# ---------------------------------------------------------------- NTU RGB+D


def ntu(frames, ids=("72057594037931101", "72057594037931368"), state=2):
    """A .skeleton file: 3D, depth and colour places, orientation, state of 25 joints a body."""
    lines = [str(len(frames))]
    for people in frames:
        lines.append(str(len(people)))
        for joints, identity in zip(people, ids, strict=False):
            lines += [f"{identity} 0 1 1 1 1 0 0.02 -0.28 2", "25"]
            for x, y, _ in joints:
                lines.append(f"0.2 0.1 3.8 277.4 191.8 {6 * x:.4f} {4.5 * y:.4f} -0.25 -0.02 0.96 -0.05 {state}")
    return "\r\n".join(lines) + "\r\n"


def test_ntu_skeleton_files(tmp_path):
    frames = film(25)
    skeleton = read_skeleton(put(tmp_path / "S001C001P001R001A001.skeleton", ntu(frames)))
    assert (skeleton.layout, skeleton.height, skeleton.width, skeleton.num_frames) == ("ntu25", 1080, 1920, FRAMES)
    np.testing.assert_allclose(skeleton.points[0, 1, :, :2], frames[0][1][:, :2] * [6, 4.5], atol=1e-3)
    assert skeleton.tracks.tolist() == [[0, 1], [-1, -1], [0, -1]]
    assert set(skeleton.points[0, ..., 2].ravel()) == {1.0}
    lost = ntu(frames, state=1).replace(f"{6 * frames[0][0][3, 0]:.4f}", "-nan", 1)
    scores = read_skeleton(put(tmp_path / "lost.skeleton", lost)).points[0, 0, :, 2]
    assert scores.tolist() == [0.0 if joint == 3 else 0.5 for joint in range(25)]
    for content, reason in [
        (ntu(frames)[:-90], "truncated"),
        (ntu([[], []]), "holds no person"),
        ("2\n1\nx\n", "truncated"),
    ]:
        with pytest.raises(DecodeError, match=reason):
            read_skeleton(put(tmp_path / "bad.skeleton", content))


# ---------------------------------------------------------------- AlphaPose, OpenPose


@pytest.mark.parametrize("form", [("bodies", "joints"), ("people", "pose_keypoints_2d")])
def test_alphapose_sep_json(tmp_path, form):
    frames = film(18)
    for t, people in enumerate(frames):
        if people:
            listed = [{form[1]: joints.ravel().tolist()} for joints in people]
            put(tmp_path / "sep-json" / f"{t}.json", {"version": "AlphaPose v0.3", form[0]: listed})
    check(read_skeleton(tmp_path / "sep-json"), frames, "openpose18")


@pytest.mark.parametrize("name", ["clip_{:012}_keypoints.json", "{}.json", "{:06}_keypoints.json", "frame-{:d}.json"])
def test_openpose_1_and_other_names_of_its_files(tmp_path, name):
    frames = [[], *film(18)]  # nobody in the first frame, which has a file
    for t, people in enumerate(frames):
        listed = [{"pose_keypoints": joints.ravel().tolist(), "face_keypoints": []} for joints in people]
        put(tmp_path / name.format(t), {"version": 1.0, "people": listed})
    check(read_skeleton(tmp_path), frames, "openpose18")


# ---------------------------------------------------------------- PYSKL and other pickles and archives


def test_pyskls_compact_layout(tmp_path):
    frames = film()
    joints = np.stack([joints for people in frames for joints in people])
    inds = np.array([t for t, people in enumerate(frames) for _ in people], np.int16)
    compact = {"frame_dir": "v", "label": 0, "img_shape": (HEIGHT, WIDTH), "total_frames": FRAMES, "num_person_raw": 2}
    put_pickle = (tmp_path / "s.pkl").write_bytes
    put_pickle(pickle.dumps([compact | {"keypoint": joints, "frame_inds": inds, "box_score": np.ones(len(inds))}]))
    skeleton = read_skeleton(tmp_path / "s.pkl")
    check(skeleton, frames)
    assert not skeleton.open_ended
    put_pickle(pickle.dumps([compact | {"keypoint": joints, "frame_inds": inds + 1}]))
    with pytest.raises(DecodeError, match="frame_inds are not frames 0 to 2, of total_frames"):
        read_skeleton(tmp_path / "s.pkl")


THREE = np.random.default_rng(0).normal(size=(2, FRAMES, 25, 3))
NO_2D = {
    "3D": (
        {"keypoint": THREE, "total_frames": FRAMES},
        r"\(2, 3, 25, 3\) without keypoint_score: 3D joints are not read",
    ),
    "contents": (
        {"frame_dir": "v", "raw_file": "a.pkl", "frame_inds": THREE},
        "a table of contents of PYSKL's Kinetics",
    ),
    "kpfile": ({"v": {"keypoint": THREE[0]}, "w": {"keypoint": THREE[1]}}, "a kpfile of PYSKL's Kinetics"),
}


@pytest.mark.parametrize("kind", NO_2D)
def test_pickles_without_2d_joints_are_named_with_what_to_do(tmp_path, kind):
    content, reason = NO_2D[kind]
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DecodeError, match=reason):
        read_skeleton(tmp_path / "s.pkl")


def test_ctr_gcns_archives_and_other_arrays_are_named_with_what_to_do(tmp_path):
    x = np.zeros((2, 4, 150), np.float32)
    np.savez(tmp_path / "NTU60_CS.npz", x_train=x, y_train=np.eye(60)[:2], x_test=x, y_test=np.eye(60)[:2])
    with pytest.raises(DecodeError, match=r"a data set of 3D joints, as CTR-GCN's .*NTU's own .skeleton files"):
        read_skeleton(tmp_path / "NTU60_CS.npz")
    np.save(tmp_path / "s.npy", np.zeros((4, 17, 3)))
    with pytest.raises(DecodeError, match=r"an npy of float64 \(4, 17, 3\); allowed: MediaPipe's landmarks"):
        read_skeleton(tmp_path / "s.npy")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            [{"keypoints": [1.0] * 51}],
            "JSON of another layout; allowed: results of one video by AlphaPose, OpenPose, MMP",
        ),
        ([{"frame_id": -1, "instances": []}], "a frame's number is -1; allowed: integers from 0"),
        (
            [[instance(person(0)) | {"keypoints": [[1, 2, 3]] * 17}]],
            "a person without a flat list of x, y, score, or MMP",
        ),
        ([[detection(person(0)) | {"keypoints": {"x": [1], "y": [1, 2]}}]], "a person without"),
        ([[instance(person(0))], marks(person(0, 17))], "persons in pixels and in shares"),
        ([marks(person(0, 21))], "21 joints per person; allowed: 17"),
        ([person(0).tolist()], "a person without a flat list"),  # the third may be a score or a depth
        ([[], []], "holds no person in any frame"),
    ],
)
def test_json_of_other_kinds(tmp_path, content, reason):
    with pytest.raises(DecodeError, match=reason):
        read_skeleton(put(tmp_path / "s.json", content))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"readme.txt": "hello"}, "the folder holds no files of frames"),
        ({"1.json": [], "1.txt": "0 1"}, r"files of several kinds \(.json, .txt\)"),
        ({"1.json": [{"image_id": "1.jpg", "keypoints": [1.0] * 51}]}, "1.json lists persons by image_id"),
        ({"1.txt": "0 0.5 0.5 1 1"}, "lines of 5 numbers; Ultralytics' poses have 56"),
        ({"1.txt": "0 0.5 0.5 1 1 2 2 1\n0 0.5 0.5 1 1"}, "lines of 5 and 8 numbers; predict the video again"),
        ({"1.txt": "0 a"}, "one of its files has a line that is not numbers"),
        ({"1.json": "{"}, "not JSON, or truncated"),
    ],
)
def test_folders_of_other_files(tmp_path, files, reason):
    for name, content in files.items():
        put(tmp_path / "s" / name, content)
    with pytest.raises(DecodeError, match=reason) as caught:
        read_skeleton(tmp_path / "s")
    assert "\n" not in caught.value.reason
