import faulthandler
import gc
import os
import random
import resource
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transm3e.config import get_cfg
from transm3e.data import build_loader, build_videos
from transm3e.data.annotations import Clip, ClipTable, table_from_clips, write_clip_table
from transm3e.data.dataset import ClipDataset
from transm3e.data.draws import ClipShape
from transm3e.data.encode import write_video
from transm3e.data.loader import ClipLoader, EpochItems
from transm3e.data.reading import Decoding
from transm3e.data.transforms import Augmentation
from transm3e.data.types import Batch, FailedClip, Sample, mixed
from transm3e.data.workers import SlotPlan, Task, WorkerPool
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
    cfg.DATA.TARGET_FPS = 0.0
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
    monkeypatch.setattr(ClipDataset, "load", _spy(asked))
    list(loader.epoch(0, start_step=2))
    assert len(asked) == 2


def _spy(asked: list):
    original = ClipDataset.load

    def load(self: ClipDataset, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample | FailedClip:
        asked.append(key)
        return original(self, key, clips)

    return load


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
    ranks = [EpochItems(size, batch, shuffle, 0, rank, world) for rank in range(world)]
    items = [rank.of(epoch).tolist() for rank in ranks]
    assert [len(i) for i in items] == [len(rank) for rank in ranks]
    every = [item for rank in items for item in rank]
    assert len(set(every)) == len(every)
    if shuffle:
        assert len({len(i) for i in items}) == 1  # ranks in step: a rank with one more would wait for ever
        assert len(every) == size // (batch * world) * batch * world
        one = EpochItems(size, batch * world, True, 0, 0, 1).of(epoch)
        for step in range(len(items[0]) // batch):
            part = slice(step * batch, (step + 1) * batch)
            assert set(one[step * batch * world : (step + 1) * batch * world]) == {n for i in items for n in i[part]}
    else:
        assert sorted(every) == list(range(size))


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failed_training_clip_is_listed_and_another_drawn(folder: Path, workers: int) -> None:
    names = ["0.mp4", "gone.mp4", "1.mp4"]
    dataset = ClipDataset(table(names), folder, SHAPE, augmentation=Augmentation(), samples=2)
    batches = [next(ClipLoader(dataset, 3, num_workers=workers).epoch(epoch)) for epoch in range(4)]
    for batch in batches:
        assert len(batch) == 6
        assert set(batch.rows.tolist()) == {0, 2}
        assert set(batch.failed) == {FailedClip(1, "gone.mp4", "no such file")}
    assert len({tuple(batch.rows.tolist()) for batch in batches}) > 1
    again = [next(ClipLoader(dataset, 3).epoch(epoch)) for epoch in range(4)]
    assert same(batches, again)


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_to_draw_in_its_place_ends_the_run(folder: Path, workers: int) -> None:
    dataset = ClipDataset(table([f"gone{i}.mp4" for i in range(5)]), folder, SHAPE, augmentation=Augmentation())
    with pytest.raises(
        UserError, match=r"^11 training videos, .*gone\d\.mp4: no such file;.* and 8 more; fix or remove"
    ):
        list(ClipLoader(dataset, 5, num_workers=workers).epoch(0))


def test_failed_evaluation_clips_are_listed_and_never_replaced(folder: Path) -> None:
    dataset = ClipDataset(table(["gone.mp4", "0.mp4", "gone2.mp4"]), folder, SHAPE, views=2)
    batches = list(ClipLoader(dataset, 2).epoch(0))
    assert [batch.rows.tolist() for batch in batches] == [[1, 1], []]
    assert [[clip.row for clip in batch.failed] for batch in batches] == [[0], [2]]
    assert batches[1].clips["rgb"].shape == (0, 3, 4, 32, 32)


class Deadly(ClipDataset):
    """Something happens to the process that loads item 1."""

    def __init__(self, names: Sequence[str], folder: Path, what: str, timeout: float = 60.0) -> None:
        super().__init__(table(names), folder, SHAPE, augmentation=Augmentation(), decoding=Decoding(timeout=timeout))
        self.what, self.before = what, folder / "once"

    def load(self, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample | FailedClip:
        if key[1] == 1:
            if self.what == "hangs":
                time.sleep(600)
            if self.what == "crashes":
                faulthandler.disable()  # pytest's, which would print the stack
                os.kill(os.getpid(), signal.SIGSEGV)
            if self.what == "is killed once" and not self.before.exists():
                self.before.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "always dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "is a mistake":
            raise KeyError("a mistake in the program")
        return super().load(key, clips)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("hangs", "took longer than 2.5 s; raise DATA.DECODE_TIMEOUT or re-encode"),  # 1.5 times its limit, and 1
        ("crashes", "the decoder crashed twice (SIGSEGV)"),
    ],
)
def test_a_file_that_costs_its_process_is_named_and_the_epoch_goes_on(folder: Path, what: str, reason: str) -> None:
    dataset = Deadly([f"{i}.mp4" for i in range(6)], folder, what, timeout=1.0)
    with closing(ClipLoader(dataset, 2, num_workers=2)) as loader:
        batches = list(loader.epoch(0))
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert {clip for batch in batches for clip in batch.failed} == {FailedClip(1, "1.mp4", reason)}
    dataset.what = ""
    good = [batch for batch in batches if not batch.failed]
    whole = list(ClipLoader(dataset, 2).epoch(0))
    assert all(any(same([batch], [other]) for other in whole) for batch in good)
    assert len(good) >= 1


def test_a_process_that_is_killed_once_costs_nothing(folder: Path, tmp_path: Path) -> None:
    dataset = Deadly([f"{i}.mp4" for i in range(6)], folder, "is killed once")
    dataset.before = tmp_path / "once"
    with closing(ClipLoader(dataset, 2, num_workers=2)) as loader:
        batches = list(loader.epoch(0))
        assert dataset.before.exists()
        assert same(batches, list(ClipLoader(dataset, 2).epoch(0)))
        assert same(batches, list(loader.epoch(0)))


def test_processes_that_always_die_end_the_run(folder: Path) -> None:
    dataset = Deadly([f"{i}.mp4" for i in range(6)], folder, "always dies")
    with pytest.raises(UserError, match=r"^9 data-loading workers in a row died .*DATA_LOADER\.NUM_WORKERS"):
        list(ClipLoader(dataset, 2, num_workers=2).epoch(0))


def test_a_scheduler_that_ends_all_processes_ends_no_epoch(folder: Path) -> None:
    dataset = ClipDataset(table([f"{i % 7}.mp4" for i in range(40)]), folder, SHAPE, augmentation=Augmentation())
    with closing(ClipLoader(dataset, 10, num_workers=10)) as loader:
        batches = []
        for batch in loader.epoch(0):
            batches.append(batch)
            if len(batches) < 3:
                for pid in loader._loading.pids:
                    os.kill(pid, signal.SIGTERM)
        assert same(batches, list(ClipLoader(dataset, 10).epoch(0)))


class Stalled:
    """Nothing can be read, as from a network disk that does not answer."""

    def load(self, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample:
        time.sleep(600)
        raise AssertionError

    def failed(self, key: tuple[int, int], reason: str) -> FailedClip:
        return FailedClip(key[1], "", reason)


def test_any_number_of_files_may_hang_in_a_row() -> None:
    pool = WorkerPool(Stalled(), SlotPlan({}, 1, 1), num_workers=6, seconds=0.2)
    for number in range(12):
        pool.submit(Task(number, (0, number), 0))
    found = [pool.result()[1] for _ in range(12)]
    assert sorted(clip.row for clip in found) == list(range(12))
    assert all(clip.reason.startswith("took longer than 0.2 s") for clip in found)
    pool.close()


class Trivial:
    def load(self, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample:
        return Sample({}, torch.zeros(20), key[1], (0,), f"{key[1]}.mp4")

    def failed(self, key: tuple[int, int], reason: str) -> FailedClip:
        raise AssertionError(reason)


def test_any_number_of_tasks_may_wait(folder: Path) -> None:
    pool = WorkerPool(Trivial(), SlotPlan({}, 1, 1), num_workers=1, seconds=60)
    for number in range(3000):  # their answers would not fit into a pipe
        pool.submit(Task(number, (0, number), 0))
    assert [pool.result()[0] for _ in range(3000)] == list(range(3000))
    pool.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_other_errors_pass_as_they_are(folder: Path, workers: int) -> None:
    dataset = Deadly(["0.mp4", "1.mp4"], folder, "is a mistake")
    with pytest.raises((KeyError, RuntimeError), match="a mistake in the program") as caught:
        list(ClipLoader(dataset, 1, num_workers=workers).epoch(0))
    assert not isinstance(caught.value, UserError)


def test_no_process_outlives_its_loader(folder: Path) -> None:
    loader = build_loader(config(folder, workers=2), "train")
    next(loader.epoch(0))
    pids = loader._loading.pids
    assert len(set(pids)) == 2
    del loader
    gc.collect()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_loading_leaves_the_global_generators_alone(folder: Path) -> None:
    loader = build_loader(config(folder, workers=1), "train")
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    list(loader.epoch(0))
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


class Threads(ClipDataset):
    def load(self, key: tuple[int, int], clips: dict[str, torch.Tensor]) -> Sample | FailedClip:
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
    batches = list(build_videos(config(folder, batch=5), folder).loader.epoch(0))
    assert sum(len(batch) for batch in batches) == 2 * (TRAIN + EVAL)
    assert not any(batch.labels.any() for batch in batches)
    assert batches[0].paths[0] == "0.mp4"
    shares = [build_videos(config(folder), folder, rank=rank, world_size=2).loader for rank in range(2)]
    rows = [{row for batch in share.epoch(0) for row in batch.rows.tolist()} for share in shares]
    assert rows == [set(range(start, TRAIN + EVAL, 2)) for start in range(2)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs a GPU")
def test_pinned_batches_move_to_the_gpu(folder: Path) -> None:
    batch = next(build_loader(config(folder, workers=1), "train").epoch(0))
    assert batch.clips["rgb"].is_pinned()
    assert batch.rows.is_pinned()
    moved = batch.to("cuda")
    assert moved.clips["rgb"].device.type == "cuda"
    assert torch.equal(moved.clips["rgb"].cpu(), batch.clips["rgb"])


def test_mixing_is_drawn_with_the_batch_and_done_later(folder: Path) -> None:
    cfg = config(folder)
    cfg.MIXUP.ENABLE = True
    loader = build_loader(cfg, "train")
    batches = list(loader.epoch(0))
    assert [batch.mix for batch in batches] == [batch.mix for batch in loader.epoch(0)]
    assert [batch.mix for batch in loader.epoch(0, start_step=1)] == [batch.mix for batch in batches[1:]]
    assert len({batch.mix for batch in batches} | {batch.mix for batch in loader.epoch(1)}) == 2 * len(batches)
    plain = list(build_loader(config(folder), "train").epoch(0))
    for batch, unmixed in zip(batches, plain, strict=True):
        assert same([batch], [unmixed])
        done = mixed(batch)
        assert done.mix is None
        assert not torch.equal(done.clips["rgb"], unmixed.clips["rgb"])
        assert done.labels.min() >= 0.05 - 1e-6  # smoothed
    assert mixed(plain[0]) is plain[0]
    assert all(batch.mix is None for batch in build_loader(cfg, "known_val").epoch(0))
