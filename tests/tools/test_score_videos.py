"""Videos scored by a model of joints: persons are found first, kept, and read as those of a clip table are."""

from __future__ import annotations

import csv
import os
import shutil
from contextlib import closing

import numpy as np
import pytest

from transm3e.data.annotations import MUSCLES, Clip, write_clip_table
from transm3e.data.backends import open_source
from transm3e.data.decode import count_frames
from transm3e.data.encode import write_video
from transm3e.data.skeleton import Skeleton
from transm3e.data.skeleton.detectors import DETECTORS
from transm3e.prepare.skeleton.job import run
from transm3e.report.scores import read_predictions

FRAMES, HEIGHT, WIDTH = 12, 32, 48
WORDS = (
    *("--cfg", "configs/MuscleSynth/stgcn.yaml", "SOLVER.MAX_EPOCH", 1, "DATA_LOADER.NUM_WORKERS", 0),
    *("DATA.NUM_FRAMES", 4, "DATA.SAMPLING_RATE", 2, "TEST.NUM_ENSEMBLE_VIEWS", 2, "TENSORBOARD.ENABLE", False),
    *("STGCN.WIDTH", 8, "DEMO.DETECTOR", "fake"),
)


class Fake:
    """Finds a person whose joints hang on the frame's brightness; nobody where a video is black."""

    layout, options, origin = "coco17", (), "fake"
    made: list[str] = []  # noqa: RUF012

    def __init__(self, options):
        self.root, self.note = options.root, options.note

    @classmethod
    def build(cls, options):
        return cls(options)

    def inputs(self, clip):
        return [self.root / clip]

    def make(self, clip):
        self.note(clip)
        with closing(open_source(self.root / clip)) as video:
            frames = video.frames(range(video.num_frames))
        self.made.append(clip)
        light = frames.mean(axis=(1, 2, 3)) / 255
        points = np.random.default_rng(0).uniform(0.2, 0.8, (len(frames), 1, 17, 3)).astype(np.float32)
        points[..., :2] *= (1 + light)[:, None, None, None] * [WIDTH / 2, HEIGHT / 2]
        points[light < 0.05] = 0
        return Skeleton(points, self.layout, HEIGHT, WIDTH), (HEIGHT, WIDTH)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Twelve clips of noise, one of them black at first and one throughout, in a table; the detector is known."""
    monkeypatch.setenv("TRANSM3E_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(DETECTORS._entries, "fake", Fake)
    monkeypatch.setattr(Fake, "made", [])
    folder, rng, clips = tmp_path / "my data", np.random.default_rng(0), []
    folder.mkdir()
    for i, split in enumerate(["train"] * 8 + ["known_val", "new_val", "known_test", "new_test"]):
        frames = rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
        frames[: {9: 3, 11: FRAMES}.get(i, 0)] = 0
        write_video(folder / f"{i}.mp4", frames, 20)
        clips.append(Clip(f"{i}.mp4", split, f"activity {i % 2}", (i % 2, 3)))
    write_clip_table(folder / "clips.csv", clips)
    run(folder, detector="fake", update_table=True, out=folder / "joints")
    Fake.made.clear()
    return folder


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return {row["clip"]: row for row in csv.DictReader(lines)}


def demo(root, tmp_path, *more):
    out = ("DEMO.OUTPUT_FILE", tmp_path / "out" / "s.csv", "TEST.ENABLE", False, "DEMO.ENABLE", True)
    return *WORDS, "DATA.PATH_TO_DATA_DIR", root, *out, "DEMO.INPUT_VIDEO", root, *more


def test_scores_are_those_of_a_clip_table_with_the_same_skeletons(run_net, root, tmp_path):
    assert run_net(*WORDS, "DATA.PATH_TO_DATA_DIR", root)[0] == 0
    (root / "broken.mp4").write_bytes(b"no video")
    status, out, err = run_net(*demo(root, tmp_path))
    assert status == 0, err
    assert len(Fake.made) == 12
    assert "scores of 11 videos, 2 failed" in out
    rows = rows_of(tmp_path / "out" / "s.csv")
    assert set(rows) == {"broken.mp4", *(f"{i}.mp4" for i in range(12))}
    [folder] = (tmp_path / "runs").iterdir()
    for i, split in enumerate(("known_val", "new_val", "known_test"), 8):
        scored = read_predictions(folder / "predictions" / f"{split}.npz").scores[0]
        known = [rows[f"{i}.mp4"][name] for name in MUSCLES if name in ("neck_and_head", "chest", "biceps")]
        np.testing.assert_allclose(np.array(known, float), scored[[0, 1, 3]], atol=1e-6)
        assert {rows[f"{i}.mp4"][name] for name in MUSCLES[4:]} == {""}, "no training clip shows them"
    seen = {name: (row["frames"], row["coverage"], row["error"]) for name, row in rows.items()}
    assert seen["8.mp4"] == ("12", "1.0000", "")
    assert seen["9.mp4"] == ("12", "0.7500", "")
    assert seen["11.mp4"] == ("12", "0.0000", "nobody was found in any frame")
    assert seen["broken.mp4"][:2] == ("", "")
    assert "cannot be decoded" in seen["broken.mp4"][2]
    # What was found is kept, by what is in a file, whatever it is called.
    (root / "8.mp4").rename(root / "renamed.mp4")
    assert run_net(*demo(root, tmp_path))[0] == 0
    assert len(Fake.made) == 12
    again = rows_of(tmp_path / "out" / "s.csv")
    assert {**again["renamed.mp4"], "clip": ""} == {**rows["8.mp4"], "clip": ""}
    # A damaged file is made anew.
    for file in (tmp_path / "cache").rglob("*.npz"):
        file.write_bytes(b"PK")
    assert run_net(*demo(root, tmp_path))[0] == 0
    assert len(Fake.made) == 24
    assert rows_of(tmp_path / "out" / "s.csv") == again


def test_joints_beside_the_videos_are_taken_without_a_detector(run_net, root, tmp_path, monkeypatch):
    shutil.copytree(root / "joints", root / "skeletons")
    told = demo(root, tmp_path, "DEMO.DETECTOR", "none")
    assert run_net(*told)[0] == 0
    rows = rows_of(tmp_path / "out" / "s.csv")
    assert (rows["9.mp4"]["coverage"], rows["11.mp4"]["error"]) == ("0.7500", "nobody was found in any frame")
    # Of another video: not taken in silence.
    write_video(root / "0.mp4", np.full((40, HEIGHT, WIDTH, 3), 90, np.uint8), 20)
    os.utime(root / "0.mp4", (1, 1))
    assert run_net(*told)[0] == 0
    assert "has 12 frames, its video has 40" in rows_of(tmp_path / "out" / "s.csv")["0.mp4"]["error"]
    # Older than its video: found anew.
    os.utime(root / "0.mp4")
    assert run_net(*demo(root, tmp_path))[0] == 0
    assert rows_of(tmp_path / "out" / "s.csv")["0.mp4"]["frames"] == "40"
    assert Fake.made == ["0.mp4"]


def test_windows_and_overlay_of_one_video(run_net, root, tmp_path):
    """A window that is the whole video has the video's scores; the overlay shows all of it."""
    opts = ("DEMO.INPUT_VIDEO", root / "8.mp4", "DEMO.OUTPUT_FILE", tmp_path / "o.mp4", "DEMO.STRIDE", 0.2)
    status, out, err = run_net(*demo(root, tmp_path, *opts, "DEMO.WINDOW", 0.6, "OUTPUT_DIR", tmp_path / "run"))
    assert status == 0, err
    assert f"overlay: {tmp_path / 'o.mp4'}" in out
    assert count_frames(tmp_path / "o.mp4") == FRAMES
    whole = rows_of(tmp_path / "run" / "scores.csv")["8.mp4"]
    with (tmp_path / "run" / "scores_windows.csv").open() as lines:
        windows = list(csv.DictReader(lines))
    assert {(w["start"], w["end"]) for w in windows} == {("0.000", "0.600")}
    assert {w["muscle"]: w["score"] for w in windows} == {name: whole[name] for name in MUSCLES if whole[name]}
    status, out, err = run_net(*demo(root, tmp_path, *opts, "DEMO.WINDOW", 0.25, "OUTPUT_DIR", tmp_path / "run"))
    assert status == 0, err
    with (tmp_path / "run" / "scores_windows.csv").open() as lines:
        windows = list(csv.DictReader(lines))
    spans = [(w["start"], w["end"]) for w in windows]
    assert list(dict.fromkeys(spans)) == [("0.000", "0.250"), ("0.200", "0.450"), ("0.400", "0.600")]


