"""How far a table's scores would move with other clips: an interval of each, and a paired test between rows.

Clips are resampled within each split, training seeds are not: a row is the mean of its finished runs. On the meaning of
such tests: Berg-Kirkpatrick et al., An Empirical Investigation of Statistical Significance in NLP, 2012.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean, stdev

import numpy as np

from transm3e.data.annotations import EVAL_SPLITS
from transm3e.errors import UserError
from transm3e.metrics.bootstrap import holm, p_value, percentile_interval
from transm3e.report.table import COLUMNS
from transm3e.runs.plan import Run
from transm3e.runs.results import MEANS, mAP_of_predictions
from transm3e.tables.jobs import Plan, PlannedTable
from transm3e.tables.scores import evaluated_splits, row_groups
from transm3e.tables.statistics.draws import ClipScores, Draws, each, read_clip_scores

ALPHA = 0.05
RESAMPLES, FEWEST_RESAMPLES = 1000, 100
Part = tuple[int, str]  # seed and split


@dataclass(frozen=True)
class Comparison:
    """How intervals and tests are made.

    Attributes:
        against: label, or its beginning, of the row that the others are compared with; None = each table's last row.
        resamples: of the bootstrap, and permutations of the test; 0 = neither.
        by_clip: draw single clips instead of whole activities.
    """

    against: str | None = None
    resamples: int = RESAMPLES
    by_clip: bool = False

    def row(self, labels: Sequence[str]) -> str | None:
        """The label `against`, or else the only one that begins with it; None if none does.

        Raises:
            UserError: several labels begin with it.
        """
        if self.against is None:
            return labels[-1]
        found = [label for label in labels if label.startswith(self.against)]
        if len(found) > 1 and self.against not in labels:
            raise UserError(
                f"--against {self.against!r} matches several rows ({', '.join(found)}); name one of them in full"
            )
        return self.against if self.against in labels else next(iter(found), None)


def check_comparison(comparison: Comparison, tables: Sequence[PlannedTable]) -> None:
    """Check that a comparison can be made, before hours are spent on runs.

    Raises:
        UserError: no table has the row, several rows of a table match, or there are too few resamples.
    """
    if comparison.resamples != 0 and comparison.resamples < FEWEST_RESAMPLES:
        raise UserError(
            f"--resamples {comparison.resamples} is too few for an interval; allowed: {FEWEST_RESAMPLES} or more, or 0 "
            "for no intervals and tests"
        )
    labels = [list(row_groups(table)) for table in tables]
    chosen = [comparison.row(of_table) for of_table in labels]
    if chosen and not any(chosen):
        known = ", ".join(dict.fromkeys(label for of_table in labels for label in of_table))
        raise UserError(f"--against {comparison.against!r}: no row's label begins with it; there are: {known}")


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
    """Uncertainty of one row, per column of COLUMNS; None where it is unknown.

    Attributes:
        label: of the row.
        intervals: low and high of the 95% interval, in percent.
        differences: to the reference row.
    """

    label: str
    intervals: tuple[tuple[float, float] | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Uncertainty:
    """Uncertainty of a table.

    Attributes:
        against: label of the reference row; "" in a table of one row.
        rows: all rows, in the table's order.
        notes: what is missing or cannot be significant, and why.
        comparison: how clips were drawn.
    """

    against: str
    rows: tuple[RowUncertainty, ...]
    notes: tuple[str, ...]
    comparison: Comparison


@dataclass
class _Row:
    """A row's evaluated runs and what was computed from them; in percent, by seed and split.

    Attributes:
        runs: seed -> run.
        values: mAP.
        kept: mAP of the stored predictions: of one draw where `values` are means of many.
        scores: per clip.
        samples: (R,) of the bootstrap.
        permuted: (R,) differences to the reference row.
        problems: why something is missing.
    """

    label: str
    runs: dict[int, Run]
    values: dict[Part, float] = field(default_factory=dict)
    kept: dict[Part, float] = field(default_factory=dict)
    scores: dict[Part, ClipScores] = field(default_factory=dict)
    samples: dict[Part, np.ndarray] = field(default_factory=dict)
    permuted: dict[Part, np.ndarray] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for seed, run in self.runs.items():
            for split, found in (evaluated_splits(run) or {}).items():
                if split in EVAL_SPLITS and found.get("mAP") is not None:
                    self.values[seed, split] = 100 * found["mAP"]
                    self.kept[seed, split] = 100 * mAP_of_predictions(found)

    def keep(self, name: str, part: Part, found: np.ndarray | UserError) -> None:
        """Store a result, or the reason why there is none."""
        if isinstance(found, UserError):
            self.problems.append(str(found))
        else:
            getattr(self, name)[part] = found

    def seeds(self, column: str) -> list[int]:
        """Seeds with a value in the column."""
        return [seed for seed in self.runs if all((seed, split) in self.values for split in _splits(column))]

    def mean(self, seeds: Sequence[int], column: str) -> float:
        """Mean value in the column over these seeds."""
        return fmean(self.values[seed, split] for seed in seeds for split in _splits(column))


def table_uncertainty(table: PlannedTable, plan: Plan, comparison: Comparison) -> Uncertainty:
    """Intervals and differences of the rows that are run, from the predictions of their runs.

    Args:
        comparison: with resamples; a table without the named row uses its last row as the reference.

    Raises:
        UserError: a results.json is damaged, or several rows match `against`.
    """
    rows = [
        _Row(label, {planned.seed: plan.jobs[planned.key].run for planned in seeds if planned.key})
        for label, seeds in row_groups(table).items()
    ]
    chosen = comparison.row([row.label for row in rows])
    reference = next((row for row in rows if row.label == chosen), rows[-1])
    _draw(rows, reference, comparison)
    return Uncertainty(
        against=reference.label if len(rows) > 1 else "",
        rows=_with_holm([_of_row(row, reference) for row in rows]),
        notes=(*_notes(rows, reference), *_limits(rows, comparison)),
        comparison=comparison,
    )


def _draw(rows: Sequence[_Row], reference: _Row, comparison: Comparison) -> None:
    """Read scores, resample them, and swap those of each row with the reference's."""
    draws = Draws(comparison.resamples)

    def resample(row: _Row, part: Part) -> np.ndarray:
        seed, split = part
        row.scores[part] = read_clip_scores(row.runs[seed], split, row.kept[part] / 100, not comparison.by_clip)
        return draws.bootstrap(row.scores[part]) + (row.values[part] - row.kept[part])

    def swap(row: _Row, part: Part) -> np.ndarray:
        return draws.permutation(row.scores[part], reference.scores[part])

    by_label = {row.label: row for row in rows}
    jobs = {(row.label, part): partial(resample, row, part) for row in rows for part in row.values}
    for (label, part), found in each(jobs, "intervals").items():
        by_label[label].keep("samples", part, found)
    # In the order of the rows, not of the threads.
    scored = [(row, part) for row in rows for part in row.values if part in row.scores and part in reference.scores]
    both = [(row, part) for row, part in scored if row is not reference]
    for (label, part), found in each({(r.label, p): partial(swap, r, p) for r, p in both}, "paired tests").items():
        by_label[label].keep("permuted", part, found)


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


