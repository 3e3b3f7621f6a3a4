"""What tools/make_table.py does: files and options -> plan -> runs -> tables."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transm3e.config.node import merge_opts, opt_settings
from transm3e.config.schema import MAX_SEED, get_cfg
from transm3e.errors import UserError
from transm3e.files import atomic_write_text, make_folder
from transm3e.tables.figure import table_figure
from transm3e.tables.formats import Caption, comma_separated, latex, markdown
from transm3e.tables.jobs import Plan, PlannedTable
from transm3e.tables.listing import problems
from transm3e.tables.progress import FAILED, View, failure
from transm3e.tables.read import NOT_OF_ROWS, Table, TableRow, read_table
from transm3e.tables.runner import Runner
from transm3e.tables.scores import table_scores
from transm3e.tables.statistics.uncertainty import Comparison, table_uncertainty

SET_BY_ARGUMENTS = {"RNG_SEED": "--seeds", "NUM_GPUS": "--gpus-per-run"}


def build_plan(
    files: Sequence[str | Path],
    on: Sequence[str] | None,
    scale: str,
    seeds: Sequence[int],
    labels: Sequence[str] | None,
    gpus_per_run: int,
    opts: Sequence[str],
) -> Plan:
    """The plan of a command line.

    Args:
        on: data sets, folders of configs/; None = those that a table names, or else those with scores of the paper.
        labels: only rows whose labels begin with one of these.

    Raises:
        UserError: a table file is wrong, an option names something that does not exist, or no row can be planned.
    """
    _check(seeds, opts)
    tables = [read_table(file) for file in dict.fromkeys(files)]
    _check_names(tables)
    _check_labels(tables, labels)
    plan = Plan(_made_with(seeds, labels, opts))
    with _warnings_once():
        for table in tables:
            rows = _chosen(table.rows, labels)
            for dataset in dict.fromkeys(on or table.datasets) if rows else ():
                plan.add(table, dataset, rows, seeds, scale, ["NUM_GPUS", gpus_per_run, *opts])
    if not plan.jobs:
        raise UserError(f"no row can be run: {plan.problems[0]}")
    return plan


def run_missing(
    plan: Plan,
    command: Sequence[str],
    environments: Sequence[Mapping[str, str]],
    logs: Path,
    runner: Callable[..., Any] = Runner,
) -> dict[Path, str]:
    """Make the missing runs; returns for each failed run its key -> the reason with the log's path.

    Args:
        command, environments, logs, runner: see Runner and Backend.

    Raises:
        ExitRequest, UserError: see the runner; UserError also if a results.json is damaged.
    """
    missing = plan.missing()
    for problem in [line for table in plan.tables for line in problems(table)]:
        print(problem, file=sys.stderr)
    if not missing:
        return {}
    ended = runner(missing, command, environments, logs, View()).run()
    return {progress.job.key: failure(progress) for progress in ended if progress.state == FAILED}


def write_tables(plan: Plan, failures: Mapping[Path, str], out: Path, comparison: Comparison | None = None) -> str:
    """Write every table as .md, .csv, .tex and .png below `out`; returns them as Markdown, with their paths.

    Args:
        comparison: how intervals and tests are made; None = the defaults.

    Raises:
        UserError: a results.json is damaged, or a file cannot be written.
    """
    make_folder(out)
    chosen = comparison or Comparison()
    return "".join(_write_table(planned, plan, failures, out, chosen) for planned in plan.tables)


def _write_table(
    planned: PlannedTable, plan: Plan, failures: Mapping[Path, str], out: Path, comparison: Comparison
) -> str:
    rows = table_scores(planned, plan, failures)
    found = table_uncertainty(planned, plan, comparison) if comparison.resamples else None
    title = f"{planned.table.title} ({planned.table.name}, {planned.dataset}, {planned.scale})"
    caption = Caption(title, planned.table.source, plan.made_with)
    shown = markdown(rows, found, caption)
    file = out / f"{planned.table.name}-{planned.dataset}-{planned.scale}"
    for suffix, text in ((".md", shown), (".csv", comma_separated(rows, found)), (".tex", latex(rows, found, caption))):
        atomic_write_text(file.with_name(file.name + suffix), text)
    drawn = table_figure(rows, found, file.with_name(file.name + ".png"), title)
    return f"{shown}\nin {file}.md, .csv, .tex{', .png' if drawn else ''}\n\n"


@contextmanager
def _warnings_once() -> Iterator[None]:
    """Log each warning once: a hundred configs may give the same one."""
    shown: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        before = len(shown)
        shown.add(record.getMessage())
        return len(shown) > before

    handler, logger = logging.StreamHandler(), logging.getLogger("transm3e")
    handler.addFilter(is_new)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _check(seeds: Sequence[int], opts: Sequence[str]) -> None:
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise UserError(f"--seeds {' '.join(map(str, seeds))} must be different whole numbers from 0 to 2**63 - 1")
    merge_opts(get_cfg(), opts, "--opts")
    for _, key, _ in opt_settings(opts):
        if key in NOT_OF_ROWS and key != "RUNS_DIR":
            remedy = f"use {SET_BY_ARGUMENTS[key]}" if key in SET_BY_ARGUMENTS else "leave it out"
            raise UserError(f"--opts {key} cannot be the same for all runs of a table; {remedy}")


def _check_names(tables: Sequence[Table]) -> None:
    names = [table.name for table in tables]
    twice = next((table for table in tables if names.count(table.name) > 1), None)
    if twice:
        raise UserError(f"two tables are called {twice.name}, and so would be their files; rename {twice.file}")


def _made_with(seeds: Sequence[int], labels: Sequence[str] | None, opts: Sequence[str]) -> str:
    parts = [f"seed{'s' * (len(seeds) > 1)} {' '.join(map(str, seeds))}"]
    parts += [f"--rows {shlex.join(labels)}"] if labels else []
    parts += [f"--opts {shlex.join(map(str, opts))}"] if opts else []
    return "; ".join(parts)


def _check_labels(tables: Sequence[Table], labels: Sequence[str] | None) -> None:
    for label in labels or ():
        if not any(_chosen(table.rows, [label]) for table in tables):
            known = ", ".join(dict.fromkeys(row.label for table in tables for row in table.rows))
            raise UserError(f"--rows {label!r}: no row's label begins with it; there are: {known}")


def _chosen(rows: Sequence[TableRow], labels: Sequence[str] | None) -> list[TableRow]:
    """The rows with these labels; a label that no row has selects by prefix; None selects all rows."""
    if labels is None:
        return list(rows)
    known = {row.label for row in rows}
    return [
        row
        for row in rows
        if any(row.label == label if label in known else row.label.startswith(label) for label in labels)
    ]
