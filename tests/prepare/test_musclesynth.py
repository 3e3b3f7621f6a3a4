"""MuscleSynth: repeatable, cached, well labelled, and not to be solved without motion."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from transm3e.data.annotations import EVAL_SPLITS, MUSCLES, read_clip_table
from transm3e.data.skeleton.read import read_skeleton
from transm3e.errors import UserError
from transm3e.prepare.musclesynth import generate as generate_module
from transm3e.prepare.musclesynth.activities import KNOWN, NEW, NEW_EXERCISES, compatible
from transm3e.prepare.musclesynth.body import ANGLES, CENTRE_ANGLES, BodyShape, forward, rotation, sample_body, two_bone
from transm3e.prepare.musclesynth.clip import FPS, FRAMES, HEIGHT, WIDTH, make_clip
from transm3e.prepare.musclesynth.generate import MANIFEST_NAME, generate
from transm3e.prepare.musclesynth.keypoints import JOINTS
from transm3e.prepare.musclesynth.plan import SIZES, SetSize, plan
from transm3e.prepare.musclesynth.vocabulary import PRIMITIVES

SCRIPT = Path(__file__).resolve().parents[2] / "datasets" / "prepare_musclesynth.py"
MICRO = SetSize(train=4, evaluation=1)
BOTH = {activity.key: activity for activity in (*KNOWN, *NEW)}
MUSCLES_OF = {activity.name: activity.muscles for activity in BOTH.values()}


@pytest.fixture
def micro(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes "tiny" a data set of eight clips."""
    monkeypatch.setitem(SIZES, "tiny", MICRO)


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def mean_ap(labels: np.ndarray, scores: np.ndarray) -> float:
    pairs = zip(labels.T, scores.T, strict=True)
    return float(np.mean([average_precision_score(label, score) for label, score in pairs]))


def frames_of(activity: str, key: int) -> np.ndarray:
    return np.stack(list(make_clip(BOTH[activity], (0, key)).frames))


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# Labels and splits


def test_activities_combine_compatible_primitives_and_are_unique():
    combinations = [(activity.posture, frozenset(activity.primitives)) for activity in (*KNOWN, *NEW)]
    assert len(set(combinations)) == len(combinations) == len(BOTH)
    for activity in (*KNOWN, *NEW):
        parts = [part for name in activity.primitives for part in PRIMITIVES[name].parts]
        assert 1 <= len(activity.primitives) <= 3
        assert len(parts) == len(set(parts)), f"{activity.key} needs a body part twice"
        assert all(activity.posture in PRIMITIVES[name].motions for name in activity.primitives)
        assert not {p.name for p in compatible(activity)} & set(activity.primitives)
        assert list(activity.muscles) == sorted(set(activity.muscles))


def test_new_exercises_and_combinations_are_unseen_but_their_muscles_are_not():
    known_sets = {frozenset(activity.primitives) for activity in KNOWN}
    known_primitives = {name for activity in KNOWN for name in activity.primitives}
    assert not NEW_EXERCISES & known_primitives
    assert set(PRIMITIVES) == NEW_EXERCISES | known_primitives
    for activity in NEW:
        assert frozenset(activity.primitives) not in known_sets
        assert set(activity.primitives) <= NEW_EXERCISES | known_primitives
    assert {muscle for activity in KNOWN for muscle in activity.muscles} == set(range(len(MUSCLES)))
    assert min(sum(len(a.primitives) == single for a in NEW) for single in (1, 2)) >= 10


def test_what_is_new_in_a_size_is_unseen_there_but_not_its_primitives():
    for size in SIZES:
        known, new = SIZES[size].activities
        assert SIZES[size].shown <= {activity.key for activity in (*known, *new)}
        seen = {name for activity in known for name in activity.primitives}
        assert {name for activity in new for name in activity.primitives} <= seen | NEW_EXERCISES
        assert {activity.name for activity in new}.isdisjoint(activity.name for activity in known)


