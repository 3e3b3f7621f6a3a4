from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from transm3e.config import get_cfg
from transm3e.data.annotations import MUSCLES, Clip, write_clip_table
from transm3e.data.backends import open_source
from transm3e.data.build import build_dataset, build_folder_dataset, folder_table
from transm3e.data.dataset import ClipDataset
from transm3e.data.decode import decode_frames
from transm3e.data.encode import write_video
from transm3e.data.sampling import Span, view_start
from transm3e.data.transforms import apply, eval_params
from transm3e.data.types import BatchBuilder, ClipSpec, FailedClip, Sample
from transm3e.data.videos import _windows
from transm3e.errors import UserError

SPLITS = ("train", "train", "known_val", "new_val")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of 40 frames, 48x64, and their table."""
    root = tmp_path_factory.mktemp("clips")
    for number in range(4):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        write_video(root / f"{number}.mp4", [np.roll(picture, 2 * i, 1) for i in range(40)], fps=25)
    write_clip_table(root / "clips.csv", [Clip(f"{i}.mp4", s, "run", (i, 19)) for i, s in enumerate(SPLITS)])
    return root


def config(folder: Path, **changes: object):
    cfg = get_cfg()
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = 4, 3
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = 32
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 2
    cfg.DATA.TARGET_FPS, cfg.AUG.AA_TYPE = 0.0, ""
    for key, value in changes.items():
        group, name = key.split("__")
        cfg[group][name] = value
    return cfg


def item(dataset: ClipDataset, key: int | tuple[int, int]) -> Sample:
    found = dataset[key]
    assert isinstance(found, Sample), found
    return found


def test_a_training_item_holds_the_augmented_clips_of_one_video(folder: Path) -> None:
    dataset = build_dataset(config(folder, AUG__NUM_SAMPLE=2), "train")
    assert len(dataset) == 2
    sample = item(dataset, 1)
    assert sample.clips["rgb"].shape == (2, 3, 4, 32, 32)
    assert sample.clips["rgb"].dtype == torch.uint8
    assert sample.clips["rgb"].shape[1:] == dataset.specs["rgb"].shape
    assert sample.views == (0, 1)
    assert sample.row == 1
    assert sample.path == "1.mp4"  # as the table says, not where this machine has it
    assert torch.nonzero(sample.label).flatten().tolist() == [1, 19]
    assert not torch.equal(*sample.clips["rgb"])


def test_training_clips_are_a_function_of_seed_epoch_row_and_sample(folder: Path) -> None:
    dataset = build_dataset(config(folder, AUG__NUM_SAMPLE=2), "train")
    first = item(dataset, (3, 0)).clips["rgb"]
    item(dataset, (4, 1))
    assert torch.equal(item(dataset, (3, 0)).clips["rgb"], first)
    assert not torch.equal(item(dataset, (4, 0)).clips["rgb"], first)
    dataset.set_epoch(3)
    assert torch.equal(item(dataset, 0).clips["rgb"], first)
    one = build_dataset(config(folder, AUG__NUM_SAMPLE=1), "train")
    assert torch.equal(item(one, (3, 0)).clips["rgb"][0], first[0])  # asking for more samples changes no other
    cfg = config(folder)
    cfg.RNG_SEED = 1
    assert not torch.equal(item(build_dataset(cfg, "train"), (3, 0)).clips["rgb"][0], first[0])


def test_switching_the_augmentation_off_leaves_crop_and_flip(folder: Path) -> None:
    off = config(folder, AUG__ENABLE=False, AUG__RE_PROB=1.0).clone()
    assert build_dataset(off, "train").augmentation.erase_prob == 0
    assert build_dataset(off, "train").augmentation.color_jitter == 0
    plain = config(folder, AUG__COLOR_JITTER=0.0, AUG__RE_PROB=0.0)
    assert torch.equal(
        item(build_dataset(off, "train"), 0).clips["rgb"], item(build_dataset(plain, "train"), 0).clips["rgb"]
    )


def view(number: int, views: int, views_from: str = "spread") -> np.ndarray:
    """Frames of a view of four frames, three apart, of videos of forty."""
    return Span(4, 3).at(view_start(40, Span(4, 3), number, views, views_from), 40)


@pytest.mark.parametrize("crops", [1, 3])
def test_an_evaluation_item_holds_the_views_and_crops_in_order(folder: Path, crops: int) -> None:
    dataset = build_dataset(config(folder, TEST__NUM_SPATIAL_CROPS=crops, AUG__NUM_SAMPLE=2), "known_val")
    assert len(dataset) == 1
    sample = item(dataset, 0)
    assert (sample.row, sample.views) == (2, tuple(range(2 * crops)))
    for number, clip in enumerate(sample.clips["rgb"]):
        frames = decode_frames(folder / "2.mp4", view(number // crops, 2))
        expected = apply(frames, eval_params(48, 64, number % crops, crops), 32)
        np.testing.assert_array_equal(clip.permute(1, 2, 3, 0), expected)
    assert torch.equal(item(dataset, (7, 0)).clips["rgb"], sample.clips["rgb"])


@pytest.mark.parametrize("crops", [1, 3])
def test_from_the_start_there_is_one_view_whatever_their_number(folder: Path, crops: int) -> None:
    changes = {"TEST__VIEWS_FROM": "start", "TEST__NUM_SPATIAL_CROPS": crops}
    five, one = (build_dataset(config(folder, TEST__NUM_ENSEMBLE_VIEWS=n, **changes), "known_val") for n in (5, 1))
    assert item(five, 0).views == item(one, 0).views == tuple(range(crops))
    frames = decode_frames(folder / "2.mp4", view(0, 1, "start"))
    for crop, clip in enumerate(item(five, 0).clips["rgb"]):
        expected = apply(frames, eval_params(48, 64, crop, crops), 32)
        np.testing.assert_array_equal(clip.permute(1, 2, 3, 0), expected)


def test_samples_may_be_drawn_from_nearly_the_same_frames(folder: Path) -> None:
    cfg = config(folder, AUG__NUM_SAMPLE=2, AUG__SAMPLE_DISTANCE=0, AUG__ENABLE=False, DATA__RANDOM_FLIP=False)
    cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE, cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE = [1.0, 1.0], [1.3333, 1.3334]
    first, second = item(build_dataset(cfg, "train"), 0).clips["rgb"]  # the whole frame, twice
    assert torch.equal(first, second)
    cfg.AUG.SAMPLE_DISTANCE = -1
    apart = item(build_dataset(cfg, "train"), 0).clips["rgb"]
    assert torch.equal(apart[0], first)
    assert not torch.equal(apart[1], first)


def test_a_video_is_played_at_the_target_rate(folder: Path) -> None:
    cfg = config(folder, DATA__TARGET_FPS=12.5, TEST__VIEWS_FROM="start")  # every second frame of 25 a second
    frames = decode_frames(folder / "2.mp4", [0, 6, 12, 18])
    clip = item(build_dataset(cfg, "known_val"), 0).clips["rgb"][0]
    assert (clip.permute(1, 2, 3, 0).numpy() == apply(frames, eval_params(48, 64, 0, 1), 32)).all()


def test_a_window_is_read_as_a_video_of_its_own(folder: Path) -> None:
    """Seconds 0.4 to 1.0 of 25 frames a second: frames 10 to 24, of which 3 x 3 steps leave starts from 10 to 15."""
    table, root = folder_table(folder / "2.mp4")
    for fps, expected in ((0.0, ([10, 13, 16, 19], [15, 18, 21, 24])), (12.5, ([10, 16, 22, 24], [10, 16, 22, 24]))):
        windows = np.array([[0.4, 1.0]])
        dataset = build_folder_dataset(config(folder, DATA__TARGET_FPS=fps), table, root, windows)
        for clip, numbers in zip(item(dataset, 0).clips["rgb"], expected, strict=True):
            frames = apply(decode_frames(folder / "2.mp4", numbers), eval_params(48, 64, 0, 1), 32)
            np.testing.assert_array_equal(clip.permute(1, 2, 3, 0), frames)
    beyond = build_folder_dataset(config(folder), table, root, np.array([[9.0, 10.0]]))
    last = apply(decode_frames(folder / "2.mp4", [39] * 4), eval_params(48, 64, 0, 1), 32)
    np.testing.assert_array_equal(item(beyond, 0).clips["rgb"][0].permute(1, 2, 3, 0), last)


def test_no_window_begins_after_the_end(folder: Path) -> None:
    """1.6 seconds; with gaps between windows, too."""
    for length, stride, starts in (
        (0.5, 0.9, [0, 0.9]),
        (0.5, 0.8, [0, 0.8]),
        (0.5, 0.5, [0, 0.5, 1.0, 1.5]),
        (3, 1, [0]),
    ):
        spans = list(_windows(folder / "2.mp4", length, stride, 60.0))
        assert [start for start, _ in spans] == pytest.approx(starts)
        assert [end for _, end in spans] == pytest.approx([min(start + length, 1.6) for start in starts])
        assert all(start < end for start, end in spans)


def test_segments_are_a_single_view(folder: Path) -> None:
    dataset = build_dataset(config(folder, DATA__FRAME_INDICES="segments"), "known_val")
    assert len(item(dataset, 0).clips["rgb"]) == 1


def test_a_video_replaced_in_place_is_read_anew(tmp_path: Path) -> None:
    for count in (10, 30):
        other = tmp_path / "new.mp4"
        write_video(other, [np.zeros((48, 64, 3), np.uint8)] * count, fps=25)
        other.replace(tmp_path / "a.mp4")
        with closing(open_source(tmp_path / "a.mp4")) as source:
            assert source.num_frames == count


def test_folders_of_images_are_videos(folder: Path, tmp_path: Path) -> None:
    frames = decode_frames(folder / "2.mp4", range(40))
    (tmp_path / "2").mkdir()
    for number, frame in enumerate(frames, start=1):
        cv2.imwrite(str(tmp_path / "2" / f"img_{number:05d}.png"), frame[..., ::-1])
    write_clip_table(tmp_path / "clips.csv", [Clip("2", "known_val", "run", (2,))])
    pictures, video = (build_dataset(config(place), "known_val") for place in (tmp_path, folder))
    assert torch.equal(item(pictures, 0).clips["rgb"], item(video, 0).clips["rgb"])
    (tmp_path / "2" / "img_00007.png").unlink()
    found = pictures[0]
    assert isinstance(found, FailedClip)
    assert found.reason == "lacks 1 of the frames 1 to 40: 7; extract it again"


def test_a_file_that_does_not_decode_is_named_and_not_replaced(folder: Path) -> None:
    dataset = build_dataset(config(folder, AUG__NUM_SAMPLE=2), "train")
    dataset.reader.root = str(folder / "gone")
    found = dataset[1]
    assert found == FailedClip(1, "1.mp4", "no such file")


def test_the_time_limit_reaches_the_decoder(folder: Path) -> None:
    found = build_dataset(config(folder, DATA__DECODE_TIMEOUT=0.0), "train")[0]
    assert isinstance(found, FailedClip)
    assert "took longer than 0 s" in found.reason


def test_a_video_shorter_than_the_clip_holds_its_last_frame(folder: Path) -> None:
    sample = item(build_dataset(config(folder, DATA__NUM_FRAMES=8, DATA__SAMPLING_RATE=10), "new_val"), 0)
    clip = sample.clips["rgb"][0]
    assert torch.equal(clip[:, 4], clip[:, 7])
    assert not torch.equal(clip[:, 3], clip[:, 4])


def test_a_batch_keeps_the_order_and_takes_what_fits(folder: Path) -> None:
    dataset = build_dataset(config(folder, AUG__NUM_SAMPLE=2), "train")
    first, second = item(dataset, 0), item(dataset, 1)
    builder = BatchBuilder(dataset.specs, 3)
    assert (builder.add(first), builder.full, builder.add(second), builder.full) == (2, False, 1, True)
    batch = builder.build(samples=2)
    assert batch.rows.tolist() == [0, 0, 1]
    assert batch.views.tolist() == [0, 1, 0]
    assert batch.labels.shape == (3, len(MUSCLES))
    assert batch.labels.dtype == torch.float32
    assert batch.paths == ["0.mp4", "0.mp4", "1.mp4"]
    assert torch.equal(batch.clips["rgb"], torch.cat([first.clips["rgb"], second.clips["rgb"][:1]]))
    assert batch.clips["rgb"].is_contiguous(memory_format=torch.channels_last_3d)
    rest = BatchBuilder(dataset.specs, 4)
    assert rest.add(second, 1) == 1
    assert torch.equal(rest.build().clips["rgb"], second.clips["rgb"][1:])


def test_an_empty_batch_keeps_its_shapes_and_moves() -> None:
    batch = BatchBuilder({"rgb": ClipSpec((3, 4, 32, 32))}, 2).build().to("cpu")
    assert len(batch) == 0
    assert batch.clips["rgb"].shape == (0, 3, 4, 32, 32)
    assert (batch.clips["rgb"].dtype, batch.rows.dtype, batch.views.dtype) == (torch.uint8, torch.int64, torch.int64)
    assert batch.labels.shape == (0, 20)


def test_moving_a_batch_moves_every_tensor(folder: Path) -> None:
    dataset = build_dataset(config(folder), "train")
    builder = BatchBuilder(dataset.specs, 1)
    builder.add(item(dataset, 0))
    batch = builder.build()
    moved = batch.to("meta")
    tensors = [*moved.clips.values(), moved.labels, moved.rows, moved.views]
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.paths == batch.paths
    assert batch.rows.device.type == "cpu"


def test_missing_splits(folder: Path) -> None:
    with pytest.raises(UserError, match="unknown split 'test'; allowed: train, known_val"):
        build_dataset(config(folder), "test")
    with pytest.raises(UserError) as caught:
        build_dataset(config(folder), "new_test")
    assert str(caught.value).endswith(
        "no clips in split 'new_test'; splits with clips: train, known_val, new_val; "
        'set TEST.SPLITS "[known_val, new_val]", or add clips of new_test to the table'
    )


def test_a_table_without_training_clips_asks_for_some(folder: Path, tmp_path: Path) -> None:
    write_clip_table(tmp_path / "clips.csv", [Clip("0.mp4", "new_val", "run", ())])
    with pytest.raises(UserError, match="splits with clips: new_val; add clips of train to the table"):
        build_dataset(config(tmp_path), "train")


def test_missing_videos_are_counted_before_anything_runs(folder: Path, tmp_path: Path) -> None:
    clips = [Clip(f"{i}.mp4", "train", "run", ()) for i in range(9)]
    write_clip_table(tmp_path / "clips.csv", clips)
    with pytest.raises(UserError) as caught:
        build_dataset(config(tmp_path, DATA__PATH_PREFIX=str(folder)), "train")
    message = str(caught.value)
    assert "5 of 9 video files" in message
    assert "4.mp4, 5.mp4, 6.mp4, ...; set DATA.PATH_PREFIX" in message
    assert "7.mp4" not in message


def test_missing_videos_may_be_allowed_in_evaluation_only(folder: Path, tmp_path: Path) -> None:
    write_clip_table(
        tmp_path / "clips.csv", [Clip(f"{i}.mp4", s, "run", ()) for i, s in enumerate(("train", "new_val"))]
    )
    allowed = config(tmp_path, TEST__ALLOW_MISSING=True)
    assert build_dataset(allowed, "new_val")[0] == FailedClip(1, "1.mp4", "no such file")
    for cfg, split in (allowed, "train"), (config(tmp_path), "new_val"):
        with pytest.raises(UserError, match="1 of 1 video files are not in"):
            build_dataset(cfg, split)


def test_the_prefix_is_the_root(folder: Path, tmp_path: Path) -> None:
    write_clip_table(tmp_path / "other.csv", [Clip("0.mp4", "train", "run", ())])
    dataset = build_dataset(config(tmp_path / "other.csv", DATA__PATH_PREFIX=str(folder)), "train")
    assert isinstance(dataset[0], Sample)


def test_any_folder_or_file_can_be_predicted_on(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.MP4", "deep/c.avi", "a.mkv"):
        (tmp_path / name).write_bytes((folder / "0.mp4").read_bytes())
    (tmp_path / "notes.txt").write_text("of a.mkv")
    table, root = folder_table(tmp_path)
    assert (table.paths.tolist(), root) == (["a.mkv", "b.MP4", "deep/c.avi"], tmp_path)
    assert set(table.splits) == {"known_test"}
    assert not table.labels.any()
    dataset = build_folder_dataset(config(folder), table, root)
    assert len(dataset) == 3
    assert item(dataset, 2).row == 2
    single, root = folder_table(tmp_path / "deep" / "c.avi")
    assert (single.paths.tolist(), root) == (["c.avi"], tmp_path / "deep")


def test_folders_without_videos(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no video files in"):
        folder_table(tmp_path)
    with pytest.raises(UserError, match="no such folder or file"):
        folder_table(tmp_path / "gone")
