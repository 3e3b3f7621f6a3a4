import os
import random
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transm3e.config import get_cfg
from transm3e.data import build_folder_loader, build_loader
from transm3e.data.annotations import Clip, ClipTable, table_from_clips, write_clip_table
from transm3e.data.dataset import ClipDataset, ClipShape
from transm3e.data.encode import write_video
from transm3e.data.loader import ClipLoader, EpochBatches
from transm3e.data.transforms import Augmentation
from transm3e.data.types import Batch, FailedClip, Sample
from transm3e.errors import UserError

SHAPE = ClipShape(length=4, stride=3, size=32)
TRAIN, EVAL = 7, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven training and five validation clips of 30 frames, 48x64, and their table."""
    root = tmp_path_factory.mktemp("clips")
    for number in range(TRAIN + EVAL):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        write_video(root / f"{number}.mp4", [np.roll(picture, 2 * i, 1) for i in range(30)], fps=25)
    splits = ["train"] * TRAIN + ["known_val"] * EVAL
    write_clip_table(root / "clips.csv", [Clip(f"{i}.mp4", split, "run", (i,)) for i, split in enumerate(splits)])
    return root


def config(folder: Path, batch: int = 2, workers: int = 0):
    cfg = get_cfg()
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE = SHAPE.length, SHAPE.stride
    cfg.DATA.TRAIN_CROP_SIZE = cfg.DATA.TEST_CROP_SIZE = SHAPE.size
    cfg.TRAIN.BATCH_SIZE = cfg.TEST.BATCH_SIZE = batch
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 2
    cfg.AUG.NUM_SAMPLE = 2
    cfg.DATA_LOADER.NUM_WORKERS = workers
    return cfg


def same(a: Sequence[Batch], b: Sequence[Batch]) -> bool:
    pairs = list(zip(a, b, strict=True))
    return all(
        torch.equal(x.clips["rgb"], y.clips["rgb"])
        and torch.equal(x.labels, y.labels)
        and torch.equal(x.rows, y.rows)
        and torch.equal(x.views, y.views)
        and x.paths == y.paths
        and x.failed == y.failed
        for x, y in pairs
    )


def test_a_training_batch(folder: Path) -> None:
    loader = build_loader(config(folder), "train")
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == TRAIN // 2
    for batch in batches:
        assert batch.clips["rgb"].shape == (4, 3, 4, 32, 32)
        assert batch.clips["rgb"].dtype == torch.uint8
        assert batch.rows[0] == batch.rows[1] != batch.rows[2] == batch.rows[3]
        assert batch.samples == 2
        assert not batch.failed
        assert torch.equal(batch.labels.argmax(1), batch.rows)
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert len(set(rows)) == 6


def test_a_resumed_epoch_is_the_rest_of_the_epoch_with_any_number_of_workers(folder: Path) -> None:
    whole = {epoch: list(build_loader(config(folder), "train").epoch(epoch)) for epoch in (0, 1)}
    assert not same(whole[0], whole[1])
    loader = build_loader(config(folder, workers=2), "train")
    assert same(list(loader.epoch(1, start_step=1)), whole[1][1:])
    assert same(list(loader.epoch(0)), whole[0])  # the same worker processes, told of another epoch
    abandoned = loader.epoch(1)
    next(abandoned)
    assert same(list(loader.epoch(0, start_step=2)), whole[0][2:])
    assert list(loader.epoch(0, start_step=3)) == []


def test_skipped_steps_are_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = build_loader(config(folder), "train")
    asked = []
    monkeypatch.setattr(ClipDataset, "__getitem__", _spy(asked))
    list(loader.epoch(0, start_step=2))
    assert len(asked) == 2


def _spy(asked: list):
    original = ClipDataset.__getitem__

    def getitem(self: ClipDataset, key: tuple[int, int]) -> Sample | FailedClip:
        asked.append(key)
        return original(self, key)

    return getitem


def test_evaluation_gives_every_view_once_in_order(folder: Path) -> None:
    loader = build_loader(config(folder, batch=4, workers=1), "known_val")
    batches = list(loader.epoch(0))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert len(loader) == 3
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert rows == [row for row in range(TRAIN, TRAIN + EVAL) for _ in range(2)]
    assert [view for batch in batches for view in batch.views.tolist()] == [0, 1] * EVAL
    assert same(list(loader.epoch(0)), batches)


def test_ranks_share_evaluation_without_repeats(folder: Path) -> None:
    seen = []
    for rank in range(3):
        loader = build_loader(config(folder, batch=2), "known_val", rank=rank, world_size=3)
        batches = list(loader.epoch(0))
        assert len(batches) == len(loader)
        seen += [pair for batch in batches for pair in zip(batch.rows.tolist(), batch.views.tolist(), strict=True)]
    assert sorted(seen) == [(row, view) for row in range(TRAIN, TRAIN + EVAL) for view in range(2)]


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 4), st.booleans(), st.integers(0, 5))
def test_ranks_partition_every_epoch(size: int, batch: int, world: int, shuffle: bool, epoch: int) -> None:
    ranks = [EpochBatches(size, batch, shuffle, 0, rank, world) for rank in range(world)]
    for rank in ranks:
        rank.epoch = epoch
    batches = [list(rank) for rank in ranks]
    assert [len(b) for b in batches] == [len(rank) for rank in ranks]
    items = [item for rank in batches for b in rank for _, item in b]
    assert len(set(items)) == len(items)
    if shuffle:
        assert len({len(b) for b in batches}) == 1  # ranks in step: a rank with one more would wait for ever
        assert len(items) == size // (batch * world) * batch * world
        one = EpochBatches(size, batch * world, True, 0, 0, 1)
        one.epoch = epoch
        steps = [{item for _, item in b} for b in one]
        assert steps == [{item for rank in batches for _, item in rank[step]} for step in range(len(steps))]
    else:
        assert sorted(items) == list(range(size))
    assert all(e == epoch for rank in batches for b in rank for e, _ in b)


def test_the_batch_size_is_per_machine(folder: Path) -> None:
    cfg = config(folder, batch=4)
    cfg.NUM_GPUS = 2
    first = next(build_loader(cfg, "train", rank=1, world_size=2).epoch(0))
    assert len(first) == 2 * 2


def test_fewer_clips_than_a_batch(folder: Path) -> None:
    with pytest.raises(UserError, match=r"has 7 clips, fewer than one global batch of 8; lower TRAIN\.BATCH_SIZE"):
        build_loader(config(folder, batch=4), "train", rank=0, world_size=2).epoch(0)


def table(names: Sequence[str]) -> ClipTable:
    return table_from_clips([Clip(name, "train", "run", (0,)) for name in names])


@pytest.mark.parametrize("workers", [0, 1])
def test_failed_training_clips_are_left_out_and_listed(folder: Path, workers: int) -> None:
    dataset = ClipDataset(table(["0.mp4", "gone.mp4", "1.mp4"]), folder, SHAPE, augmentation=Augmentation(), samples=2)
    batch = next(ClipLoader(dataset, 3, num_workers=workers).epoch(0))
    assert sorted(set(batch.rows.tolist())) == [0, 2]
    assert len(batch) == 4
    assert batch.failed == [FailedClip(1, "gone.mp4", "no such file")]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_batch_of_failures_ends_the_run(folder: Path, workers: int) -> None:
    dataset = ClipDataset(table([f"gone{i}.mp4" for i in range(5)]), folder, SHAPE, augmentation=Augmentation())
    with pytest.raises(UserError, match=r"no clip of a training batch .*gone\d\.mp4: no such file;.* and 2 more; mend"):
        list(ClipLoader(dataset, 5, num_workers=workers).epoch(0))


def test_failed_evaluation_clips_are_listed_and_never_replaced(folder: Path) -> None:
    dataset = ClipDataset(table(["gone.mp4", "0.mp4"]), folder, SHAPE, views=2)
    batches = list(ClipLoader(dataset, 2).epoch(0))
    assert [len(batch) for batch in batches] == [0, 2]
    assert [clip.row for clip in batches[0].failed] == [0, 0]
    assert batches[0].clips["rgb"].shape == (0, 3, 4, 32, 32)


class Deadly(ClipDataset):
    """The process that loads item 1 is killed, as by the kernel when memory runs out."""

    def __getitem__(self, key: int | tuple[int, int]) -> Sample | FailedClip:
        if key == (0, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(key)


class Broken(ClipDataset):
    def __getitem__(self, key: int | tuple[int, int]) -> Sample | FailedClip:
        raise RuntimeError("a mistake in the program")


def test_a_worker_that_dies_is_reported(folder: Path) -> None:
    loader = ClipLoader(Deadly(table(["0.mp4", "1.mp4"]), folder, SHAPE), 1, num_workers=1)
    with pytest.raises(UserError, match=r"a data loading process died .*DATA_LOADER\.NUM_WORKERS"):
        list(loader.epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_other_errors_pass_as_they_are(folder: Path, workers: int) -> None:
    with pytest.raises(RuntimeError, match="a mistake in the program") as caught:
        list(ClipLoader(Broken(table(["0.mp4"]), folder, SHAPE), 1, num_workers=workers).epoch(0))
    assert not isinstance(caught.value, UserError)


def test_loading_leaves_the_global_generators_alone(folder: Path) -> None:
    loader = build_loader(config(folder, workers=1), "train")
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    list(loader.epoch(0))
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


class Threads(ClipDataset):
    def __getitem__(self, key: int | tuple[int, int]) -> Sample | FailedClip:
        return FailedClip(cv2.getNumThreads(), "", "")


def test_workers_do_not_start_opencvs_threads(folder: Path) -> None:
    batch = next(ClipLoader(Threads(table(["0.mp4"]), folder, SHAPE), 1, num_workers=1).epoch(0))
    assert batch.failed[0].row == 1


def test_memory_does_not_grow_with_epochs(folder: Path) -> None:
    loader = build_loader(config(folder), "train")
    for epoch in range(10):
        list(loader.epoch(epoch))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for epoch in range(10, 60):
        list(loader.epoch(epoch))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KiB


def test_a_folder_of_videos(folder: Path) -> None:
    loader = build_folder_loader(config(folder, batch=5), folder)
    batches = list(loader.epoch(0))
    assert sum(len(batch) for batch in batches) == 2 * (TRAIN + EVAL)
    assert not any(batch.labels.any() for batch in batches)
    assert batches[0].paths[0] == "0.mp4"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs a GPU")
def test_pinned_batches_move_to_the_gpu(folder: Path) -> None:
    batch = next(build_loader(config(folder, workers=1), "train").epoch(0))
    assert batch.clips["rgb"].is_pinned()
    assert batch.rows.is_pinned()
    moved = batch.to("cuda")
    assert moved.clips["rgb"].device.type == "cuda"
    assert torch.equal(moved.clips["rgb"].cpu(), batch.clips["rgb"])