def test_plan_has_the_promised_sizes_and_every_muscle_in_every_split():
    for size in SIZES:
        clips = plan(size, seed=0)
        rows = [planned.clip for planned in clips]
        assert len(rows) == SIZES[size].total == len({row.path for row in rows})
        for split in ("train", *EVAL_SPLITS):
            chosen = [row for row in rows if row.split == split]
            assert len(chosen) == (SIZES[size].train if split == "train" else SIZES[size].evaluation)
            counts = np.zeros(len(MUSCLES), int)
            for row in chosen:
                counts[list(row.muscles)] += 1
            assert (counts > 0).all(), f"{split} lacks {[m for m, n in zip(MUSCLES, counts, strict=True) if n == 0]}"
            assert (counts < len(chosen) / 2).all()
        new = {row.activity for row in rows if row.split.startswith("new")}
        assert new == {activity.name for activity in SIZES[size].activities[1]}
        assert new.isdisjoint(row.activity for row in rows if not row.split.startswith("new"))
        val, test = (sorted(r.activity for r in rows if r.split == s) for s in ("new_val", "new_test"))
        assert val == test, "half of each new activity's clips goes to each split"


def test_the_seed_decides_which_new_clips_are_for_testing():
    def tested(seed: int) -> list[int]:
        return [planned.number for planned in plan("small", seed) if planned.split == "new_test"]

    assert tested(1) == tested(1)
    assert tested(1) != tested(2)


# The figure


def test_rotation_is_right_handed_and_orthonormal():
    degrees = np.array([0.0, 90.0, -37.0])
    for axis, start, end in (("x", 1, 2), ("y", 2, 0), ("z", 0, 1)):
        turned = rotation(axis, degrees)
        np.testing.assert_allclose(turned[1] @ np.eye(3)[start], np.eye(3)[end], atol=1e-12)
        np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1), np.tile(np.eye(3), (3, 1, 1)), atol=1e-12)


def test_limbs_keep_their_length_whatever_the_angles():
    rng = np.random.default_rng(0)
    body = sample_body(rng)
    points = forward(body, {name: rng.uniform(-90, 90, 25) for name in ANGLES})
    limbs = [("shoulder", "elbow", 0.186 * body.arms), ("elbow", "wrist", 0.146 * body.arms)]
    limbs += [("hip", "knee", 0.245 * body.legs), ("knee", "ankle", 0.246 * body.legs)]
    for first, second, share in limbs:
        for side in "lr":
            length = np.linalg.norm(points[f"{side}_{first}"] - points[f"{side}_{second}"], axis=1)
            np.testing.assert_allclose(length, share * body.stature, rtol=1e-9)


def test_upright_figure_is_mirror_symmetric_and_faces_forward():
    limbs = {name: np.full(1, 30.0) for name in ANGLES if name not in CENTRE_ANGLES}
    points = forward(BodyShape(), limbs | {name: np.zeros(1) for name in CENTRE_ANGLES})
    for name in ("eye", "ear", "shoulder", "elbow", "wrist", "fingers", "hip", "knee", "ankle", "toe"):
        np.testing.assert_allclose(points[f"l_{name}"], points[f"r_{name}"] * (-1, 1, 1), atol=1e-12)
        assert points[f"l_{name}"][0, 0] > 0
    assert points["nose"][0, 2] > points["head"][0, 2]


def test_two_bone_reaches_the_target_or_stretches_towards_it():
    rng = np.random.default_rng(1)
    root, target, pole = np.zeros((50, 3)), rng.uniform(-0.6, 0.6, (50, 3)), np.array([0.1, 0.2, 1.0])
    middle, end = two_bone(root, target, 0.4, 0.35, pole)
    np.testing.assert_allclose(np.linalg.norm(middle - root, axis=1), 0.4, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(end - middle, axis=1), 0.35, atol=1e-6)
    reach = np.linalg.norm(target, axis=1)
    near = (reach < 0.75) & (reach > 0.05)
    assert near.any()
    assert not near.all()
    np.testing.assert_allclose(end[near], target[near], atol=1e-5)
    np.testing.assert_allclose(np.cross(end, target), 0, atol=1e-6)


# Images


