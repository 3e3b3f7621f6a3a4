"""Logs: json_stats lines as PySlowFast writes them, the log file, TensorBoard."""

import json
import logging
import re
import resource

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from transm3e.engine.logging import Recorder, log_to, memory_stats
from transm3e.errors import UserError

logger = logging.getLogger("transm3e.test")
LINE = re.compile(r"\[\d\d/\d\d \d\d:\d\d:\d\d\]\[(INFO|WARNING)\] (\w+\.py): +\d+: (.*)")


def lines(folder):
    return (folder / "stdout.log").read_text(encoding="utf-8").splitlines()


def test_statistics_are_sorted_json_with_five_decimals(tmp_path):
    with log_to(tmp_path):
        Recorder(tmp_path, backends=()).record(
            {"loss": 0.123456789, "_type": "train_iter_", "iter": "20/400", "bad": float("nan"), "n": 3}, step=1
        )
    [line] = lines(tmp_path)
    level, file, text = LINE.fullmatch(line).groups()
    assert (level, file) == ("INFO", "test_logging.py")
    assert text == 'json_stats: {"_type": "train_iter_", "bad": null, "iter": "20/400", "loss": 0.12346, "n": 3}'
    assert json.loads(text.removeprefix("json_stats: "))["loss"] == 0.12346


def test_a_second_session_appends_and_nothing_is_logged_between(tmp_path):
    with log_to(tmp_path / "run"):
        logger.info("one ä")
    logger.info("between")
    with log_to(tmp_path / "run"):
        logger.warning("two")
    assert [LINE.fullmatch(line)[3] for line in lines(tmp_path / "run")] == ["one ä", "two"]


def test_the_console_shows_the_same(tmp_path, capsys):
    with log_to(tmp_path):
        logger.info("hello")
    assert capsys.readouterr().err.splitlines() == lines(tmp_path)


def test_other_processes_show_warnings_and_write_no_file(tmp_path, capsys):
    with log_to(tmp_path / "run", main=False):
        logger.info("hidden")
        logger.warning("shown")
        Recorder(tmp_path / "run", backends=("tensorboard",), main=False).record({"_type": "x", "loss": 1.0}, 1)
    assert "shown" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_logger_is_as_before_afterwards(tmp_path):
    root = logging.getLogger("transm3e")
    before = (root.level, root.propagate, list(root.handlers))
    with pytest.raises(ZeroDivisionError), log_to(tmp_path):
        raise ZeroDivisionError
    assert (root.level, root.propagate, list(root.handlers)) == before


def test_a_folder_that_cannot_be_made_is_a_users_error(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="choose another OUTPUT_DIR"), log_to(folder):
            pass
    assert logging.getLogger("transm3e").handlers == []


def test_tensorboard_gets_the_numbers(tmp_path):
    recorder = Recorder(tmp_path, backends=("tensorboard",))
    recorder.record({"_type": "train_epoch", "loss": 0.5, "epoch": "1/2"}, step=1)
    recorder.record({"_type": "train_epoch", "loss": 0.25, "epoch": "2/2"}, step=2)
    recorder.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["TrainEpoch/loss"]
    assert [(event.step, event.value) for event in events.Scalars("TrainEpoch/loss")] == [(1, 0.5), (2, 0.25)]


def test_memory_is_in_gib():
    stats = memory_stats(torch.device("cpu"))
    assert list(stats) == ["RAM"]
    assert 0.01 < float(stats["RAM"].removesuffix("G")) < 1000


def test_a_full_disk_costs_lines_of_the_log_not_the_run(tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with log_to(tmp_path):
        logging.getLogger("transm3e.x").info("before")
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "stdout.log").stat().st_size, hard))
        try:
            for _ in range(3):
                logging.getLogger("transm3e.x").info("after")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert said.count("is incomplete from here on") == 1
    assert "Traceback" not in said
    assert "before" in (tmp_path / "stdout.log").read_text()
