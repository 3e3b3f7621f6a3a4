"""A training step alone, in DDP and in shards, in one and in two processes."""

from __future__ import annotations

import pytest

from transm3e.benchmark.candidate import Entry
from transm3e.benchmark.processes import (
    STRATEGIES,
    ProcessSettings,
    StrategyTimes,
    measure_processes,
    processes_markdown,
)
from transm3e.errors import UserError

TINY = (
    *("DATA.NUM_FRAMES", 4, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "MVIT.EMBED_DIM", 8),
    *("INIT.OPTS", ["DATA.NUM_FRAMES", 4, "DATA.TRAIN_CROP_SIZE", 32, "DATA.TEST_CROP_SIZE", 32, "MVIT.EMBED_DIM", 8]),
)


@pytest.fixture
def entry(repo):
    config = str(repo / "configs" / "MuscleSynth" / "transm3e.yaml")
    return Entry("transm3e", config, config, TINY)


def settings(world_sizes=(1, 2), batch_size=2):
    return ProcessSettings("cpu", "float32", world_sizes, batch_size, repeats=3, warmup=1, threads=1)


def test_every_strategy_is_timed_in_every_number_of_processes(entry, tmp_path):
    shown = measure_processes(entry, settings(), tmp_path / "out")
    assert (tmp_path / "out" / "processes.md").read_text() == shown
    rows = [line.split("|")[1:-1] for line in shown.splitlines() if line.startswith("|")][2:]
    assert [(row[0].strip(), row[1].strip()) for row in rows] == [(size, way) for size in "12" for way in STRATEGIES]
    assert all(float(row[3]) > 0 for row in rows)
    assert [bool(row[4].strip()) for row in rows] == [False, True, True] * 2


def test_the_ratio_is_the_median_of_the_rounds():
    found = [
        StrategyTimes(2, "alone", (1.0, 2.0, 4.0)),
        StrategyTimes(2, "DDP", (2.0, 3.0, 5.0)),
        StrategyTimes(2, "FSDP", (1.0, 1.0, 4.0)),
    ]
    lines = processes_markdown(found, settings()).splitlines()
    assert [line.split("|")[5].strip() for line in lines if "| DDP |" in line or "| FSDP |" in line] == [
        "1.500",
        "1.000",
    ]
    # Two processes with two clips each in the median of 3 s.
    assert "| 2 | DDP | 3000.0 ms | 1.33 |" in "\n".join(lines)


def test_a_batch_that_cannot_be_trained_with_is_refused(entry, tmp_path):
    with pytest.raises(UserError, match=r"--batch-size 3: a training step of transm3e takes 2 clips of each video"):
        measure_processes(entry, settings(batch_size=3), tmp_path)