def test_same_key_same_clip_and_other_key_other_clip():
    first, again, other = (frames_of("stand_squat", key) for key in (1, 1, 2))
    assert first.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


@pytest.mark.parametrize(
    "name", ["stand_squat", "seat_row_leg_extension", "supine_hip_bridge", "hang_pull_up", "plank_push_up"]
)
def test_joints_lie_inside_the_silhouette_and_in_the_frame(name: str):
    for key in range(3):
        clip = make_clip(BOTH[name], (3, key))
        inside = []
        for index in range(0, FRAMES, 8):
            mask = clip.frames.silhouette(index)
            x, y = np.floor(clip.keypoints.pixels[index]).astype(int).T
            inside.append(mask[np.clip(y, 0, HEIGHT - 1), np.clip(x, 0, WIDTH - 1)])
            assert 0.03 < mask.mean() < 0.5, "the figure is large in the frame but does not fill it"
        # Ears and eyes sit on the head's rim.
        assert np.mean(inside) > 0.97
        assert clip.keypoints.outside.mean() < 0.02


def test_the_video_shows_the_motion_of_the_keypoints():
    clip = make_clip(BOTH["stand_squat_jump"], (0, 3))
    video = np.stack(list(clip.frames)).astype(int)
    change = np.abs(video[4:] - video[:-4]).max(axis=-1)
    figure = np.stack([clip.frames.silhouette(i) | clip.frames.silhouette(i + 4) for i in range(FRAMES - 4)])
    assert change[figure].mean() > 2 * change[~figure].mean()


