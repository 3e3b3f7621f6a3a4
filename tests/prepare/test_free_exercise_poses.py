"""Free Exercise DB as skeletons: the shipped landmarks, the way from start to end and back, and what is said where it fails."""

import hashlib
import importlib.util
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.prepare.test_free_exercise import ANNOTATIONS, MAP, REPOSITORY, RULES, entry, make_source
from transm3e.data.annotations import MUSCLES, Clip, read_clip_table, write_clip_table
from transm3e.data.blazepose.pose import Pose
from transm3e.data.blazepose.region import Region
from transm3e.data.skeleton import read_skeleton
from transm3e.errors import UserError
from transm3e.prepare.free_exercise import landmarks, logistic, poses
from transm3e.prepare.free_exercise.clips import fit_pair
from transm3e.prepare.free_exercise.landmarks import FIELDS, read_poses, write_poses
from transm3e.prepare.free_exercise.poses import annotation, forth_and_back, prepare_poses
from transm3e.prepare.free_exercise.prepare import prepare

SHIPPED = ANNOTATIONS / "free_exercise_poses.npz"


class Detector:
    """Finds a body that is as bright as the photo says, and none in a dark corner."""

    calls = 0

    def detect(self, frame):
        Detector.calls += 1
        height, width = frame.shape[:2]
        joints = np.full((33, 3), 0.9)
        joints[:, 0], joints[:, 1] = width * frame.mean() / 255 - 0.5, np.linspace(0.1, 0.9, 33) * height - 0.5
        return None if frame[:8, :8].mean() < 30 else Pose(joints, joints / 100, Region(0, 0, 1), 1.0)


@pytest.fixture(autouse=True)
def _detector(monkeypatch):
    monkeypatch.setattr(landmarks, "BlazePose", Detector)
    Detector.calls = 0


