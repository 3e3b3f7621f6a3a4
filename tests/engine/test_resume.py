"""Positions in an epoch that other numbers of processes understand."""

import logging

import numpy as np
import pytest

from transm3e.data.loader import EpochItems
from transm3e.engine.resume import Progress, merged


def test_what_one_process_saves_it_reads_back():
    progress = Progress(2, 3, 1.25, 0.5, 1, [{"epoch": 1, "loss": 0.5}], {"a.mp4": "truncated"})
    saved = progress.shared(step_size=8)
    assert (saved["samples"], saved["loss_sums"]) == (24, [1.25])
    assert Progress.from_shared(saved, 8) == progress


@pytest.mark.parametrize(("now", "step"), [(4, 6), (8, 3), (12, 2), (24, 1)])
def test_the_position_counts_in_videos_where_steps_have_another_size(now, step):
    saved = {**Progress(step=3).shared(8), "loss_sums": [1.5, 1.8]}
    progress = Progress.from_shared(saved, now)
    assert progress.step == step
    # The mean loss so far, of all processes.
    assert progress.loss_sum / step == pytest.approx(0.55)


def test_videos_that_fill_no_step_are_seen_again_and_the_log_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        assert Progress.from_shared(Progress(step=3).shared(8), 16).step == 1
    assert "steps had 8 videos and now have 16: 8 videos of this epoch are seen twice" in caplog.text


def test_positions_of_earlier_checkpoints_are_steps():
    saved = {"epoch": 1, "step": 5, "loss_sum": 2.5, "best": -1.0, "best_epoch": 0, "history": [], "failed": {}}
    assert Progress.from_shared(saved, 8) == Progress(epoch=1, step=5, loss_sum=2.5)


def test_failed_clips_of_all_processes_are_in_one_order():
    assert list(merged([{"b": "1", "c": "2"}, {"a": "3"}])) == ["a", "b", "c"]


@pytest.mark.parametrize("world", [2, 4])
def test_an_epochs_global_batches_do_not_depend_on_the_number_of_processes(world):
    def batches(processes):
        shares = [EpochItems(50, 8 // processes, True, 3, rank, processes).of(5) for rank in range(processes)]
        size = 8 // processes
        steps = range(len(shares[0]) // size)
        return [sorted(np.concatenate([share[i * size : (i + 1) * size] for share in shares])) for i in steps]

    assert batches(world) == batches(1)
    assert len(batches(1)) == 6
