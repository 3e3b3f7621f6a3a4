"""What is drawn of a batch is what the model reads, undone: pixels, differences, directions and joints where they are."""

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from transm3e.data.annotations import MUSCLES, Clip, write_clip_table
from transm3e.data.encode import write_video
from transm3e.data.geometry import Box
from transm3e.data.mixup import Mix
from transm3e.data.modalities import build_modalities
from transm3e.data.types import Batch, mixed
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS
from transm3e.modalities import JOINTS as OF_JOINTS
from transm3e.modalities import names_of
from transm3e.report import batch_figure
from transm3e.report import figures as drawing
from transm3e.report.batch_figure import (
    build_figure_loader,
    draw_batch,
    one_batch,
)
from transm3e.report.screens import SIDES, Drawing, flow_colours, values

JOINTS = LAYOUTS["coco17"].names


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, kept for a look inside."""
    drawn = []
    keep = lambda *size: drawn.append(drawing.new_figure(*size)) or drawn[-1]  # noqa: E731
    monkeypatch.setattr(batch_figure, "new_figure", keep)
    return drawn


def batch_of(clips, samples=1, mix=None):
    count = len(next(iter(clips.values())))
    labels = torch.zeros(count, len(MUSCLES))
    for i in range(count):
        labels[i, i // samples] = 1
    return Batch(
        clips=clips,
        labels=labels,
        rows=torch.arange(count) // samples,
        views=torch.arange(count) % samples,
        paths=[f"{i // samples}$.mp4" for i in range(count)],
        samples=samples,
        mix=mix,
    )


def noise(count, channels=3, frames=10, size=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, channels, frames, size, size), dtype=torch.uint8, generator=generator)


def strip_of(figure, row):
    """Frames of a row, (n, S, S, 3)."""
    strip = np.asarray(figure.axes[row].images[0].get_array())
    side = strip.shape[0]
    return np.stack([strip[:, at : at + side] for at in range(0, strip.shape[1], side + max(1, round(0.03 * side)))])


def texts(figure):
    return figure.get_suptitle(), [axes.get_title() for axes in figure.axes]


def test_motion_is_drawn_around_grey_and_magnified_as_said(tmp_path, tiny_cfg, figures):
    batch = batch_of({"rgb": noise(3)})
    batch.clips["rgb"] = batch.clips["rgb"] // 8 + 100
    draw_batch(batch, build_modalities(tiny_cfg, ["rgb_motion"]), tmp_path, split="train")
    gain = int(re.search(r"grey is the clip's mean; differences from it times (\d+)$", texts(figures[0])[0])[1])
    rgb = batch.clips["rgb"].double()
    shown = ((rgb - rgb.mean(2, keepdim=True)) * gain + 127.5).clamp(0, 255).permute(0, 2, 3, 4, 1)[0, [0, 1, 3]]
    assert gain > 3
    np.testing.assert_allclose(strip_of(figures[0], 0)[:3].astype(float), shown.numpy(), atol=0.51)


def test_rgb_comes_back_and_differences_are_magnified_as_said(tmp_path, tiny_cfg, figures):
    batch = batch_of({"rgb": noise(3)})
    batch.clips["rgb"] = batch.clips["rgb"] // 8
    files = draw_batch(
        batch, build_modalities(tiny_cfg, ["rgb", "rgb_diff"]), tmp_path, split="known_val", when="step 3", clips=2
    )
    assert [file.name for file in files] == ["batch_rgb.png", "batch_rgb_diff.png"]
    assert min(cv2.imread(str(files[0])).shape[:2]) > 300
    title, rows = texts(figures[0])
    assert title.startswith("rgb as the model reads it: known_val, step 3\n")
    assert rows == [r"0\$.mp4, view 0" + "\nneck and head", r"1\$.mp4, view 0" + "\nchest"]
    assert [label.get_text() for label in figures[0].axes[1].get_xticklabels()] == [
        "1",
        "2",
        "4",
        "5",
        "6",
        "7",
        "9",
        "10",
    ]
    frames = [0, 1, 3, 4, 5, 6, 8, 9]
    source = batch.clips["rgb"].permute(0, 2, 3, 4, 1).numpy()
    np.testing.assert_array_equal(strip_of(figures[0], 1), source[1, frames])
    gain = int(texts(figures[1])[0].rpartition("times ")[2])
    assert gain > 5
    shown = strip_of(figures[1], 1)
    assert (shown[0] == 0).all()
    expected = np.minimum(np.abs(source[1, 3].astype(int) - source[1, 2]) * gain, 255)
    assert np.abs(shown[2].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        (Mix(0.75, None, 0.1), "mixup"),
        (Mix(0.75, Box(4, 4, 8, 8), 0.1), "CutMix"),
        (Mix(label_smoothing=0.1), "not mixed"),
    ],
)
def test_a_mixed_batch_names_both_videos_and_all_shares(tmp_path, tiny_cfg, figures, mix, words):
    batch = batch_of({"rgb": noise(6)}, samples=2, mix=mix)
    draw_batch(batch, build_modalities(tiny_cfg, ["rgb"]), tmp_path, split="train")
    title, rows = texts(figures[0])
    assert f"; {words}; classes not named have 0.05" in title
    expected = mixed(batch).clips["rgb"][1, :, 0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(strip_of(figures[0], 1)[0], expected)
    if words == "not mixed":
        assert rows[1] == r"0\$.mp4, sample 1" + "\nneck and head 0.95"
    else:
        assert rows[1] == r"0.75 x 0\$.mp4 + 0.25 x 2\$.mp4, sample 1" + "\nneck and head 0.72, shoulder 0.28"
        assert rows[2].endswith("chest 0.95")  # the video in the middle is its own partner


def test_flow_is_coloured_by_direction_and_each_clip_by_its_own_length(tmp_path, tiny_cfg, figures):
    assert flow_colours(np.array([[2.0, 0], [0, 0], [1, 0]]), 2.0).tolist() == [[255, 0, 0], [255] * 3, [255, 128, 128]]
    flow = torch.full((2, 2, 4, 8, 8), 128, dtype=torch.uint8)
    flow[0, 0], flow[1, 0] = 129, 1  # slowly to the right, fast to the left
    draw_batch(batch_of({"flow": flow}), build_modalities(tiny_cfg, ["flow"]), tmp_path, split="train")
    right, left = strip_of(figures[0], 0), strip_of(figures[0], 1)
    assert (right == (255, 0, 0)).all()
    assert (left == (0, 255, 255)).all()
    rows = texts(figures[0])[1]
    assert "rim 0.01" in rows[0]
    assert "rim 1.00" in rows[1]
    assert len(figures[0].axes) == 3  # and the key


def skeleton():
    """(1, 3, 4, 17, 2): one person, joints on a grid that moves to the right; the left wrist is missing."""
    joints = torch.zeros(1, 3, 4, 17, 2)
    for joint in range(17):
        joints[0, 0, :, joint, 0] = 0.25 + 0.5 * (joint % 5) / 5 + 0.05 * torch.arange(4)
        joints[0, 1, :, joint, 0] = 0.25 + 0.5 * (joint // 5) / 5
    joints[0, 2, :, :, 0] = 1
    joints[0, :, :, JOINTS.index("left_wrist")] = 0
    return joints


def at(image, joint, frame, shift=0.0):
    x, y = skeleton()[0, :2, frame, JOINTS.index(joint), 0].tolist()
    return tuple(image[round(y * len(image) - 0.5), round((x + shift) * len(image) - 0.5)].tolist())


@pytest.mark.parametrize("name", names_of(OF_JOINTS))
@pytest.mark.parametrize("rgb", [True, False])
def test_joints_lie_where_they_are_in_the_colours_of_their_sides(tmp_path, tiny_cfg, figures, name, rgb):
    clips = {"skeleton": skeleton()} | ({"rgb": torch.full((1, 3, 4, 32, 32), 7, dtype=torch.uint8)} if rgb else {})
    draw_batch(batch_of(clips), build_modalities(tiny_cfg, [name]), tmp_path, split="train")
    images = strip_of(figures[0], 0)
    assert images.shape[1] >= 240
    assert tuple(images[0, 0, 0]) == ((7, 7, 7) if rgb else (190, 190, 190))
    assert ("grey" in texts(figures[0])[0]) is not rgb
    for frame in (0, 3):
        assert at(images[frame], "left_ankle", frame) == SIDES["left"]
        assert at(images[frame], "right_ankle", frame) == SIDES["right"]
    if name == "skeleton_motion":
        # In the last frame nothing moves any more.
        gain = int(texts(figures[0])[0].rpartition("times ")[2])
        assert at(images[0], "left_ankle", 0, 0.04 * gain) == SIDES["left"]
        assert at(images[3], "left_ankle", 3, 0.04 * gain) != SIDES["left"]


@pytest.mark.parametrize("normalize", ["frame", "body"])
def test_bones_end_at_their_joints(tmp_path, tiny_cfg, figures, normalize):
    """Also in units of a torso that is seen in a frame which is not drawn."""
    joints = skeleton().repeat(1, 1, 3, 1, 1)[:, :, :10]
    joints[0, 2, [t for t in range(10) if t != 2], JOINTS.index("left_hip")] = 0.1
    tiny_cfg.SKELETON.NORMALIZE = normalize
    inputs = build_modalities(tiny_cfg, ["skeleton", "skeleton_bone"])
    draw_batch(batch_of({"skeleton": joints}), inputs, tmp_path, split="train")
    points, bones = (strip_of(figure, 0) for figure in figures)
    # The same lines, but for rounding at their edges.
    assert (points == bones).all(-1).mean() > 0.99
    assert ("torso lengths wide" in texts(figures[0])[0]) is (normalize == "body")


@pytest.mark.parametrize(("shape", "side"), [((2, 1, 3, 32, 32), 32), ((2, 2, 3, 32, 32), 32), ((2, 6, 3, 17, 2), 240)])
def test_any_values_are_drawn_around_grey(tiny_cfg, shape, side):
    x = torch.zeros(shape)
    x[0, :, 0, 0, 0], x[0, :, 0, -1, -1] = 5.0, -5.0
    screen = values(Drawing(x, {}, range(3), build_modalities(tiny_cfg, ["rgb"])))
    assert screen.images.shape == (2, 3, side, side, 3)
    assert (screen.images[0, 0, 0, 0] > screen.images[1, 0, 0, 0]).all()
    assert (screen.images[0, 0, -1, -1] < screen.images[1, 0, 0, 0]).all()
    assert (screen.images[1] == 128).all()


def test_what_cannot_be_drawn(tmp_path, tiny_cfg):
    rgb = build_modalities(tiny_cfg, ["rgb"])
    with pytest.raises(UserError, match="allowed: 1 to 64"):
        draw_batch(batch_of({"rgb": noise(1)}), rgb, tmp_path, split="train", clips=65)
    with pytest.raises(UserError, match="cannot be mixed"):
        draw_batch(
            batch_of({"skeleton": skeleton()}, mix=Mix(0.5)),
            build_modalities(tiny_cfg, ["skeleton"]),
            tmp_path,
            split="train",
        )
    assert list(tmp_path.iterdir()) == []


def test_all_sources_are_read_by_one_draw(tmp_path, tiny_cfg):
    """A bright square moves over the frame with its joint in its middle: so it is after crop and flip."""
    keypoints = np.random.default_rng(0).normal(0, 15, (1, 8, 17, 2)).astype(np.float32)
    frames = np.zeros((8, 64, 96, 3), np.uint8)
    for frame, image in enumerate(frames):
        x, y = 40 + 2 * frame, 30
        image[y - 4 : y + 5, x - 4 : x + 5] = 255
        keypoints[0, frame] += x, y
        keypoints[0, frame, 0] = x, y
    write_video(tmp_path / "a.mp4", frames, 8, crf=5)
    score, size = np.ones((1, 8, 17), np.float32), np.array([64, 96])
    np.savez(tmp_path / "a.npz", keypoint=keypoints, keypoint_score=score, img_shape=size, total_frames=np.array(8))
    write_clip_table(tmp_path / "clips.csv", [Clip("a.mp4", "train", "a", (0,), skeleton="a.npz")])
    cfg = tiny_cfg
    cfg.DATA.PATH_TO_DATA_DIR, cfg.DATA.TARGET_FPS = str(tmp_path), 0.0
    cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE, cfg.DATA.TRAIN_CROP_SIZE = [0.8, 1.0], 64
    cfg.TRAIN.BATCH_SIZE, cfg.AUG.NUM_SAMPLE, cfg.AUG.RE_PROB = 1, 8, 0.0
    cfg.AUG.AA_TYPE, cfg.AUG.COLOR_JITTER = "", 0.0
    loader = build_figure_loader(cfg, "train", ["skeleton_bone", "rgb_diff"])
    batch = one_batch(loader)
    assert set(batch.clips) == {"rgb", "skeleton"}
    joints = batch.clips["skeleton"][:, :2, :, 0, 0] * 64 - 0.5  # (8, 2, T)
    for clip, frame in np.ndindex(8, 4):
        ys, xs = np.nonzero(batch.clips["rgb"][clip, 0, frame].numpy() > 128)
        assert abs(xs.mean() - joints[clip, 0, frame]) < 1.5
        assert abs(ys.mean() - joints[clip, 1, frame]) < 1.5
    with pytest.raises(UserError, match="no step 1 of epoch 0: steps are 0 to 0"):
        one_batch(loader, step=1)
    with pytest.raises(UserError, match="unknown modality 'rbg'"):
        build_figure_loader(cfg, "train", ["rbg"])
    with pytest.raises(UserError, match="column flow"):
        build_figure_loader(cfg, "train", ["rgb", "flow"])


def test_a_batch_of_nothing_but_broken_files_is_refused():
    class Loader(SimpleNamespace):
        def __len__(self):
            return 1

    empty = batch_of({"rgb": noise(0)})
    empty.failed.append(SimpleNamespace(path="b.mp4", reason="is cut off"))
    with pytest.raises(UserError, match=r"no clip of step 0 can be read \(b.mp4: is cut off\)"):
        one_batch(Loader(epoch=lambda epoch, step: iter([empty])))