def test_overlay_of_a_folder_and_too_many_windows(run_net, root, tmp_path):
    status, _, err = run_net(*demo(root, tmp_path, "DEMO.OUTPUT_FILE", tmp_path / "o.mp4"))
    assert (status, "set DEMO.OVERLAYS to a folder" in err) == (2, True)
    opts = ("DEMO.INPUT_VIDEO", root / "8.mp4", "DEMO.WINDOW", 0.1, "DEMO.STRIDE", 1e-5)
    status, _, err = run_net(*demo(root, tmp_path, *opts))
    assert (status, "raise DEMO.STRIDE to" in err) == (2, True)
    shutil.copytree(root / "joints", root / "skeletons")
    status, _, err = run_net(*demo(root, tmp_path, "DEMO.OVERLAYS", tmp_path / "all"))
    assert status == 0, err
    assert "no overlay of 11.mp4, as it has no scores" in err
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == sorted(f"{i}.mp4.mp4" for i in range(11))


@pytest.mark.parametrize(
    ("opts", "said"),
    [
        (
            ("DEMO.DETECTOR", "fakes"),
            "DEMO.DETECTOR is 'fakes', which does not exist; allowed: blazepose, fake, keypoint",
        ),
        (
            ("SKELETON.LAYOUT", "blazepose33"),
            "SKELETON.LAYOUT blazepose33; set DEMO.DETECTOR blazepose, or put skeleton files into",
        ),
        (
            ("SKELETON.LAYOUT", "ntu25"),
            "cannot be converted to the model's SKELETON.LAYOUT ntu25; no detector of this project finds them",
        ),
        (("DEMO.DETECTOR", "keypointrcnn"), "DEMO.DETECTOR keypointrcnn needs DEMO.DETECTOR_WEIGHTS"),
        (("DEMO.DETECTOR_WEIGHTS", "a.pth"), "DEMO.DETECTOR fake has its own; leave DEMO.DETECTOR_WEIGHTS empty"),
        (("DEMO.DETECTOR", "blazepose"), "get_pose_models.py"),
    ],
)
def test_mistakes_are_told_before_training(run_net, root, tmp_path, opts, said):
    if opts == ("DEMO.DETECTOR", "blazepose"):
        pytest.importorskip("ai_edge_litert", reason="the extra pose is not installed")
    status, _, err = run_net(*demo(root, tmp_path, *opts, "TRAIN.ENABLE", True))
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (status, "Traceback" in err) == (2, False)
    assert said in line
    assert Fake.made == []


def test_pictures_of_those_that_can_be_read(run_net, root, tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "deep").mkdir(parents=True)
    shutil.copy(root / "8.mp4", videos / "deep" / "a $b$ c.mp4")
    shutil.copy(root / "11.mp4", videos)
    (videos / "broken.mp4").write_bytes(b"no video")
    status, said, err = run_net(*demo(root, tmp_path, "DEMO.INPUT_VIDEO", videos, "DEMO.PICTURES", out))
    assert status == 0, err
    assert f"figures of 2 videos: {out}" in said
    assert "no figure of broken.mp4" in err
    files = {file.relative_to(out).as_posix(): file.read_bytes()[:4] for file in out.rglob("*.png")}
    assert files == dict.fromkeys(("deep/a $b$ c.mp4.png", "11.mp4.png"), b"\x89PNG")


def test_one_file_in_which_nobody_is_found(run_net, root, tmp_path):
    status, out, err = run_net(*demo(root, tmp_path, "DEMO.INPUT_VIDEO", root / "11.mp4"))
    assert status == 0, err
    assert "scores of 0 videos, 1 failed" in out
    assert rows_of(tmp_path / "out" / "s.csv")["11.mp4"]["frames"] == "12"
