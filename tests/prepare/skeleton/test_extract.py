"""datasets/extract_skeleton.py: detectors' files to one npz per clip, and back into the clip table."""

import csv
import json
import os
import pickle
import runpy

import numpy as np
import pytest
import torch

from transm3e.data.annotations import read_clip_table
from transm3e.data.encode import write_video
from transm3e.data.skeleton import read_skeleton
from transm3e.data.skeleton.keypointrcnn import KeypointRCNN, load_network
from transm3e.errors import UserError

CLIPS = ("clips/a.mp4", "clips/b.mp4", "clips/c.mp4")


@pytest.fixture
def main(repo):
    return runpy.run_path(str(repo / "datasets" / "extract_skeleton.py"))["main"]


@pytest.fixture
def root(tmp_path):
    """A table of three clips with a column of its own, and their videos of 8 frames of 64x48."""
    folder = tmp_path / "data"
    (folder / "clips").mkdir(parents=True)
    frames = np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), dtype=np.uint8)
    for clip in CLIPS:
        write_video(folder / clip, frames, 20)
    rows = [[clip, "train", "squat", "biceps", 'my "note", too'] for clip in CLIPS]
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([["path", "split", "activity", "muscles", "note"], *rows])
    return folder


def result(frames, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"image_id": f"{t}.jpg", "keypoints": (rng.uniform(1, 40, (17, 3)) * [scale, scale, 0.02]).ravel().tolist()}
        for t in range(frames)
    ]


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_folder_of_alphapose_files(main, root, tmp_path, capsys):
    source = tmp_path / "found"
    write(source / "AlphaPose_a.json", result(8))
    write(source / "b" / "alphapose-results.json", result(20))  # of another video
    arguments = [str(root), "--from", str(source)]
    assert main(arguments) == 2
    assert read_clip_table(root).skeletons.tolist() == ["", "", ""]
    assert "--update-table" in capsys.readouterr().out
    assert main([*arguments, "--update-table"]) == 2
    table = read_clip_table(root)
    assert table.skeletons.tolist() == ["skeletons/clips/a.npz", "", ""]
    made, given = read_skeleton(root / table.skeletons[0]), read_skeleton(source / "AlphaPose_a.json")
    np.testing.assert_allclose(made.points, given.points, atol=1 / 32)
    assert (made.height, made.width) == (48, 64)
    with (root / "clips.csv").open(newline="", encoding="utf-8") as lines:
        assert [row["note"] for row in csv.DictReader(lines)] == ['my "note", too'] * 3
    report = dict(csv.reader((root / "skeletons" / "without_skeleton.csv").open(encoding="utf-8")))
    assert "ends at frame 20, its video has 8" in report["clips/b.mp4"]
    assert report["clips/c.mp4"] == "the detector's output has no c"
    assert (root / "clips.csv.bak").is_file()


def test_files_up_to_date_are_kept_and_older_ones_are_made_again(main, root, tmp_path):
    source = tmp_path / "found"
    files = [write(source / f"{name}.json", result(8, seed=i)) for i, name in enumerate("abc")]
    arguments = [str(root), "--from", str(source), "--update-table"]
    assert main(arguments) == 0
    made = [root / "skeletons" / "clips" / f"{name}.npz" for name in "abc"]
    stamps = [file.stat().st_mtime_ns for file in made]
    made[1].unlink()
    os.utime(files[2], (2**31, 2**31))
    assert main(arguments) == 0
    again = [file.stat().st_mtime_ns for file in made]
    assert [a == b for a, b in zip(stamps, again, strict=True)] == [True, False, False]
    assert not list(root.glob("*.bak2")), "the table was right already"


def test_a_file_of_somebody_else_is_left_alone(main, root, tmp_path, capsys):
    source = write(tmp_path / "found" / "a.json", result(8)).parent
    foreign = root / "skeletons" / "clips" / "a.npz"
    foreign.parent.mkdir(parents=True)
    np.savez(foreign, mine=np.ones(3))
    before = foreign.read_bytes()
    with pytest.raises(SystemExit) as ended:
        main([str(root), "--from", str(source)])
    assert ended.value.code == 2
    assert "a.npz exists and was not made by" in capsys.readouterr().err
    assert foreign.read_bytes() == before


