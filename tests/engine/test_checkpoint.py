"""Checkpoints of a run: names and order, what is kept, full disks, files that are not checkpoints."""

import errno
import os
import resource

import pytest
import torch

from transm3e.engine.checkpoint import BEST, CheckpointStore
from transm3e.errors import UserError
from transm3e.models.weights import read_checkpoint

STATE = {"model_state": {"w": torch.arange(3.0)}, "epoch": 2, "progress": {"history": [{"loss": 0.5}]}}


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path, keep=0)


def names(store):
    return sorted(file.name for file in store.folder.iterdir())


def test_what_is_saved_is_read_back(store):
    path = store.save(STATE, 3)
    assert path == store.folder / "checkpoint_epoch_00003.pyth"
    state = read_checkpoint(store.newest())
    assert torch.equal(state.pop("model_state")["w"], STATE["model_state"]["w"])
    assert state == {"epoch": 2, "progress": STATE["progress"]}


def test_an_empty_folder_has_none(store):
    assert store.newest() is None
    assert store.newest() is None


def test_newest_goes_by_position_not_by_name_or_time(store):
    saved = [store.save(STATE, *place) for place in ((100,), (3, 200), (3,), (3, 50), (99999,))]
    (store.folder / "checkpoint_epoch_100000.pyth").touch()
    (store.folder / "other.pyth").touch()
    (store.folder / BEST).touch()
    for file in saved:
        os.utime(file, (0, 0)) if file.exists() else None
    assert store.newest().name == "checkpoint_epoch_99999.pyth"
    (store.folder / "checkpoint_epoch_99999.pyth").unlink()
    assert store.newest().name == "checkpoint_epoch_00100.pyth"


def test_a_complete_epoch_is_newer_than_any_step_in_it(store):
    store.save(STATE, 2)
    assert store.save(STATE, 3, step=250).name == "checkpoint_epoch_00003_step_0000250.pyth"
    assert store.newest().name == "checkpoint_epoch_00003_step_0000250.pyth"
    store.save(STATE, 3)
    assert names(store) == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003.pyth"]


def test_a_step_replaces_the_step_before(store):
    for step in (10, 20, 30):
        store.save(STATE, 1, step)
    assert names(store) == ["checkpoint_epoch_00001_step_0000030.pyth"]


@pytest.mark.parametrize(("keep", "left"), [(0, [1, 2, 3, 4, 5]), (1, [4, 5]), (2, [3, 4, 5])])
def test_past_epochs_are_kept_besides_the_last(tmp_path, keep, left):
    store = CheckpointStore(tmp_path, keep)
    for epoch in range(1, 6):
        store.save(STATE, epoch)
    assert names(store) == [f"checkpoint_epoch_{epoch:05d}.pyth" for epoch in left]


def test_the_best_outlives_its_epoch_and_other_files_are_left_alone(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    best = store.save({**STATE, "epoch": 0}, 1)
    store.mark_best(best)
    (store.folder / "notes.txt").touch()
    for epoch in (2, 3, 4):
        store.save({**STATE, "epoch": epoch - 1}, epoch)
    assert names(store) == [BEST, "checkpoint_epoch_00003.pyth", "checkpoint_epoch_00004.pyth", "notes.txt"]
    assert torch.load(store.folder / BEST, weights_only=True)["epoch"] == 0
    store.mark_best(store.newest())
    assert torch.load(store.folder / BEST, weights_only=True)["epoch"] == 3
    store.mark_best(store.newest())
    assert len(names(store)) == 4


def test_the_best_is_a_copy_where_links_are_not_possible(store, monkeypatch):
    def no_links(*_args):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", no_links)
    path = store.save(STATE, 1)
    store.mark_best(path)
    assert (store.folder / BEST).read_bytes() == path.read_bytes()
    assert names(store) == [BEST, path.name]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("write failed\n at")])
def test_a_full_disk_leaves_older_checkpoints_and_no_partial(tmp_path, monkeypatch, error):
    store = CheckpointStore(tmp_path, keep=1)
    old = [store.save(STATE, epoch) for epoch in (1, 2)]

    def half(_state, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(
        UserError, match=r"cannot write .*checkpoint_epoch_00003\.pyth: (disk full \(No space|write failed)"
    ) as caught:
        store.save(STATE, 3)
    assert "\n" not in str(caught.value)
    assert names(store) == [file.name for file in old]
    assert read_checkpoint(store.newest())["epoch"] == 2


def test_a_damaged_newest_checkpoint_is_an_error_not_an_older_one(store):
    store.save(STATE, 1)
    newest = store.save(STATE, 2)
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(UserError, match=r"checkpoint_epoch_00002\.pyth"):
        read_checkpoint(store.newest())


def test_a_disk_that_takes_no_more_leaves_what_is_there(store):
    store.save(STATE, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*checkpoint_epoch_00002\.pyth: ") as caught:
            store.save({**STATE, "model_state": {"w": torch.zeros(1_000_000)}}, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert names(store) == ["checkpoint_epoch_00001.pyth"]
    assert read_checkpoint(store.newest())["epoch"] == 2


def test_a_folder_that_cannot_be_made_is_a_users_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot make .*file/checkpoints: "):
        CheckpointStore(tmp_path / "file", 1).save(STATE, 1)


def test_the_newest_that_can_be_read_and_damaged_ones_aside(store):
    for epoch in (1, 2, 3):
        store.save(STATE, epoch)
    for epoch in (2, 3):
        (store.folder / f"checkpoint_epoch_0000{epoch}.pyth").write_bytes(b"half")
    file, state = store.newest_whole(read_checkpoint)
    assert (file.name, state["epoch"]) == ("checkpoint_epoch_00001.pyth", 2)
    assert names(store) == ["checkpoint_epoch_00001.pyth", *(f"checkpoint_epoch_0000{e}.pyth.damaged" for e in (2, 3))]
    assert CheckpointStore(store.folder / "none", 1).newest_whole(read_checkpoint) == (None, None)


def test_a_disk_that_cannot_be_read_sets_nothing_aside(store):
    store.save(STATE, 1)

    def fail(_file):
        raise UserError("not a readable checkpoint") from OSError(errno.EIO, "Input/output error")

    with pytest.raises(UserError, match="not a readable checkpoint"):
        store.newest_whole(fail)
    assert names(store) == ["checkpoint_epoch_00001.pyth"]


def test_a_step_of_another_size_supersedes_higher_steps_of_its_epoch(store):
    store.save(STATE, 2)
    store.save(STATE, 3, step=20)
    store.save(STATE, 3, step=11)
    assert names(store) == ["checkpoint_epoch_00002.pyth", "checkpoint_epoch_00003_step_0000011.pyth"]
