"""Intervals and tests of a table's rows, from the predictions of runs that are made up here."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from PIL import Image

from transm3e.data.annotations import EVAL_SPLITS, MUSCLES, SPLITS, Clip, write_clip_table
from transm3e.errors import UserError
from transm3e.metrics import mean_average_precision
from transm3e.metrics.bootstrap import (
    bootstrap_map,
    centred,
    draw_counts,
    draw_swaps,
    holm,
    p_value,
    percentile_interval,
    swapped_differences,
)
from transm3e.report.scores import write_predictions
from transm3e.report.table import COLUMNS
from transm3e.tables.command import write_tables
from transm3e.tables.figure import table_figure
from transm3e.tables.scores import table_scores
from transm3e.tables.statistics.draws import BOOTSTRAP, PERMUTATION
from transm3e.tables.statistics.uncertainty import Comparison, check_comparison, table_uncertainty

SEEDS, CLIPS, ACTIVITIES = (0, 1), 40, 5
QUICK = Comparison(resamples=200, by_clip=True)
SIGNAL = {"student": 1.2, "other": 0.3}


def name_of(split, number):
    # Not in the order of the clip table's rows.
    return f"{split}_{(7 * number) % CLIPS:03d}.mp4"


def labels_of(split):
    return (np.random.default_rng(SPLITS.index(split)).random((CLIPS, len(MUSCLES))) < 0.2).astype(np.uint8)


def scores_of(row, seed, split):
    noise = np.random.default_rng([SPLITS.index(split), seed, len(row)]).normal(size=(CLIPS, len(MUSCLES)))
    return (SIGNAL[row] * labels_of(split) + noise).astype(np.float32)


@pytest.fixture
def plan(make, tmp_path):
    """A plan of two seeds; rows "student" and "other" are run, "flow" is not."""
    clips = [
        Clip(name_of(split, n), split, f"activity {n % ACTIVITIES}", tuple(labels_of(split)[n].nonzero()[0]))
        for split in EVAL_SPLITS
        for n in range(CLIPS)
    ]
    write_clip_table(tmp_path / "clips.csv", clips)
    plan = make(SEEDS)
    for planned in plan.tables[0].rows:
        if planned.row.label in SIGNAL:
            pretend(plan.jobs[planned.key].run, planned.row.label, planned.seed)
    return plan


def pretend(run, row, seed):
    """Leave behind what an evaluated run does."""
    run.final_checkpoint.parent.mkdir(parents=True)
    run.final_checkpoint.write_text("")
    (run.folder / "predictions").mkdir()
    splits = {}
    for split in EVAL_SPLITS:
        scores, labels = scores_of(row, seed, split), labels_of(split)
        names = [name_of(split, n) for n in range(CLIPS)]
        write_predictions(run.folder / "predictions" / f"{split}.npz", scores, labels, names, split, MUSCLES)
        splits[split] = {"mAP": mean_average_precision(scores, labels)}
    (run.folder / "results.json").write_text(json.dumps({"run": {"eval_id": run.eval_id}, "splits": splits}))


def sorted_by_name(split):
    return np.argsort([name_of(split, n) for n in range(CLIPS)])


def by_hand(row, split, groups=None):
    """(R,) bootstrapped scores of a row, mean over the seeds, in percent."""
    order = sorted_by_name(split)
    counts = draw_counts(CLIPS, QUICK.resamples, (BOOTSTRAP, SPLITS.index(split)), groups)
    labels = labels_of(split)[order]
    samples = []
    for seed in SEEDS:
        scores = scores_of(row, seed, split)[order]
        samples.append(100 * centred(bootstrap_map(scores, labels, counts), mean_average_precision(scores, labels)))
    return np.mean(samples, axis=0)


def permuted_by_hand(split):
    order = sorted_by_name(split)
    swaps = draw_swaps(CLIPS, QUICK.resamples, (PERMUTATION, SPLITS.index(split)))
    pairs = [[scores_of(row, seed, split)[order] for row in ("student", "other")] for seed in SEEDS]
    return 100 * np.mean([swapped_differences(*pair, labels_of(split)[order], swaps) for pair in pairs], axis=0)


def score(row, splits, seeds=SEEDS):
    return 100 * fmean(
        mean_average_precision(scores_of(row, seed, split), labels_of(split)) for seed in seeds for split in splits
    )


@pytest.mark.parametrize(("column", "splits"), [("new_test", ["new_test"]), ("mean_val", ["known_val", "new_val"])])
def test_a_column_holds_the_interval_of_its_splits_and_the_paired_test(plan, column, splits):
    found = table_uncertainty(plan.tables[0], plan, Comparison("other", QUICK.resamples, by_clip=True))
    at = COLUMNS.index(column)
    student, other, flow = found.rows
    ours, theirs = (np.mean([by_hand(row, split) for split in splits], axis=0) for row in ("student", "other"))
    assert student.intervals[at] == pytest.approx(percentile_interval(ours))
    assert other.intervals[at] == pytest.approx(percentile_interval(theirs))
    difference = student.differences[at]
    assert difference.value == pytest.approx(score("student", splits) - score("other", splits))
    assert (difference.low, difference.high) == pytest.approx(percentile_interval(ours - theirs))
    permuted = np.mean([permuted_by_hand(split) for split in splits], axis=0)
    assert difference.p == p_value(difference.value, permuted)
    # One row has a difference in this column, so there is nothing to correct for.
    assert difference.adjusted == holm([difference.p])[0] < 0.05
    of_seeds = [score("student", splits, [seed]) - score("other", splits, [seed]) for seed in SEEDS]
    assert difference.spread == pytest.approx(np.std(of_seeds, ddof=1))
    assert difference.agree
    assert other.differences == (None,) * len(COLUMNS)
    assert flow.intervals == flow.differences == (None,) * len(COLUMNS)


def test_means_of_many_draws_move_with_other_clips_as_the_one_draw_does(plan):
    at = COLUMNS.index("new_test")
    before = table_uncertainty(plan.tables[0], plan, replace(QUICK, against="other")).rows[0]
    for planned in (row for row in plan.tables[0].rows if row.row.label == "student"):
        file = plan.jobs[planned.key].run.folder / "results.json"
        results = json.loads(file.read_text())
        split = results["splits"]["new_test"]
        draws = {"number": 200, "std": 0.02, "low": 0.2, "high": 0.3, "predictions": split["mAP"]}
        results["splits"]["new_test"] = {"mAP": split["mAP"] - 0.05, "draws": draws}
        file.write_text(json.dumps(results))
    found = table_uncertainty(plan.tables[0], plan, replace(QUICK, against="other"))
    after = found.rows[0]
    assert after.intervals[at] == pytest.approx(np.array(before.intervals[at]) - 5)
    assert after.differences[at].value == pytest.approx(before.differences[at].value - 5)
    assert after.intervals[0] == before.intervals[0]
    assert [note for note in found.notes if note.startswith("student: means of many draws")]
    row = table_scores(plan.tables[0], plan, {})[0]
    assert (row.scores[at].spread, row.state) == (pytest.approx(2.0), "2 of 2 runs, ± over 200 draws")


def test_whole_activities_are_drawn(plan):
    found = table_uncertainty(plan.tables[0], plan, Comparison(None, QUICK.resamples))
    groups = np.array([f"activity {n % ACTIVITIES}" for n in range(CLIPS)])[sorted_by_name("known_val")]
    expected = percentile_interval(by_hand("student", "known_val", groups))
    assert found.rows[0].intervals[0] == pytest.approx(expected)
    assert expected != pytest.approx(percentile_interval(by_hand("student", "known_val")))
    assert "too few activities for a p below 0.05: known_val has 5, new_val has 5" in found.notes[-1]


def test_more_rows_than_permutations_can_tell_apart_is_reported(plan):
    rows = plan.tables[0].rows
    many = [replace(rows[0], row=replace(rows[0].row, label=f"row {number}")) for number in range(7)]
    table = replace(plan.tables[0], rows=tuple(many))
    assert "6 rows are compared by 100 permutations" in table_uncertainty(table, plan, Comparison(None, 100)).notes[0]
    assert "6 rows" not in "".join(table_uncertainty(table, plan, Comparison(None, 120)).notes)


def test_what_cannot_be_computed_is_said_and_costs_nothing_else(plan):
    student = [plan.jobs[row.key].run for row in plan.tables[0].rows if row.row.label == "student"]
    (student[0].folder / "predictions" / "known_val.npz").unlink()
    file = student[1].folder / "predictions" / "new_val.npz"
    names = [f"another_{n}" for n in range(CLIPS)]
    write_predictions(file, scores_of("student", 1, "new_val"), labels_of("new_val"), names, "new_val", MUSCLES)
    found = table_uncertainty(plan.tables[0], plan, Comparison("other", QUICK.resamples, by_clip=True))
    intervals, differences = found.rows[0].intervals, found.rows[0].differences
    assert [i is None for i in intervals] == [column in ("known_val", "mean_val") for column in COLUMNS]
    assert [d is None for d in differences] == [column in ("known_val", "new_val", "mean_val") for column in COLUMNS]
    assert any(str(student[0].folder / "predictions" / "known_val.npz") in note for note in found.notes)
    assert all(note.startswith("student: ") and "(and 1 more)" in note for note in found.notes)


def test_predictions_of_another_evaluation_are_refused(plan):
    run = plan.jobs[plan.tables[0].rows[0].key].run
    names = [name_of("new_test", n) for n in range(CLIPS)]
    file = run.folder / "predictions" / "new_test.npz"
    write_predictions(file, scores_of("other", 0, "new_test"), labels_of("new_test"), names, "new_test", MUSCLES)
    found = table_uncertainty(plan.tables[0], plan, QUICK)
    assert found.rows[0].intervals[COLUMNS.index("new_test")] is None
    assert "new_test.npz is not what results.json was made from" in found.notes[0]


def test_a_row_that_is_not_run_is_nothing_to_compare_with(plan):
    found = table_uncertainty(plan.tables[0], plan, QUICK)
    assert found.against == "flow"
    assert "flow is not run, so there is nothing to compare with" in found.notes
    assert all(row.differences == (None,) * len(COLUMNS) for row in found.rows)


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        (Comparison(resamples=99), "--resamples 99 is too few for an interval; allowed: 100 or more, or 0"),
        (Comparison("teacher"), "--against 'teacher': no row's label begins with it; there are: student, other, flow"),
        (Comparison(""), r"--against '' matches several rows \(student, other, flow\)"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_before_anything_is_run(make, comparison, message):
    with pytest.raises(UserError, match=message):
        check_comparison(comparison, make().tables)


def test_files_and_figure_hold_scores_intervals_and_tests(plan, tmp_path):
    shown = write_tables(plan, {}, tmp_path / "out", Comparison("other", QUICK.resamples, by_clip=True))
    file = tmp_path / "out" / "trial-MuscleSynth-full"
    assert shown.startswith((tmp_path / "out" / "trial-MuscleSynth-full.md").read_text())
    assert "### Differences to other" in shown
    difference = (
        table_uncertainty(plan.tables[0], plan, Comparison("other", QUICK.resamples, by_clip=True))
        .rows[0]
        .differences[0]
    )
    assert (
        f"**{difference.value:+.1f}** ± {difference.spread:.1f} [{difference.low:+.1f}, {difference.high:+.1f}] p 0."
        in shown
    )
    lines = list(csv.DictReader(file.with_suffix(".csv").open(encoding="utf-8")))
    assert [line["against"] for line in lines] == ["other", "", ""]
    assert float(lines[0]["known_val_diff"]) == pytest.approx(difference.value, abs=0.005)
    assert lines[2]["known_val_low"] == ""
    latex = file.with_suffix(".tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert rf"\textbf{{{difference.value:+.1f}}}" in latex
    with Image.open(file.with_suffix(".png")) as image:
        assert np.asarray(image.convert("L")).std() > 10
    # Without resamples there are only scores.
    plain = write_tables(plan, {}, tmp_path / "plain", Comparison(resamples=0))
    assert "###" not in plain
    assert "_low" not in (tmp_path / "plain" / "trial-MuscleSynth-full.csv").read_text()


def test_a_table_without_scores_has_no_figure(make, tmp_path):
    plan = make()
    rows = table_scores(plan.tables[0], plan, {})
    assert not table_figure(rows, None, tmp_path / "x.png", "T")
    assert not (tmp_path / "x.png").exists()
