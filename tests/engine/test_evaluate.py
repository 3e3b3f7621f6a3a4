"""Scores of a split: views averaged, each clip once, failed clips in none, whatever the batches."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transm3e.config import get_cfg
from transm3e.data.annotations import MUSCLES
from transm3e.data.types import Batch, FailedClip
from transm3e.engine import evaluate
from transm3e.engine.evaluate import Evaluator, join_views, predict
from transm3e.engine.precision import Precision
from transm3e.engine.processes.signals import stop_request
from transm3e.errors import ExitRequest

CPU = torch.device("cpu")


def batch(rows, scores, failed=()):
    """A batch whose clips carry the scores that FakeTask reads off them."""
    rows = torch.tensor(rows, dtype=torch.int64)
    labels = torch.nn.functional.one_hot(rows % 20, 20).float()
    clips = {"rgb": torch.tensor(np.asarray(scores, np.float32).reshape(len(rows), len(scores[0]) if scores else 1))}
    return Batch(clips, labels, rows, torch.zeros_like(rows), [f"{row}.mp4" for row in rows.tolist()], list(failed))


FakeTask = SimpleNamespace(
    score=lambda batch: (batch.clips["rgb"], None), conclude=lambda scores: scores, target="muscles", columns=MUSCLES
)


def run(*batches):
    return predict(FakeTask, batches, CPU, "known_val", len(batches), "sum")


def test_views_are_averaged_and_clips_come_by_row():
    result = run(batch([5, 2], [[0.2, 0.4], [1.0, 0.0]]), batch([5], [[0.6, 0.0]]))
    assert result.rows.tolist() == [2, 5]
    assert result.paths == ["2.mp4", "5.mp4"]
    np.testing.assert_allclose(result.scores, [[1.0, 0.0], [0.4, 0.2]], rtol=1e-6)
    assert result.labels.argmax(1).tolist() == [2, 5]
    assert (result.scores.dtype, result.labels.dtype, result.rows.dtype) == (np.float32, np.uint8, np.int64)
    assert result.failed == []


def test_the_highest_score_of_each_class_can_be_taken_instead():
    batches = [batch([5, 2], [[0.2, 0.4], [1.0, 0.0]]), batch([5], [[0.6, 0.0]])]
    result = predict(FakeTask, batches, CPU, "known_val", 2, "max")
    np.testing.assert_array_equal(result.scores, np.float32([[1.0, 0.0], [0.6, 0.4]]))


def test_the_task_concludes_from_whole_clips_not_from_views():
    task = SimpleNamespace(
        **{**vars(FakeTask), "conclude": lambda scores: (scores > 0.3).float(), "columns": ("a", "b")}
    )
    result = predict(task, [batch([5, 5], [[0.2, 0.9], [0.6, 0.0]])], CPU, "known_val", 1, "sum")
    np.testing.assert_array_equal(result.scores, np.float32([[1.0, 1.0]]))
    assert result.columns == ("a", "b")


def test_scores_are_computed_in_the_precision_asked_for():
    seen = []
    task = SimpleNamespace(
        **{
            **vars(FakeTask),
            "score": lambda b: seen.append((b.clips["rgb"] @ torch.ones(1, 1)).dtype) or (b.clips["rgb"], None),
        }
    )
    for precision in (None, Precision(CPU, torch.bfloat16)):
        predict(task, [batch([1], [[0.5]])], CPU, "known_val", 1, "sum", precision)
    assert seen == [torch.float32, torch.bfloat16]


def test_a_clip_of_which_one_view_failed_has_failed():
    lost = FailedClip(2, "2.mp4", "truncated")
    result = run(batch([2, 3], [[0.5], [0.25]], [lost]), batch([], [], [lost, FailedClip(9, "9.mp4", "gone")]))
    assert result.rows.tolist() == [3]
    assert result.paths == ["3.mp4"]
    assert len(result.scores) == len(result.labels) == 1
    assert [clip.row for clip in result.failed] == [2, 9]


def test_a_split_without_a_clip_that_decodes():
    lost = FailedClip(2, "2.mp4", "truncated")
    result = run(batch([], [], [lost]), batch([], [], [lost]))
    assert (len(result.rows), len(result.scores), len(result.labels), result.paths) == (0, 0, 0, [])
    assert result.failed == [lost]
    assert run().failed == []


def test_shares_of_several_processes_become_one(monkeypatch):
    alone = run(batch([0, 1, 2, 3], [[0.1], [0.2], [0.3], [0.4]]))
    other = ([np.array([3, 1])], ["3.mp4", "1.mp4"], [np.float32([[0.4], [0.2]])], [np.eye(20)[[3, 1]]], [], [])
    monkeypatch.setattr(evaluate, "gather", lambda mine: [other, mine, ([], [], [], [], [], [])])
    shared = run(batch([2, 0], [[0.3], [0.1]]))
    assert shared.rows.tolist() == alone.rows.tolist()
    assert shared.paths == alone.paths
    np.testing.assert_array_equal(shared.scores, alone.scores)
    np.testing.assert_array_equal(shared.labels, alone.labels)


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1, width=32)), min_size=1, max_size=40), st.integers(1, 7))
def test_the_mean_does_not_depend_on_order_or_batches(views, size):
    rows, scores = [row for row, _ in views], [score for _, score in views]
    cuts = range(0, len(rows), size)
    result = join_views(
        [np.array(rows[i : i + size]) for i in cuts],
        [f"{row}.mp4" for row in rows],
        [np.float32(scores[i : i + size])[:, None] for i in cuts],
        [np.eye(20)[rows[i : i + size]] for i in cuts],
        [],
    )
    assert result.rows.tolist() == sorted(set(rows))
    assert result.paths == [f"{row}.mp4" for row in result.rows]
    for row, score in zip(result.rows, result.scores[:, 0], strict=True):
        own = [s for r, s in views if r == row]
        assert score == pytest.approx(np.mean(own, dtype=np.float64), rel=1e-6, abs=1e-12)


class Loader:
    def __init__(self, row, failed=()):
        self.row, self.failed = row, failed

    def __len__(self):
        return 1

    def epoch(self, number):
        assert number == 0
        yield batch([self.row], [[0.5]], self.failed)


def test_the_evaluator_scores_every_split_again_and_again():
    evaluator = Evaluator({"known_val": Loader(1), "new_val": Loader(2)}, CPU)
    for _ in range(2):
        assert {split: p.rows.tolist() for split, p in evaluator(FakeTask).items()} == {
            "known_val": [1],
            "new_val": [2],
        }


def test_clips_that_cannot_be_read_are_named_once(caplog):
    evaluator = Evaluator({"known_val": Loader(1, [FailedClip(9, "9.mp4", "gone")])}, CPU)
    evaluator(FakeTask)
    evaluator(FakeTask)
    named = [record.getMessage() for record in caplog.records if "9.mp4" in record.getMessage()]
    assert named == ["known_val: left out of the scores: 9.mp4: gone"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, 75), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_signal_stops_between_two_batches(number, status):
    seen = []

    def batches():
        for row in range(4):
            if row == 2:
                os.kill(os.getpid(), number)
            seen.append(row)
            yield batch([row], [[0.5]])

    with stop_request(), pytest.raises(ExitRequest, match="stopped while scoring known_val") as caught:
        predict(FakeTask, batches(), CPU, "known_val", 4, "sum")
    assert caught.value.exit_status == status
    assert seen == [0, 1, 2]


def test_validation_which_is_part_of_training_does_not_depend_on_test():
    cfg = get_cfg()
    cfg.TEST.MIXED_PRECISION = "bf16"
    single = [Evaluator.from_cfg(cfg, [], CPU, single_view=single).precision.dtype for single in (True, False)]
    assert single == [torch.float32, torch.bfloat16]
