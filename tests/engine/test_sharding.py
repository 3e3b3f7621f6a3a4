"""FSDP2 in two processes on gloo: the same training as DDP, the same checkpoints, and an evaluation that meets nobody."""

from __future__ import annotations

import importlib
import logging

import pytest
import torch
from torch import nn

from tests.engine import sharding_jobs as jobs
from transm3e.config import get_cfg
from transm3e.engine import launch as launching
from transm3e.engine.distributed import select_device
from transm3e.engine.launch import launch
from transm3e.engine.sharding import shard, shard_state, whole_state
from transm3e.errors import UserError
from transm3e.models.weights import read_checkpoint

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of all that the two processes have done."""
    folder = tmp_path_factory.mktemp("sharding")
    cfg = get_cfg()
    cfg.NUM_GPUS = 2
    launch(jobs.trainings, cfg, "", str(folder))
    return folder


@pytest.fixture(scope="module")
def parts(done):
    return [torch.load(done / f"parts_{number}.pt", weights_only=True) for number in (0, 1)]


def last(folder):
    return read_checkpoint(folder / "checkpoints" / "checkpoint_epoch_00002.pyth")


def assert_close(ours, theirs, where=""):
    """The same structure, order and shapes, and numbers that differ by rounding."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert type(ours) is torch.Tensor
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=lambda text: f"{where}: {text}")
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        for key, value in ours.items():
            assert_close(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_close(one, other, f"{where}.{number}")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-5), where
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("name", ["", "recomputed"])
def test_a_run_in_shards_is_the_run_in_ddp(done, name):
    """Loss and validation curve, weights, optimiser: with accumulated, clipped gradients, uneven evaluation, drop path."""
    ddp, fsdp = last(done / f"ddp{name}"), last(done / f"fsdp{name}")
    history = fsdp["progress"]["history"]
    assert [set(entry) for entry in history] == [{"epoch", "loss", "failed_clips", "known_val"}] * 2
    assert history[0]["loss"] != history[1]["loss"]
    assert_close(fsdp, ddp)


@pytest.mark.parametrize("name", ["fsdp_ddp", "ddp_fsdp"])
def test_a_run_goes_on_without_shards_and_the_other_way_round(done, name):
    assert_close(last(done / name), last(done / "ddp"))
