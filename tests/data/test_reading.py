"""All modalities of a clip by one draw: a ball whose picture, flow and joint are known."""

import json
from fractions import Fraction
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from transm3e.data import reading
from transm3e.data.annotations import Clip, table_from_clips
from transm3e.data.dataset import ClipDataset
from transm3e.data.decode import Video
from transm3e.data.draws import ClipShape
from transm3e.data.encode import write_video
from transm3e.data.flow.files import MADE_BY
from transm3e.data.randaugment import RandAugment
from transm3e.data.reading import Decoding, Persons
from transm3e.data.transforms import Augmentation
from transm3e.data.types import FailedClip, Sample
from transm3e.prepare.flow.write import write_flow_npz

FRAMES, HEIGHT, WIDTH, SPEED = 24, 96, 128, 3
SHAPE = ClipShape(4, 4, 64)
EVERY = ("rgb", "flow", "skeleton")


def centre(t: int) -> tuple[int, int]:
    return 24 + SPEED * t, 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball that runs to the right; its flow at half the resolution, its joints at twice."""
    root = tmp_path_factory.mktemp("ball")
    pictures, flow = [], []
    for t in range(FRAMES):
        pictures.append(cv2.circle(np.zeros((HEIGHT, WIDTH, 3), np.uint8), centre(t), 9, (255, 255, 255), -1))
        moved = np.full((HEIGHT // 2, WIDTH // 2, 2), 128, np.uint8)
        x, y = centre(t)
        moved[y // 2 - 6 : y // 2 + 6, x // 2 - 6 : x // 2 + 6, 0] = 188
        flow.append(moved)
    write_video(root / "ball.mp4", pictures, fps=25, crf=1)
    write_flow_npz(root / "ball.npz", flow, Fraction(25), {"made_by": MADE_BY, "bound": 20, "frames": FRAMES})
    points = np.zeros((1, FRAMES, 17, 2), np.float32)
    points[0, :, 5] = points[0, :, 6] = [2 * np.array(centre(t)) for t in range(FRAMES)]
    score = np.zeros((1, FRAMES, 17), np.float32)
    score[0, :, 5] = 0.9  # a left shoulder; the right one is not seen
    points[0, :, 0], score[0, :, 0] = points[0, :, 5] + [40, -60], 0.5  # the nose, which has no side
    for name, total in (("joints.npz", FRAMES), ("others.npz", FRAMES // 2)):
        parts = {"keypoint": points[:, :total], "keypoint_score": score[:, :total]}
        np.savez(root / name, **parts, img_shape=np.array([2 * HEIGHT, 2 * WIDTH]), total_frames=np.array(total))
    return root


def dataset(folder: Path, augmentation: Augmentation | None, files=("joints.npz", "ball.npz"), **more) -> ClipDataset:
    table = table_from_clips([Clip("ball.mp4", "train", "roll", (0,), *files)])
    return ClipDataset(table, folder, SHAPE, augmentation=augmentation, **{"modalities": EVERY, "samples": 2} | more)


AUGMENTATIONS = {
    "scaled": Augmentation(area=(), aspect=(), scales=(80, 90)),
    "crop": Augmentation(area=(0.5, 1.0), flip=False),
    "flip": Augmentation(area=(0.5, 1.0)),
    "warps": Augmentation(area=(0.6, 1.0), rand_augment=RandAugment(4, 3, 1.0, True)),
    "augment first": Augmentation(area=(0.6, 1.0), rand_augment=RandAugment(4, 3, 1.0, True), order="augment_first"),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_one_draw_serves_all_modalities(folder: Path, name: str) -> None:
    data = dataset(folder, AUGMENTATIONS[name])
    seen, shown, directions = 0, 0, set()
    for epoch in range(12):
        sample = data[(epoch, 0)]
        assert isinstance(sample, Sample)
        for rgb, flow, joints in zip(*(sample.clips[modality].numpy() for modality in EVERY), strict=True):
            for t in range(SHAPE.length):
                person = joints[:, t, :, 0]
                nose, joint = np.flatnonzero(person[2])
                assert nose == 0
                x, y = person[:2, joint] * SHAPE.size - 0.5
                moving = np.abs(flow[:, t].astype(int) - 128).max(0) > 25
                if not (8 < x < 56 and 8 < y < 56) or not moving.any():
                    continue  # the ball is cut by the crop
                # Colour operations may hide the ball, and warps bring in grey borders, so not every frame can show it.
                grey = np.abs(rgb[:, t].mean(0) - np.median(rgb[:, t].mean(0)))
                shown += grey[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].min() > 60
                rows, columns = np.nonzero(moving)
                assert np.hypot(columns.mean() - x, rows.mean() - y) < 5
                direction = np.sign(float(flow[0, t][moving].mean()) - 128)
                # Mirrored, the ball runs to the left and its left shoulder is a right one.
                assert (direction, joint) in {(1.0, 5), (-1.0, 6)}
                directions.add(direction)
                seen += 1
    assert seen > 20
    assert shown == seen if name in ("crop", "flip") else shown > 0.6 * seen
    assert directions == ({1.0} if name == "crop" else {1.0, -1.0})


def test_each_modality_alone_equals_itself_with_the_others(folder: Path) -> None:
    together = dataset(folder, AUGMENTATIONS["warps"])[(3, 0)]
    for modality in EVERY:
        alone = dataset(folder, AUGMENTATIONS["warps"], modalities=(modality,), decoding=Decoding(target_fps=25.0))[
            (3, 0)
        ]
        assert isinstance(together, Sample)
        assert isinstance(alone, Sample)
        if modality == "rgb":
            assert (alone.clips[modality] == together.clips[modality]).all()
        assert alone.clips[modality].shape == together.clips[modality].shape
    assert together.clips["skeleton"].shape == (2, 3, 4, 17, 2)


def test_without_rgb_the_video_is_not_needed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "joints.npz").write_bytes((folder / "joints.npz").read_bytes())
    data = dataset(tmp_path, None, modalities=("skeleton",))
    assert isinstance(data[0], Sample)
    clocked = dataset(tmp_path, None, modalities=("skeleton",), decoding=Decoding(target_fps=30.0))[0]
    assert isinstance(clocked, FailedClip)
    assert clocked.reason == "no such file"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("others.npz", "ball.npz"), "others.npz: has 12 frames, its video has 24"),
        (("", "ball.npz"), "the clip table names no skeleton for this clip; make it with datasets/extract_skeleton.py"),
        (("gone.npz", "ball.npz"), "gone.npz: no such file"),
        (("joints.npz", "gone.npz"), "gone.npz: no such file"),
    ],
)
def test_faulty_files_other_than_the_video_are_named(folder: Path, files: tuple[str, str], reason: str) -> None:
    found = dataset(folder, None, files)[0]
    assert isinstance(found, FailedClip)
    assert found.reason.startswith(reason), found.reason


def test_joints_that_cannot_be_converted_are_named(folder: Path) -> None:
    found = dataset(folder, None, modalities=("skeleton",), persons=Persons(1, "halpe26"))[0]
    assert isinstance(found, FailedClip)
    assert found.reason.startswith("joints.npz: SKELETON.LAYOUT is 'halpe26' but the skeleton files hold 'coco17'")


def test_time_stamps_that_jump_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jump = np.concatenate([np.arange(12) / 25, 1e9 + np.arange(12) / 25])
    monkeypatch.setattr(Video, "seconds", jump)
    found = dataset(folder, None, modalities=("rgb",), decoding=Decoding(target_fps=30.0))[0]
    assert isinstance(found, FailedClip)
    assert found.reason.startswith("its time stamps jump: 24 frames, mostly 0.04 s apart, last 1e+09 s; re-encode")


def test_unforeseen_errors_of_libraries_fail_the_clip_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate\n224 GiB")

    monkeypatch.setattr(reading, "open_source", fail)
    found = dataset(folder, None, modalities=("rgb",))[0]
    assert isinstance(found, FailedClip)
    assert found.reason == "cannot be read: MemoryError: Unable to allocate 224 GiB"


def test_joints_without_a_size_are_pixels_of_the_video_with_any_modality(folder: Path, tmp_path: Path) -> None:
    for name in ("ball.mp4", "ball.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    joints = [v for joint in range(17) for v in (56.0 + joint, 48.0, 0.9)]  # around the middle of the frame
    entries = [{"image_id": f"{t}.jpg", "keypoints": joints, "score": 1.0, "category_id": 1} for t in range(FRAMES)]
    (tmp_path / "joints.json").write_text(json.dumps(entries))
    np.save(tmp_path / "joints.npy", np.full((FRAMES, 33, 4), 0.5))  # MediaPipe's, in shares of the frame
    for modalities, name in product((("skeleton",), ("flow", "skeleton"), EVERY), ("joints.json", "joints.npy")):
        sample = dataset(tmp_path, None, (name, "ball.npz"), modalities=modalities)[0]
        assert isinstance(sample, Sample), sample
        assert np.abs(sample.clips["skeleton"].numpy()[:, :2, :, :, 0].mean(axis=-1) - 0.5).max() < 0.02


def test_joints_of_frames_with_swapped_sides_fail_with_rgb(folder: Path, tmp_path: Path) -> None:
    for name in ("ball.mp4", "ball.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    points = np.random.default_rng(0).uniform(1, HEIGHT - 2, (1, FRAMES, 17, 2))  # inside of either way
    parts = {"keypoint": points, "keypoint_score": np.ones((1, FRAMES, 17)), "total_frames": FRAMES}
    for size, reason in [((HEIGHT, WIDTH), None), ((WIDTH, HEIGHT), "img_shape says frames 96 wide and 128 high")]:
        np.savez(tmp_path / "joints.npz", **parts, img_shape=size)
        found = dataset(tmp_path, None)[0]
        assert reason in found.reason if reason else isinstance(found, Sample)


def test_a_damaged_image_of_a_folder_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ball.mp4").mkdir()
    for t in range(FRAMES):
        cv2.imwrite(str(tmp_path / "ball.mp4" / f"{t}.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    cut = tmp_path / "ball.mp4" / "0.jpg"
    cut.write_bytes(cut.read_bytes()[:-30])
    found = dataset(tmp_path, None, modalities=("rgb",), views_from="start")[0]
    assert found == FailedClip(0, "ball.mp4", "ball.mp4/0.jpg: is truncated")


def test_frames_are_resized_as_they_are_decoded_where_only_rgb_is_read(folder):
    decoding = Decoding(short_size=48, resizing="two_by_two")
    small = dataset(folder, None, modalities=("rgb",), decoding=decoding)
    # The clip is then made of 48 x 64 pixels, not of 96 x 128.
    frame = Video(folder / "ball.mp4").frames([5])[0]  # a single view is at the centre
    whole = cv2.resize(cv2.resize(frame, (64, 48)), (85, 64))
    got = small[0].clips["rgb"][0, :, 0].permute(1, 2, 0).numpy()
    assert got.shape == (64, 64, 3)
    assert np.abs(got.astype(int) - whole[:, 10:74]).mean() < 4
    views = dataset(folder, None, decoding=decoding, modalities=("rgb", "skeleton"))[0].clips["rgb"]
    assert torch.equal(views, dataset(folder, None, modalities=("rgb", "skeleton"))[0].clips["rgb"])
