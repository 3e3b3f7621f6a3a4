"""Results of runs that predict activities: scores, what has none, the figure, the tables."""

from __future__ import annotations

import numpy as np
import pytest

from transm3e.errors import UserError
from transm3e.report.activity_figure import MOST, activity_bars, activity_result
from transm3e.report.table import results_table
from transm3e.runs.results import read_results, summarise, write_results

NAMES = ("curl", "plank", "squat")
SCORES = [[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.4, 0.35, 0.25], [0.9, 0.05, 0.05]]
LABELS = [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_clips_of_an_unknown_activity_are_counted_and_left_out():
    result = activity_result(SCORES, LABELS, NAMES, [("x.mp4", "truncated")])
    assert (result["top1"], result["top5"]) == (pytest.approx(2 / 3), 1.0)
    assert (result["num_clips"], result["unknown_activity"]) == (4, 1)
    assert result["per_activity"] == {"curl": 1.0, "plank": 0.5, "squat": None}
    assert result["failed_clips"] == [{"path": "x.mp4", "reason": "truncated"}]
    assert "reason" not in result


def test_what_cannot_be_scored_says_why():
    unknown = activity_result(SCORES[3:], LABELS[3:], NAMES)
    assert (unknown["top1"], unknown["reason"]) == (None, "none of the 1 clips shows an activity of train")
    failed = activity_result([], [], NAMES, [("x.mp4", "truncated")])
    assert (failed["top1"], failed["reason"]) == (None, "all 1 clips failed")
    with pytest.raises(ValueError, match="scores have shape"):
        activity_result([[0.5, 0.5]], [[1, 0]], NAMES)


def results(**splits):
    return {"run": {"target": "activity", "model": "MViT", "dataset": "K"}, **summarise(splits, "top1")}


def test_results_are_written_read_and_shown(tmp_path):
    known, unknown = activity_result(SCORES, LABELS, NAMES), activity_result(SCORES[3:], LABELS[3:], NAMES)
    write_results(tmp_path / "results.json", results(known_val=known, new_val=unknown))
    read = read_results(tmp_path / "results.json")
    assert read["mean_val"] is None
    shown = [results_table([("m", read)], metric=metric).splitlines()[-1].split() for metric in ("top1", "top5")]
    assert shown == [["m", "66.7", "-", "-", "-", "-", "-"], ["m", "100.0", "-", "-", "-", "-", "-"]]


def test_the_figure_shows_the_worst_of_many_activities(tmp_path, monkeypatch):
    names = [f"a{i}" for i in range(MOST + 5)]
    labels = np.repeat(np.eye(len(names)), 2, axis=0)
    scores = labels.copy()
    scores[0] = np.roll(scores[0], 3)
    drawn = {}
    monkeypatch.setattr("transm3e.report.activity_figure.save", lambda figure, path: drawn.update({path: figure}))
    activity_bars(results(known_val=activity_result(scores, labels, names)), tmp_path / "a.png")
    [axes] = drawn[tmp_path / "a.png"].axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == MOST
    assert shown[-1] == "a0"
    assert axes.get_title(loc="left") == f"known_val: 98.9 on 90 clips\nthe {MOST} worst of {len(names)} activities"
    with pytest.raises(UserError, match="no split of the results has a score"):
        activity_bars(results(new_val=activity_result(SCORES[3:], LABELS[3:], NAMES)), tmp_path / "b.png")