def test_one_pickle_of_all_videos(main, root, tmp_path):
    points = np.random.default_rng(0).uniform(1, 40, (2, 8, 17, 2)).astype(np.float16)
    common = {"keypoint": points, "keypoint_score": np.ones((2, 8, 17)), "img_shape": (48, 64), "total_frames": 8}
    names = ("clips/a", "b", "elsewhere/c")
    file = tmp_path / "all.pkl"
    file.write_bytes(pickle.dumps({"split": {}, "annotations": [common | {"frame_dir": name} for name in names]}))
    assert main([str(root), "--from", str(file), "--update-table"]) == 2
    assert [bool(name) for name in read_clip_table(root).skeletons] == [True, True, False]
    made = read_skeleton(root / "skeletons/clips/b.npz")
    np.testing.assert_allclose(made.joints(range(8))[..., :2], points.swapaxes(0, 1), atol=1 / 32)


def test_sizes_and_open_ends(main, root, tmp_path):
    source = tmp_path / "found"
    write(source / "a.json", result(8, scale=4))  # in frames of 256x192
    write(source / "b.json", result(3))  # nobody after frame 2
    report = root / "skeletons" / "without_skeleton.csv"
    assert main([str(root), "--from", str(source)]) == 2
    assert "joints lie outside 64x48" in report.read_text()
    assert "--open-end" in report.read_text()
    main([str(root), "--from", str(source), "--detector-size", "256x192", "--open-end"])
    assert report.read_text().count("\n") == 2
    first, second = (read_skeleton(root / "skeletons" / "clips" / f"{name}.npz") for name in "ab")
    assert (first.height, first.width) == (192, 256)
    assert (second.num_frames, second.open_ended) == (8, False)
    assert not second.joints([5]).any()


def test_two_outputs_for_a_clip_and_two_clips_for_an_output(main, root, tmp_path):
    source = tmp_path / "found"
    write(source / "a.json", result(8))
    write(source / "a.mp4.json", result(8))
    table = root / "clips.csv"
    table.write_text(table.read_text().replace("clips/c.mp4", "other/b.mp4"))
    write(source / "b.json", result(8))
    assert main([str(root), "--from", str(source)]) == 2
    report = (root / "skeletons" / "without_skeleton.csv").read_text()
    assert "several outputs fit" in report
    assert report.count("b.json fits 2 clips") == 2


def test_keypoint_rcnn_with_drawn_weights(root, tmp_path):
    torch.manual_seed(0)
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    file = tmp_path / "weights.pth"
    torch.save(keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict(), file)
    write_video(root / "short.mp4", np.full((3, 48, 64, 3), 90, np.uint8), 20)
    maker = KeypointRCNN(file, root, batch_size=2, min_score=0.0, max_persons=2)
    # Small frames and few boxes, for speed; drawn weights are sure of nothing.
    maker.network.transform.min_size = (48,)
    maker.network.rpn._post_nms_top_n = {"training": 8, "testing": 8}
    maker.network.roi_heads.score_thresh, maker.network.roi_heads.detections_per_img = 0.0, 3
    skeleton, size = maker.make("short.mp4")
    assert size == (48, 64)
    assert (skeleton.num_frames, skeleton.layout, skeleton.height, skeleton.width) == (3, "coco17", 48, 64)
    assert skeleton.points.shape[1:] == (2, 17, 3)
    assert ((skeleton.points[..., 2] >= 0) & (skeleton.points[..., 2] <= 1)).all()
    assert skeleton.points[..., 2].any()


def test_weights_that_do_not_fit_are_named(tmp_path):
    file = tmp_path / "w.pth"
    for content, reason in [({"a": torch.ones(1)}, "Error"), (eval, "other than tensors")]:
        torch.save(content, file)
        with pytest.raises(UserError, match=f"--weights .*{reason}.*give a state dict"):
            load_network(file)


def ultralytics(file, seed):
    shares = np.random.default_rng(seed).uniform(0.1, 0.9, (17, 3))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(" ".join(f"{v:g}" for v in (0, 0.5, 0.5, 0.4, 0.6, *shares.ravel())) + "\n", encoding="utf-8")
    return shares * [64, 48, 1] - [0.5, 0.5, 0]


