"""Ours and the plain pipeline are given the same job and do it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from transm3e.benchmark.loader.files import made_files
from transm3e.benchmark.loader.pipelines import (
    BATCH_SIZE,
    PASSES,
    READERS,
    LoadingJob,
    Ours,
    Plain,
    check_plain,
)
from transm3e.data.decode import Video, decode_frames
from transm3e.data.draws import ClipShape
from transm3e.errors import UserError

SHAPE = ClipShape(4, 3, 32)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Two videos of 90 frames, clips of 4."""
    return LoadingJob(made_files(tmp_path_factory.mktemp("files"), 64, 48, 2, seconds=3).films, shape=SHAPE)


def batches(pipeline, epoch, workers=0):
    loader = pipeline.loader(workers)
    try:
        return list(loader.epoch(epoch))
    finally:
        loader.close()


def test_both_load_the_same_rows_in_the_same_order(job):
    ours, plain = batches(Ours(job), 1), batches(Plain(job, "pytorchvideo"), 1)
    assert [batch.rows.tolist() for batch in ours] == [batch.rows.tolist() for batch in plain]
    assert len(ours) == PASSES * 2 // BATCH_SIZE
    assert {tuple(batch.clips["rgb"].shape) for batch in ours} == {(2 * BATCH_SIZE, 3, 4, 32, 32)}
    assert {(tuple(batch.clips.shape), batch.clips.dtype) for batch in plain} == {
        ((2 * BATCH_SIZE, 3, 4, 32, 32), torch.uint8)
    }
    assert sum(len(batch.rows) for batch in plain) == job.clips


def test_both_ask_for_the_same_frames(job, monkeypatch):
    asked, read = [], Video.read
    monkeypatch.setattr(Video, "read", lambda self, numbers: (asked.append(set(numbers)), read(self, numbers))[1])
    dataset = Ours(job).dataset
    for epoch, row in ((0, 0), (0, 3), (5, 1)):
        dataset[epoch, row]
        assert asked[-1] == {int(number) for indices, _ in job.draws(epoch, row) for number in indices}
    assert len(asked) == 3


def test_pytorchvideo_reads_the_frames_it_is_asked_for(job):
    windows = [start + 3 * np.arange(4) for start in (0, 1, 47, 80)]
    reader = READERS["pytorchvideo"](job.films[0])
    for window, theirs in zip(windows, reader.frames(windows), strict=True):
        ours = torch.from_numpy(decode_frames(job.films[0].path, window)).permute(0, 3, 1, 2)
        assert theirs.shape == ours.shape
        # Their conversion to RGB is not bit-exact; a frame off by one differs by 10 and more.
        assert (theirs.int() - ours.int()).abs().float().mean(dim=(1, 2, 3)).max() < 1
    reader.close()


def test_variants(job):
    for form in ["half", "crop-first", "float"]:
        item = Plain(job, f"pytorchvideo+{form}")[0, 1]
        assert item["clips"].shape == (2, 3, 4, 32, 32)
        assert item["clips"].dtype == (torch.float32 if form == "float" else torch.uint8)
        assert torch.equal(item["clips"], Plain(job, f"pytorchvideo+{form}")[0, 1]["clips"])
        assert not torch.equal(item["clips"], Plain(job, f"pytorchvideo+{form}")[1, 1]["clips"])


def test_processes_load_the_same(job):
    alone, beside = batches(Plain(job, "pytorchvideo"), 2), batches(Plain(job, "pytorchvideo"), 2, workers=1)
    assert all(torch.equal(a.clips, b.clips) for a, b in zip(alone, beside, strict=True))


def test_unknown_pipelines():
    check_plain("pytorchvideo+half+float")
    with pytest.raises(UserError, match=r"--against is 'pytorchvide'.*did you mean pytorchvideo"):
        check_plain("pytorchvide")
    with pytest.raises(UserError, match=r"unknown variant 'fast'; allowed after \+: half, float, crop-first"):
        check_plain("pytorchvideo+fast")


@pytest.mark.skipif(importlib.util.find_spec("torchcodec") is not None, reason="torchcodec is installed")
def test_a_decoder_that_is_not_there():
    with pytest.raises(UserError, match=r"--against torchcodec cannot be imported .*; install it, or leave it out"):
        check_plain("torchcodec")
