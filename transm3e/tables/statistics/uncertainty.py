"""How far a table's figures would move with other clips: an interval of each, and a paired test between rows.

Clips are drawn anew within each split. Training seeds are not: a row is the mean of the runs that there are. What such
tests say, and what they do not: Berg-Kirkpatrick et al., An Empirical Investigation of Statistical Significance in NLP,
2012.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from statistics import fmean, stdev

import numpy as np

from transm3e.data.annotations import EVAL_SPLITS
from transm3e.metrics.bootstrap import percentile_interval
from transm3e.metrics.permutation import holm, p_value
from transm3e.report.table import COLUMNS
from transm3e.runs.plan import Run
from transm3e.runs.results import MEANS, mAP_of_predictions
from transm3e.tables.figures import evaluated_splits, row_groups
from transm3e.tables.jobs import Plan, PlannedRow, PlannedTable
from transm3e.tables.statistics.clip_scores import ClipScores, read_clip_scores
from transm3e.tables.statistics.comparison import Comparison
from transm3e.tables.statistics.resample import Draws, each

ALPHA = 0.05
# Seed and split -> (R,) figures.
Samples = Mapping[tuple[int, str], np.ndarray]


@dataclass(frozen=True)
class Difference:
    """A row minus the row that it is compared with, in percentage points.

    Attributes:
        value: mean over the seeds that both have.
        spread: standard deviation of the seeds' differences (n - 1); None for one seed.
        agree: whether it has the same sign with every seed.
        low, high: 95% interval.
        p: two-sided, of the paired permutation test.
        adjusted: p by Holm over the rows of the table in this column.
    """

    value: float
    spread: float | None
    agree: bool
    low: float
    high: float
    p: float
    adjusted: float


@dataclass(frozen=True)
class RowUncertainty:
    """Of one row, per column of COLUMNS; None where there is none.

    Attributes:
        label: of the row.
        intervals: low and high of the 95% interval, in percent.
        differences: to the row that rows are compared with.
    """

    label: str
    intervals: tuple[tuple[float, float] | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Uncertainty:
    """Of a table.

    Attributes:
        against: label of the row that the others are compared with; "" in a table of one row.
        rows: all of them, in the table's order.
        notes: what was left out or cannot be found, and why.
        comparison: how clips were drawn.
    """

    against: str
    rows: tuple[RowUncertainty, ...]
    notes: tuple[str, ...]
    comparison: Comparison


@dataclass
class _Row:
    """A row's evaluated runs, and what was computed of them.

    Attributes:
        runs: seed -> run.
        figures: seed -> split -> mAP in [0, 1].
        of_predictions: the same of the scores that are kept, one draw where the figure is the mean of many.
        scores: seed and split -> per clip.
        samples: of the bootstrap, in percent.
        permuted: differences to the row that it is compared with.
        problems: why something is missing.
    """

    label: str
    runs: dict[int, Run]
    figures: dict[int, dict[str, float]]
    of_predictions: dict[int, dict[str, float]]
    scores: dict[tuple[int, str], ClipScores] = field(default_factory=dict)
    samples: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    permuted: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def seeds(self, column: str) -> list[int]:
        """Those with a figure in the column."""
        return [seed for seed, figures in self.figures.items() if all(part in figures for part in _parts(column))]

    def mean(self, seeds: Sequence[int], column: str) -> float:
        """Its figure in the column over these seeds, in percent."""
        return 100 * fmean(self.figures[seed][part] for seed in seeds for part in _parts(column))


def table_uncertainty(table: PlannedTable, plan: Plan, comparison: Comparison) -> Uncertainty:
    """Intervals and differences of the rows that are run, from the predictions of their runs.

    Args:
        comparison: with resamples; a table without the row that it names compares with its last one.

    Raises:
        UserError: a results.json is damaged, or several rows fit the comparison.
    """
    rows = {label: _row(label, seeds, plan) for label, seeds in row_groups(table).items()}
    chosen = comparison.row(list(rows)) or list(rows)[-1]
    draws = Draws(comparison.resamples, comparison.by_clip)
    _bootstrap(list(rows.values()), draws)
    _permute([row for row in rows.values() if row.label != chosen], rows[chosen], draws)
    return Uncertainty(
        against=chosen if len(rows) > 1 else "",
        rows=_with_holm([_of_row(row, rows[chosen]) for row in rows.values()]),
        notes=(*_notes(rows, chosen), *_limits(rows, comparison)),
        comparison=comparison,
    )


def _row(label: str, seeds: Sequence[PlannedRow], plan: Plan) -> _Row:
    runs = {planned.seed: plan.jobs[planned.key].run for planned in seeds if planned.key}
    splits = {seed: found for seed, run in runs.items() if (found := evaluated_splits(run)) is not None}
    scored = {
        seed: {s: found[s] for s in EVAL_SPLITS if s in found and found[s].get("mAP") is not None}
        for seed, found in splits.items()
    }
    figures, of_predictions = (
        {seed: {s: value(split) for s, split in found.items()} for seed, found in scored.items()}
        for value in (itemgetter("mAP"), mAP_of_predictions)
    )
    return _Row(label, runs, figures, of_predictions)


def _bootstrap(rows: Sequence[_Row], draws: Draws) -> None:
    """Read scores and resample them."""

    def job(row: _Row, seed: int, split: str) -> tuple[ClipScores, np.ndarray]:
        kept = row.of_predictions[seed][split]
        scores = read_clip_scores(row.runs[seed], split, kept, with_activities=not draws.by_clip)
        return scores, draws.bootstrap(scores) + 100 * (row.figures[seed][split] - kept)

    jobs = {
        (number, seed, split): partial(job, row, seed, split)
        for number, row in enumerate(rows)
        for seed, figures in row.figures.items()
        for split in figures
    }
    found, errors = each(jobs, "intervals")
    for (number, seed, split), (scores, samples) in found.items():
        rows[number].scores[seed, split], rows[number].samples[seed, split] = scores, samples
    for (number, _, _), error in errors.items():
        rows[number].problems.append(error)


def _permute(rows: Sequence[_Row], reference: _Row, draws: Draws) -> None:
    jobs = {
        (number, *key): partial(draws.permutation, row.scores[key], reference.scores[key])
        for number, row in enumerate(rows)
        for key in row.scores
        if key in reference.scores
    }
    found, errors = each(jobs, "paired tests")
    for (number, seed, split), permuted in found.items():
        rows[number].permuted[seed, split] = permuted
    for (number, _, _), error in errors.items():
        rows[number].problems.append(error)


def _of_row(row: _Row, reference: _Row) -> RowUncertainty:
    intervals = []
    for column in COLUMNS:
        samples = _in_column(row.samples, row.seeds(column), column)
        low, high = (0.0, 0.0) if samples is None else percentile_interval(samples)
        intervals.append(None if samples is None else (max(0.0, low), min(100.0, high)))
    differences = [None if row is reference else _difference(row, reference, column) for column in COLUMNS]
    return RowUncertainty(row.label, tuple(intervals), tuple(differences))


def _difference(row: _Row, reference: _Row, column: str) -> Difference | None:
    seeds = [seed for seed in row.seeds(column) if seed in reference.seeds(column)]
    ours, theirs, permuted = (
        _in_column(samples, seeds, column) for samples in (row.samples, reference.samples, row.permuted)
    )
    if ours is None or theirs is None or permuted is None:
        return None
    of_seeds = [row.mean([seed], column) - reference.mean([seed], column) for seed in seeds]
    value, p = fmean(of_seeds), p_value(fmean(of_seeds), permuted)
    return Difference(
        value=value,
        spread=stdev(of_seeds) if len(of_seeds) > 1 else None,
        agree=all(one * value > 0 for one in of_seeds),
        low=percentile_interval(ours - theirs)[0],
        high=percentile_interval(ours - theirs)[1],
        p=p,
        adjusted=p,
    )


def _in_column(samples: Samples, seeds: Sequence[int], column: str) -> np.ndarray | None:
    """(R,) mean over seeds and the splits of the column; None where one is missing."""
    keys = [(seed, split) for seed in seeds for split in _parts(column)]
    return np.mean([samples[key] for key in keys], axis=0) if keys and all(key in samples for key in keys) else None


def _parts(column: str) -> tuple[str, ...]:
    return MEANS.get(column, (column,))


def _with_holm(rows: Sequence[RowUncertainty]) -> tuple[RowUncertainty, ...]:
    columns = []
    for differences in zip(*(row.differences for row in rows), strict=True):
        adjusted = iter(holm([difference.p for difference in differences if difference]))
        columns.append([d and replace(d, adjusted=next(adjusted)) for d in differences])
    return tuple(replace(row, differences=of_row) for row, of_row in zip(rows, zip(*columns, strict=True), strict=True))


def _limits(rows: Mapping[str, _Row], comparison: Comparison) -> list[str]:
    """Where no test could find anything."""
    limits = []
    tested = len(rows) - 1
    if tested and tested / (comparison.resamples + 1) >= ALPHA:
        limits.append(
            f"{tested} rows are compared by {comparison.resamples} permutations, so no p corrected for all of them falls "
            f"below {ALPHA}; raise --resamples"
        )
    groups = {
        split: len(set(scores.activities.tolist()))
        for row in rows.values()
        for (_, split), scores in row.scores.items()
        if scores.activities is not None
    }
    # Swapped or not, with both signs: 2 of 2^G ways are as far out as what was observed.
    few = [f"{split} has {number}" for split, number in groups.items() if 2 / 2**number > ALPHA]
    if tested and few:
        limits.append(f"too few activities for a p below {ALPHA}: {', '.join(few)}")
    return limits


def _notes(rows: Mapping[str, _Row], chosen: str) -> list[str]:
    """One line per row, the first reason in full."""
    notes = []
    for row in rows.values():
        if row.problems:
            more = f" (and {len(row.problems) - 1} more)" if len(row.problems) > 1 else ""
            notes.append(f"{row.label}: {row.problems[0]}{more}")
        elif rows[chosen].figures and row.figures and not set(row.figures) & set(rows[chosen].figures):
            notes.append(f"{row.label}: no seed in common with {chosen}, so no difference")
        if row.figures != row.of_predictions:
            notes.append(f"{row.label}: means of many draws; intervals and p are of the one draw that is kept")
    if len(rows) > 1 and not rows[chosen].figures:
        notes.append(f"{chosen} is not run, so there is nothing to compare with")
    return notes