def _in_column(samples: Mapping[Part, np.ndarray], seeds: Sequence[int], column: str) -> np.ndarray | None:
    """(R,) mean over seeds and the splits of the column; None where one is missing."""
    keys = [(seed, split) for seed in seeds for split in _splits(column)]
    return np.mean([samples[key] for key in keys], axis=0) if keys and all(key in samples for key in keys) else None


def _splits(column: str) -> tuple[str, ...]:
    return MEANS.get(column, (column,))


def _with_holm(rows: Sequence[RowUncertainty]) -> tuple[RowUncertainty, ...]:
    columns = []
    for differences in zip(*(row.differences for row in rows), strict=True):
        adjusted = iter(holm([difference.p for difference in differences if difference]))
        columns.append([d and replace(d, adjusted=next(adjusted)) for d in differences])
    return tuple(replace(row, differences=of_row) for row, of_row in zip(rows, zip(*columns, strict=True), strict=True))


def _limits(rows: Sequence[_Row], comparison: Comparison) -> list[str]:
    """Notes on tests that cannot become significant."""
    limits = []
    tested = len(rows) - 1
    if tested and tested / (comparison.resamples + 1) >= ALPHA:
        limits.append(
            f"{tested} rows are compared by {comparison.resamples} permutations, so no p corrected for all of them falls "
            f"below {ALPHA}; raise --resamples"
        )
    scored = [(part, row.scores[part]) for row in rows for part in row.values if part in row.scores]
    groups = {split: len(set(scores.activities)) for (_, split), scores in scored if scores.activities}
    # Swapped or not, with both signs: 2 of 2^G ways are as far out as what was observed.
    few = [f"{split} has {number}" for split, number in groups.items() if 2 / 2**number > ALPHA]
    if tested and few:
        limits.append(f"too few activities for a p below {ALPHA}: {', '.join(few)}")
    return limits


def _notes(rows: Sequence[_Row], reference: _Row) -> list[str]:
    """One line per row, the first reason in full."""
    notes = []
    seeds = {seed for seed, _ in reference.values}
    for row in rows:
        if row.problems:
            more = f" (and {len(row.problems) - 1} more)" if len(row.problems) > 1 else ""
            notes.append(f"{row.label}: {row.problems[0]}{more}")
        elif seeds and row.values and not {seed for seed, _ in row.values} & seeds:
            notes.append(f"{row.label}: no seed in common with {reference.label}, so no difference")
        if row.values != row.kept:
            notes.append(f"{row.label}: means of many draws; intervals and p are of the one draw that is kept")
    if len(rows) > 1 and not seeds:
        notes.append(f"{reference.label} is not run, so there is nothing to compare with")
    return notes