def run(out, **options):
    return prepare_poses(out, SHIPPED, MAP, RULES, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("poses")
    return out, *run(out)


def test_the_shipped_landmarks_make_a_benchmark_without_photos(made):
    out, clips, skipped = made
    assert (len(clips), len(skipped)) == (855, 18)
    table = read_clip_table(out)
    assert Counter(table.splits.tolist())["train"] > 600
    assert (table.labels.sum(axis=0) > 0).sum() == 17
    for name in table.skeletons[::100]:
        skeleton = read_skeleton(out / str(name))
        assert (skeleton.layout, skeleton.points.shape) == ("blazepose33", (32, 1, 33, 3))
        moved = np.ptp(skeleton.points[..., :2], axis=0).max()
        assert moved > 1, "start and end are two poses"
    found = read_poses(SHIPPED)
    assert found.found.sum() == 1725
    hips = found.world[found.found][:, 23:25].astype(float).mean(axis=1)
    assert np.abs(hips).max() < 0.05, "metres count from the middle of the hips"


def test_frames_go_from_start_to_end_and_back_in_the_frame_of_the_clips():
    weights = forth_and_back(9)
    np.testing.assert_allclose(weights[[0, 4, 8]], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(weights, weights[::-1], atol=1e-12)
    shipped = read_poses(SHIPPED)
    one = {name: getattr(shipped, name)[:1].copy() for name in FIELDS}
    one["size"][0] = [[300, 450], [600, 800]]
    both = replace(shipped, **one)
    made = annotation(both, 0, 9)
    # A mark in each photo goes where the clip's scaling and crop take it.
    photos = [np.zeros((*size, 3), np.uint8) for size in both.size[0]]
    for number, photo in enumerate(photos):
        x, y = both.xy[0, number, 11] * both.size[0, number, ::-1]
        photo[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7] = 255
    frames = fit_pair(*photos, 256)
    assert made["img_shape"] == frames[0].shape[:2]
    for frame, number in zip(frames, (0, 4), strict=True):
        rows, columns = np.nonzero(frame[..., 0] > 127)
        np.testing.assert_allclose(made["keypoint"][0, number, 11], [columns.mean(), rows.mean()], atol=1.5)
    np.testing.assert_allclose(made["world"][0, 4], one["world"][0, 1], atol=2e-3)


def test_landmarks_of_a_source_are_measured_once_and_its_splits_are_those_of_the_videos(tmp_path):
    source = make_source(tmp_path / "source", [entry(f"Curl_{n}") for n in range(12)] + [entry("Press", ["chest"])])
    (source / "exercises" / "Press" / "1.jpg").write_text("no photo")
    clips, skipped = run(tmp_path / "poses", source=source, workers=2)
    assert skipped == [("Press", "a photo is missing or cannot be read")]
    videos, _ = prepare(source, tmp_path / "videos", MAP, RULES, 6, 32)
    assert [(clip.split, clip.activity, clip.muscles) for clip in clips] == [
        (clip.split, clip.activity, clip.muscles) for clip in videos
    ]
    kept = read_poses(tmp_path / "poses" / poses.MEASURED)
    assert kept.primary.tolist() == ["biceps"] * 12 + ["chest"]
    x = kept.xy[0, :, 0, 0].astype(float)
    np.testing.assert_allclose(x * 255, [43.5, 203.5], atol=2)
    calls = Detector.calls
    assert run(tmp_path / "poses", source=source, frames=5)[0] == clips
    assert Detector.calls == calls


def test_exercises_in_which_nobody_is_found_are_named(tmp_path):
    shipped = read_poses(SHIPPED)
    score = shipped.score.copy()
    score[0, 1] = 0
    write_poses(tmp_path / "p.npz", replace(shipped, score=score))
    _, skipped = prepare_poses(tmp_path / "out", tmp_path / "p.npz", MAP, RULES)
    assert ("3_4_Sit-Up", "nobody found in photo 1.jpg") in skipped


def test_another_file_is_refused(tmp_path):
    file = tmp_path / "p.npz"
    np.savez(file, id=np.array(["a"]), xy=np.zeros((1, 2, 33, 2)))
    for path, reason in ((file, "name is missing"), (tmp_path / "absent.npz", "No such file")):
        with pytest.raises(UserError, match=f"{reason}.*prepare_free_exercise.py") as raised:
            read_poses(path)
        assert "\n" not in str(raised.value)


def test_command_line(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("prepare", REPOSITORY / "datasets" / "prepare_free_exercise.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--poses", "--out", str(tmp_path / "out"), "--frames", "4", "--muscles", "primary"]) == 0
    assert f"855 clips in {tmp_path / 'out'}, 18 exercises skipped" in capsys.readouterr().out
    for wrong, said in (
        ([], "videos need --source CLONE"),
        (["--poses", "--size", "64"], "--size is for videos"),
        (["--whole"], "--fold and --whole need --poses"),
    ):
        with pytest.raises(SystemExit) as ended:
            module.main([*wrong, "--out", str(tmp_path / "x")])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_the_documents_name_the_shipped_file():
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert digest in (REPOSITORY / "datasets" / "README.md").read_text(encoding="utf-8")
    digest = hashlib.sha256(SHIPPED.with_name("free_exercise_posenet.pyth").read_bytes()).hexdigest()
    assert digest in (REPOSITORY / "configs" / "README.md").read_text(encoding="utf-8")


def test_folds_part_the_clips_of_train_by_families(made, tmp_path):
    train = {clip.path: clip.activity for clip in made[1] if clip.split == "train"}
    held, families = [], []
    for fold in range(poses.FOLDS):
        clips, _ = run(tmp_path, fold=fold)
        assert {clip.path for clip in clips} == set(train)
        assert {clip.split for clip in clips} == {"train", "new_val"}
        held += [clip.path for clip in clips if clip.split == "new_val"]
        families += sorted({clip.activity for clip in clips if clip.split == "new_val"})
    assert sorted(held) == sorted(train)
    assert sorted(families) == sorted(set(train.values()))
    clips, _ = run(tmp_path, whole=True)
    assert {clip.split for clip in clips} == {"train"}
    parted, _ = run(tmp_path, whole=True, fold=0)
    assert [clip.path for clip in parted] == [clip.path for clip in clips] == [clip.path for clip in made[1]]
    assert {clip.split for clip in parted} == {"train", "new_val"}
    with pytest.raises(UserError, match=r"fold 5: needs .* fold 0 to 4"):
        run(tmp_path, fold=5)


def test_logistic_regression_reads_poses_and_knows_no_side(tmp_path, monkeypatch):
    """Who lifts a hand, whichever, trains the first muscle; the second has no examples and says nothing."""
    draw = np.random.default_rng(0)
    shipped = read_poses(SHIPPED)
    poses_of, clips = [], []
    for n, split in enumerate(["train"] * 60 + ["new_val"] * 30):
        made = annotation(shipped, int(draw.integers(3)), 4)
        lifts, side = bool(draw.integers(2)), int(draw.integers(2))
        made["world"] = made["world"].astype(np.float32)
        made["world"][0, 2, 15 + side, 1] = made["world"][0, 0, 15 + side, 1] - 0.6 * lifts
        poses_of.append(made | {"frame_dir": str(n)})
        clips.append(Clip(f"exercises/{n}", split, f"activity {n % 20}", (0,) * lifts, f"poses.pkl::{n}"))
    (tmp_path / "poses.pkl").write_bytes(pickle.dumps(poses_of))
    write_clip_table(tmp_path / "clips.csv", clips)
    monkeypatch.setattr(logistic, "STRENGTHS", (1e-6, 1.0))
    splits, strength = logistic.logistic_splits(tmp_path)
    assert strength == 1.0, "the penalty that leaves something to say"
    assert set(splits) == {"new_val"}
    assert splits["new_val"]["per_muscle"][MUSCLES[0]] > 0.9
    assert logistic.logistic_splits(tmp_path)[0] == splits
    poses = np.stack([logistic._two_poses(tmp_path, clip.skeleton) for clip in clips])
    np.testing.assert_allclose(logistic._mirrored(logistic._mirrored(poses)), poses)


def test_logistic_regression_needs_activities_enough(tmp_path):
    made = annotation(read_poses(SHIPPED), 0, 4)
    (tmp_path / "poses.pkl").write_bytes(pickle.dumps([made | {"frame_dir": "0"}]))
    write_clip_table(tmp_path / "clips.csv", [Clip("exercises/0", "train", "press", (0,), "poses.pkl::0")])
    with pytest.raises(UserError, match="too few activities for 5 folds; leave out --logistic"):
        logistic.logistic_splits(tmp_path)