def test_files_of_frames_belong_to_the_clip_of_their_folder_or_of_their_name(main, root, tmp_path):
    source = tmp_path / "predict"
    expected = [ultralytics(source / "labels" / f"a_{t + 1}.txt", t) for t in range(8)]
    for t, entry in enumerate(result(8)):
        frame = {"version": "AlphaPose v0.3", "people": [{"pose_keypoints_2d": entry["keypoints"]}]}
        write(source / "b" / "sep-json" / f"{t}.json", frame)
        write(source / "c" / f"any_{t}.json", frame)
    write(source / "c.json", result(8, seed=5))  # a file of the whole video comes first
    assert main([str(root), "--from", str(source), "--update-table"]) == 0
    a, b, c = (read_skeleton(root / "skeletons" / "clips" / f"{name}.npz") for name in "abc")
    np.testing.assert_allclose(a.points[:, 0], expected, atol=1 / 16)
    assert (a.height, a.width) == (48, 64)
    for made, seed in ((b, 0), (c, 5)):
        flat = np.reshape([entry["keypoints"] for entry in result(8, seed=seed)], (8, 17, 3))
        np.testing.assert_allclose(made.points[:, 0], flat, atol=1 / 32)


def test_ntus_videos_end_in_rgb_and_its_skeletons_do_not(main, root, tmp_path):
    table = root / "clips.csv"
    (root / "clips" / "a.mp4").rename(root / "clips" / "S001_rgb.mp4")
    table.write_text(table.read_text().replace("clips/a.mp4", "clips/S001_rgb.mp4"))
    rows = [f"0 0 0 0 0 {600 + 30 * joint} {300 + 9 * joint} 0 0 0 0 2" for joint in range(25)]
    body = "\n".join(["1", "72057594037931101 0 0 0 0 0 0 0 0 2", "25", *rows])
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "S001.skeleton").write_text("\n".join(["8", *[body] * 8, ""]))
    main([str(root), "--from", str(tmp_path / "found"), "--update-table"])
    assert read_clip_table(root).skeletons.tolist() == ["skeletons/clips/S001_rgb.npz", "", ""]
    made = read_skeleton(root / "skeletons" / "clips" / "S001_rgb.npz")
    assert (made.layout, made.width, made.tracks.tolist()) == ("ntu25", 1920, [[0]] * 8)


def test_what_the_numbers_are_is_said_once_for_all_files(main, root, tmp_path):
    source, report = tmp_path / "found", root / "skeletons" / "without_skeleton.csv"
    scores = {"a": 300, "b": 40, "c": 200}  # up to 6, or so low that it could be of another scale
    for name, factor in scores.items():
        entries = result(8)
        for entry in entries:
            entry["keypoints"] = (
                (np.reshape(entry["keypoints"], (17, 3)) * [1 / 64, 1 / 48, factor / 40]).ravel().tolist()
            )
        write(source / f"{name}.json", entries)
    assert main([str(root), "--from", str(source)]) == 2
    assert report.read_text().count("another scale than 0 to 1") == 2
    assert main([str(root), "--from", str(source), "--score-scale", "6"]) == 2
    assert report.read_text().count("--units shares") == 3
    assert main([str(root), "--from", str(source), "--score-scale", "6", "--units", "shares"]) == 0
    for name, factor in scores.items():
        made = read_skeleton(root / "skeletons" / "clips" / f"{name}.npz")
        expected = np.reshape([entry["keypoints"] for entry in result(8)], (8, 17, 3))
        np.testing.assert_allclose(made.points[:, 0, :, :2], expected[..., :2] - 0.5, atol=1 / 16)
        np.testing.assert_allclose(made.points[:, 0, :, 2], expected[..., 2] * factor / 240, rtol=1e-3)
    with pytest.raises(SystemExit):
        main([str(root), "--from", str(source), "--score-scale", "0"])


def test_exchanged_sides_are_told_by_the_video_and_fixed_by_the_size(main, root, tmp_path):
    points = np.random.default_rng(0).uniform(2, 46, (1, 8, 17, 2))
    whole = {"keypoint": points, "keypoint_score": np.ones((1, 8, 17)), "img_shape": (64, 48), "total_frames": 8}
    (tmp_path / "all.pkl").write_bytes(pickle.dumps([whole | {"frame_dir": name} for name in "abc"]))
    assert main([str(root), "--from", str(tmp_path / "all.pkl")]) == 2
    assert (root / "skeletons" / "without_skeleton.csv").read_text().count("its video is 64 wide and 48 high") == 3
    assert main([str(root), "--from", str(tmp_path / "all.pkl"), "--detector-size", "64x48"]) == 0
    assert read_skeleton(root / "skeletons" / "clips" / "a.npz").width == 64
