"""What tools/make_table.py does: files and options -> plan -> runs -> tables."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from transm3e.config.node import opt_settings
from transm3e.errors import UserError
from transm3e.files import atomic_write_text
from transm3e.tables.datasets import DATASETS
from transm3e.tables.figures import table_figures
from transm3e.tables.formats import comma_separated, latex, markdown
from transm3e.tables.jobs import Plan
from transm3e.tables.listing import problems
from transm3e.tables.read import NOT_OF_ROWS, Row, Table, read_table
from transm3e.tables.runner import FAILED, Runner
from transm3e.tables.view import View

GPUS = "CUDA_VISIBLE_DEVICES"
SET_BY_ARGUMENTS = {"RNG_SEED": "--seeds", "NUM_GPUS": "--gpus-per-run"}


@dataclass(frozen=True)
class Places:
    """Where runs go.

    Attributes:
        gpus_per_run: 0 = the CPU.
        environments: environment variables of each run of those at once.
    """

    gpus_per_run: int
    environments: tuple[Mapping[str, str], ...]


def slots(jobs: int | None, gpus_per_run: int | None) -> Places:
    """Runs at once, and the GPUs of each.

    Args:
        jobs: None = as many as the GPUs serve, 1 on the CPU.
        gpus_per_run: None = 1, or 0 where there is no GPU.

    Raises:
        UserError: more are asked for than there are.
    """
    visible = os.environ.get(GPUS, "")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    each = min(1, len(names)) if gpus_per_run is None else gpus_per_run
    most = len(names) // each if each > 0 else max(1, jobs or 1)
    count = most if jobs is None else jobs
    if each < 0 or count < 1 or count > most:
        raise UserError(
            f"--jobs {jobs} --gpus-per-run {gpus_per_run} does not fit {len(names)} GPU(s); --jobs must be at least 1 "
            "and jobs times GPUs per run at most the GPUs there are; --gpus-per-run 0 is the CPU"
        )
    if each == 0:
        return Places(0, ({},) * count)
    return Places(each, tuple({GPUS: ",".join(names[i * each : (i + 1) * each])} for i in range(count)))


def build_plan(
    files: Sequence[Path],
    on: Sequence[str] | None,
    scale: str,
    seeds: Sequence[int],
    labels: Sequence[str] | None,
    gpus_per_run: int,
    opts: Sequence[str],
) -> Plan:
    """The plan of a command line.

    Args:
        on: data sets; None = those that a table's paper figures are on.
        labels: only rows whose labels begin with one of these.

    Raises:
        UserError: a table file is wrong, or an option names what does not exist.
    """
    _check(on, seeds, opts)
    tables = [read_table(file) for file in files]
    _check_labels(tables, labels)
    plan = Plan()
    with _warnings_once():
        for table in tables:
            rows = [row for row in table.rows if _is_chosen(row, labels)]
            for dataset in (on or table.datasets) if rows else ():
                plan.add(table, dataset, rows, seeds, scale, ["NUM_GPUS", gpus_per_run, *opts])
    return plan


def run_missing(
    plan: Plan, command: Sequence[str], environments: Sequence[Mapping[str, str]], logs: Path
) -> dict[Path, str]:
    """Run what is missing; returns key -> why it failed, with the log's path, of the runs that did.

    Raises:
        ExitRequest: see Runner.run.
        UserError: a results.json is damaged.
    """
    missing = plan.missing()
    for problem in [line for table in plan.tables for line in problems(table)]:
        print(problem, file=sys.stderr)
    if not missing:
        return {}
    ended = Runner(missing, command, environments, logs, View()).run()
    return {
        progress.job.key: f"failed, {progress.reason}; log: {progress.log}"
        for progress in ended
        if progress.state == FAILED
    }


def write_tables(plan: Plan, failures: Mapping[Path, str], out: Path, scale: str) -> str:
    """Write every table as .md, .csv and .tex below `out`; returns them as Markdown, with where they lie.

    Raises:
        UserError: a results.json is damaged, or a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = ""
    for planned in plan.tables:
        rows = table_figures(planned, plan, failures)
        title = f"{planned.table.title} ({planned.table.name}, {planned.dataset}, {scale})"
        file = out / f"{planned.table.name}-{planned.dataset}-{scale}"
        shown = markdown(rows, title, planned.table.source)
        atomic_write_text(file.with_name(file.name + ".md"), shown)
        atomic_write_text(file.with_name(file.name + ".csv"), comma_separated(rows))
        atomic_write_text(file.with_name(file.name + ".tex"), latex(rows, title, planned.table.source))
        text += f"{shown}\nin {file}.md, .csv, .tex\n\n"
    return text


class _Once(logging.Filter):
    """Passes each message once: a hundred configs give the same warning."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        is_new = record.getMessage() not in self.shown
        self.shown.add(record.getMessage())
        return is_new


@contextmanager
def _warnings_once() -> Iterator[None]:
    handler, logger = logging.StreamHandler(), logging.getLogger("transm3e")
    handler.addFilter(_Once())
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _check(on: Sequence[str] | None, seeds: Sequence[int], opts: Sequence[str]) -> None:
    for name in on or ():
        if name not in DATASETS:
            raise UserError(f"--on names the data set {name!r}; allowed: {', '.join(DATASETS)}")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))} names a seed twice; name each once")
    for _, key, _ in opt_settings(opts):
        if key in NOT_OF_ROWS and key != "RUNS_DIR":
            remedy = f"use {SET_BY_ARGUMENTS[key]}" if key in SET_BY_ARGUMENTS else "leave it out"
            raise UserError(f"--opts {key} cannot be the same for all runs of a table; {remedy}")


def _check_labels(tables: Sequence[Table], labels: Sequence[str] | None) -> None:
    for label in labels or ():
        if not any(_is_chosen(row, [label]) for table in tables for row in table.rows):
            known = ", ".join(dict.fromkeys(row.label for table in tables for row in table.rows))
            raise UserError(f"--rows names {label!r}, but no row's label begins so; there are: {known}")


def _is_chosen(row: Row, labels: Sequence[str] | None) -> bool:
    return labels is None or any(row.label.startswith(label) for label in labels)