# The data set on disk


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 32 clips."""
    root = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", SetSize(train=8, evaluation=6))
        return generate(root, "tiny", seed=0, workers=1).parent


def test_table_can_be_read_and_its_files_are_there(tiny: Path):
    table = read_clip_table(tiny)
    assert len(table) == 8 + 4 * 6
    for video, skeleton in zip(table.paths, table.skeletons, strict=True):
        assert (tiny / video).is_file()
        assert (tiny / skeleton).is_file()
    for activity, label in zip(table.activities, table.labels, strict=True):
        assert tuple(np.flatnonzero(label)) == MUSCLES_OF[activity]


def test_videos_have_the_promised_size_rate_and_length(tiny: Path):
    for path in read_clip_table(tiny).paths[::5]:
        with av.open(str(tiny / path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (WIDTH, HEIGHT, FPS)
            assert stream.codec_context.name == "h264"
            assert sum(1 for _ in container.decode(stream)) == FRAMES


def test_skeletons_are_body23_in_pixels_and_metres(tiny: Path):
    table = read_clip_table(tiny)
    assert (len(JOINTS), JOINTS[5:7], JOINTS[-6:-2]) == (
        23,
        ("l_shoulder", "r_shoulder"),
        ("l_heel", "r_heel", "l_toe", "r_toe"),
    )
    for path in table.skeletons[::5]:
        skeleton = read_skeleton(tiny / path)
        assert (skeleton.layout, skeleton.height, skeleton.width) == ("body23", HEIGHT, WIDTH)
        assert skeleton.points.shape == (FRAMES, 1, 23, 3)
        assert ((skeleton.points[..., 2] > 0) & (skeleton.points[..., 2] < 1)).all()
        assert (skeleton.points[..., :2].mean(axis=(0, 1, 2)) < (WIDTH, HEIGHT)).all()
        assert np.abs(skeleton.world[:, 0, 11:13].mean(axis=1)).max() < 0.2  # the hips' middle, but for the error


def test_joints_in_metres_are_those_of_the_image():
    seen = make_clip(BOTH["stand_squat"], (4, 0), draw=False).keypoints
    # Nearly a parallel view: x and y in metres are those in pixels but for scale, place, and what perspective does.
    for axis in (0, 1):
        pixels, metres = seen.pixels[..., axis], seen.world[..., axis]
        pixels = pixels - pixels[:, 11:13].mean(axis=1, keepdims=True)
        assert np.corrcoef(pixels.ravel(), metres.ravel())[0, 1] > 0.97
    # Seen from the front: the nose is nearer than the ears.
    assert (seen.world[:, 0, 2] < seen.world[:, 3:5, 2].mean(axis=1)).all()


def test_hidden_joints_get_lower_confidence():
    seen, unseen = [], []
    for key in range(4):
        clip = make_clip(BOTH["plank_push_up"], (1, key), draw=False)
        score = clip.skeleton.points[:, 0, :, 2]
        seen.append(score[~clip.keypoints.hidden & ~clip.keypoints.outside])
        unseen.append(score[clip.keypoints.hidden])
    assert np.concatenate(unseen).size > 100
    assert np.concatenate(seen).mean() > np.concatenate(unseen).mean() + 0.3


def test_colours_do_not_give_the_muscles_away():
    def histogram(activity, key):
        frame = make_clip(activity, (9, key)).frames.frame(0)
        return np.concatenate([np.histogram(frame[..., channel], 8, (0, 256))[0] for channel in range(3)])

    activities = KNOWN[::5]
    clips = [(activity, number) for number in range(4) for activity in activities]
    x = np.stack([histogram(activity, 100 * number + i) for i, (activity, number) in enumerate(clips)]) / (
        WIDTH * HEIGHT
    )
    y = np.array([[m in activity.muscles for m in range(len(MUSCLES))] for activity, _ in clips])
    train = np.array([number < 3 for _, number in clips])
    mean, spread = x[train].mean(axis=0), x[train].std(axis=0) + 1e-3
    x = (x - mean) / spread
    scores = Ridge(alpha=20.0).fit(x[train], y[train].astype(float)).predict(x[~train])
    shuffled = [np.random.default_rng(i).permutation(scores) for i in range(20)]
    chance = np.mean([mean_ap(y[~train], other) for other in shuffled])
    assert mean_ap(y[~train], scores) < chance + 0.1


@pytest.mark.usefixtures("micro")
def test_files_do_not_depend_on_the_number_of_workers(tmp_path: Path):
    for workers in (1, 2):
        generate(tmp_path / str(workers), "tiny", seed=3, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert len(files(tmp_path / "1")) == 2 * MICRO.total + 2


@pytest.mark.usefixtures("micro")
def test_skeletons_can_be_had_without_videos(tmp_path: Path):
    for draw in (True, False):
        generate(tmp_path / str(draw), "tiny", seed=3, workers=1, draw=draw)
    whole, joints = files(tmp_path / "True"), files(tmp_path / "False")
    assert set(whole) - set(joints) == {name for name in whole if name.endswith(".mp4")}
    assert all(whole[name] == data for name, data in joints.items())
    for draw in (True, False):
        generate(tmp_path / str(not draw), "tiny", seed=3, workers=1, draw=draw)
        assert files(tmp_path / str(not draw)) == whole


@pytest.mark.usefixtures("micro")
def test_what_another_version_left_goes_and_other_files_stay(tmp_path: Path):
    old, other = tmp_path / "skeletons" / "train" / "stand_lunge_00007.json", tmp_path / "clips" / "train" / "mine.mp4"
    for folder in (old.parent, other.parent):
        folder.mkdir(parents=True)
    for file in (old, other):
        file.write_text("x")
    generate(tmp_path, "tiny", workers=1)
    assert old.exists(), "without a manifest it may be somebody else's"
    manifest = tmp_path / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace('"generator": "', '"generator": "0'))
    generate(tmp_path, "tiny", workers=1)
    assert (old.exists(), other.exists()) == (False, True)


@pytest.mark.usefixtures("micro")
def test_second_call_makes_nothing_and_a_lost_file_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generate(tmp_path, "tiny", workers=1)
    before = files(tmp_path)
    made = []
    original = generate_module._make_one
    monkeypatch.setattr(generate_module, "_make_one", lambda *args: (made.append(args[3].number), original(*args)))
    generate(tmp_path, "tiny", workers=1)
    assert made == []
    (tmp_path / plan("tiny", 0)[2].clip.path).unlink()
    generate(tmp_path, "tiny", workers=1)
    assert made == [2]
    assert files(tmp_path) == before


@pytest.mark.usefixtures("micro")
def test_interrupted_call_resumes_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generate(tmp_path / "whole", "tiny", workers=1)
    original, made = generate_module._make_one, []

    def stops(folder, seed, draw, planned):
        if planned.number == 3:
            raise KeyboardInterrupt
        original(folder, seed, draw, planned)
        made.append(planned.number)

    monkeypatch.setattr(generate_module, "_make_one", stops)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "parts", "tiny", workers=1)
    monkeypatch.setattr(generate_module, "_make_one", lambda *args: (original(*args), made.append(args[3].number)))
    generate(tmp_path / "parts", "tiny", workers=1)
    assert made == list(range(MICRO.total))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


@pytest.mark.usefixtures("micro")
def test_another_seed_or_generator_replaces_every_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generate(tmp_path / "a", "tiny", seed=0, workers=1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "_make_one", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "b", "tiny", seed=1, workers=1)
    assert not (tmp_path / "b" / "clips.csv").exists()  # an interrupted redraw is no data set
    generate(tmp_path / "b", "tiny", seed=1, workers=1)
    generate(tmp_path / "c", "tiny", seed=1, workers=1)
    video = plan("tiny", 0)[0].clip.path
    assert (tmp_path / "b" / video).read_bytes() != (tmp_path / "a" / video).read_bytes()
    assert (tmp_path / "b" / video).read_bytes() == (tmp_path / "c" / video).read_bytes()
    (tmp_path / "b" / video).write_bytes(b"of an older version")
    monkeypatch.setattr(generate_module, "source_digest", lambda: "another")
    generate(tmp_path / "b", "tiny", seed=1, workers=1)
    assert (tmp_path / "b" / video).read_bytes() == (tmp_path / "c" / video).read_bytes()


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, "unknown MuscleSynth size 'huge'; allowed: tiny, small, full"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"workers": 0}, "workers 0: at least 1"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict, message: str):
    with pytest.raises(UserError, match=message):
        generate(tmp_path, **arguments)
    assert not any(tmp_path.iterdir())


def test_other_data_is_never_overwritten(tmp_path: Path):
    (tmp_path / "clips.csv").write_text("mine")
    with pytest.raises(UserError, match="MuscleSynth did not make"):
        generate(tmp_path, "tiny", workers=1)
    assert files(tmp_path) == {"clips.csv": b"mine"}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_damaged_manifest_is_named(tmp_path: Path, content: bytes):
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(UserError, match=f"{MANIFEST_NAME} is damaged"):
        generate(tmp_path, "tiny", workers=1)


def test_a_file_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "set").write_text("a file")
    with pytest.raises(UserError, match="cannot make the folder"):
        generate(tmp_path / "set", "tiny", workers=1)


@pytest.mark.usefixtures("micro")
def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.chdir(tmp_path)
    assert main(["--size", "tiny", "--workers", "1"]) == 0
    assert capsys.readouterr().out.strip() == "data/MuscleSynth/tiny/clips.csv"
    assert len(read_clip_table(tmp_path / "data/MuscleSynth/tiny")) == MICRO.total
    with pytest.raises(SystemExit) as ended:
        main(["--size", "gigantic"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: unknown MuscleSynth size 'gigantic'")
    assert error.count("\n") == 1


def _heed_ctrl_c() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, and programs inherit that from the tests.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C to a process group")
def test_ctrl_c_ends_in_one_line_and_leaves_no_table(tmp_path: Path):
    command = [sys.executable, SCRIPT, "--size", "tiny", "--workers", "2", "--out", tmp_path]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_heed_ctrl_c
    ) as process:
        begin = time.monotonic()
        while not list(tmp_path.rglob("*.npz")) and time.monotonic() < begin + 60:
            time.sleep(0.05)
        time.sleep(1.0)  # the workers are starting or at work
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    # On a slow machine a line of progress comes before it.
    assert (process.returncode, error.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in error
    assert not (tmp_path / "clips.csv").exists()
