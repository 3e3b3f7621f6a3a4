"""The scores of a table's rows: mean and spread over seeds, beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from transm3e.report.table import COLUMNS
from transm3e.runs.folder import RESULTS, is_evaluated
from transm3e.runs.plan import Run
from transm3e.runs.results import DRAWS, MEANS, draws_std, mean_of, read_results
from transm3e.tables.jobs import Plan, PlannedRow, PlannedTable
from transm3e.tables.read import MAIN
from transm3e.tables.scale import FULL

BEST, SECOND = 1, 2


@dataclass(frozen=True)
class Score:
    """mAP in percent of a row in a column.

    Attributes:
        values: one per seed that was run.
        paper: the paper's score on this data set; on MuscleMap136 where it has none on this one.
        comparable: whether the paper's score is on this data set and the row at full scale.
        rank: BEST, SECOND or 0, by the rounded mean; equal scores share a rank.
        over_draws: standard deviation of random scores over their draws, one per seed.
    """

    values: tuple[float, ...]
    paper: float | None
    comparable: bool = True
    rank: int = 0
    over_draws: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over draws, of random scores; else over seeds (n - 1), None for fewer than two."""
        if self.over_draws:
            return fmean(self.over_draws)
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def shown(self) -> str:
        """The mean with one decimal; "" without values."""
        return "" if self.mean is None else f"{self.mean:.1f}"

    @property
    def difference(self) -> float | None:
        """Rounded mean minus the paper's score on this data set; None if they cannot be compared."""
        if self.mean is None or self.paper is None or not self.comparable:
            return None
        return round(float(self.shown) - self.paper, 1)


@dataclass(frozen=True)
class RowScores:
    """A row of the finished table.

    Attributes:
        label: of the row.
        scores: one per column of COLUMNS.
        state: "3 of 3 runs", "not run", or why it cannot be run.
    """

    label: str
    scores: tuple[Score, ...]
    state: str


def table_scores(table: PlannedTable, plan: Plan, failures: Mapping[Path, str]) -> list[RowScores]:
    """The rows of a table with the scores of the runs that are done.

    Args:
        failures: key of a run -> why it failed.

    Raises:
        UserError: a results.json is damaged.
    """
    rows = [_row(seeds, table, plan, failures) for seeds in row_groups(table).values()]
    ranks = [_ranks([row.scores[i].shown for row in rows]) for i in range(len(COLUMNS))]
    return [
        RowScores(
            row.label,
            tuple(replace(score, rank=ranks[i][number]) for i, score in enumerate(row.scores)),
            row.state,
        )
        for number, row in enumerate(rows)
    ]


def row_groups(table: PlannedTable) -> dict[str, list[PlannedRow]]:
    """Label -> its row, once per seed; in the table's order."""
    return {label: list(seeds) for label, seeds in groupby(table.rows, key=lambda planned: planned.row.label)}


def _row(seeds: Sequence[PlannedRow], table: PlannedTable, plan: Plan, failures: Mapping[Path, str]) -> RowScores:
    row = seeds[0].row
    reasons = {failures.get(seed.key, "") if seed.key else "cannot be run: " + seed.problem for seed in seeds}
    reasons.discard("")
    scores = [scores for seed in seeds if seed.key and (scores := _scores(plan.jobs[seed.key].run))]
    paper = row.paper.get(table.dataset) or row.paper.get(MAIN) or (None,) * len(COLUMNS)
    values, draws = ([tuple(v for s in scores if (v := s[c][i]) is not None) for c in COLUMNS] for i in (0, 1))
    run = f"{len(scores)} of {len(seeds)} runs" if scores else "not run"
    run += f", ± over {DRAWS} draws" if any(draws) else ""
    comparable = table.dataset in row.paper and table.scale == FULL
    return RowScores(
        row.label,
        tuple(Score(v, p, comparable, over_draws=d) for v, p, d in zip(values, paper, draws, strict=True)),
        "; ".join([run, *sorted(reasons)]),
    )


def _scores(run: Run) -> dict[str, tuple[float | None, float | None]] | None:
    """Column -> mAP of a run and its standard deviation over draws, in percent; None where it is not evaluated."""
    splits = evaluated_splits(run)
    if splits is None:
        return None
    scores = {c: mean_of(splits, c, "mAP") if c in MEANS else splits.get(c, {}).get("mAP") for c in COLUMNS}
    return {c: (_percent(score), _percent(draws_std(splits, c))) for c, score in scores.items()}


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def evaluated_splits(run: Run) -> dict[str, Any] | None:
    """Split -> its part of the run's results.json; None where it is not evaluated.

    Raises:
        UserError: results.json is damaged.
    """
    file = run.folder / RESULTS
    return read_results(file)["splits"] if file.is_file() and is_evaluated(run) else None


def _ranks(shown: Sequence[str]) -> list[int]:
    """BEST and SECOND among at least two scores."""
    different = sorted({float(text) for text in shown if text}, reverse=True)
    if sum(map(bool, shown)) < 2:
        return [0] * len(shown)
    first, second = [*different, -math.inf][:2]
    return [{first: BEST, second: SECOND}.get(float(text), 0) if text else 0 for text in shown]
