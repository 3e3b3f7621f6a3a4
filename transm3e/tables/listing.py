"""What tables need, before anything is run: rows, runs, which of them are shared, and an estimate of GPU hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from transm3e.files import clip_table_file
from transm3e.report.table import aligned
from transm3e.tables.cost import gpu_hours
from transm3e.tables.jobs import Plan, PlannedRow, PlannedRun, PlannedTable

HEAD = ("row", "seed", "state", "GPU h", "run", "starts from")
UNKNOWN = "?"


def listing(plan: Plan, tflops: float) -> str:
    """Every row of every table, then the runs in sum.

    Raises:
        UserError: a results.json or a clip table is damaged.
    """
    tables = [_table(table, plan, tflops) for table in plan.tables]
    return "\n".join([*tables, _shared(plan), _sum(plan, tflops)]) + "\n"


def problems(table: PlannedTable) -> list[str]:
    """A line for each reason why rows cannot be planned, with the labels of these rows."""
    rows_of: dict[str, list[str]] = {}
    for row in table.rows:
        if row.problem:
            rows_of.setdefault(row.problem, []).append(row.row.label)
    return [f"cannot be run: {', '.join(dict.fromkeys(labels))}: {problem}" for problem, labels in rows_of.items()]


def _table(table: PlannedTable, plan: Plan, tflops: float) -> str:
    lines = [HEAD, *(_line(row, plan, tflops) for row in table.rows)]
    title = f"{table.table.name} on {table.dataset}: {table.table.title}\n"
    missing = {plan.jobs[row.key].run.cfg.DATA.PATH_TO_DATA_DIR for row in table.rows if row.key}
    notes = [f"no data: there is no {file}; see datasets/README.md" for file in _not_there(missing)]
    return title + aligned(lines) + "".join(f"{line}\n" for line in [*notes, *problems(table)])


def _not_there(folders: Iterable[str]) -> list[Path]:
    return [file for folder in sorted(folders) if not (file := clip_table_file(folder)).is_file()]


def _line(row: PlannedRow, plan: Plan, tflops: float) -> tuple[str, ...]:
    if row.key is None:
        return row.row.label, str(row.seed), "cannot be run", "", "", ""
    job = plan.jobs[row.key]
    starts = ", ".join(plan.jobs[key].name for key in job.needs)
    state = "done" if job.is_done() else "missing" if job.has_data else "no data"
    return row.row.label, str(row.seed), state, _hours([job], tflops), job.name, starts


def _shared(plan: Plan) -> str:
    """The runs that several rows or runs need, and how often."""
    needed = Counter(row.key for table in plan.tables for row in table.rows if row.key)
    needed.update(key for job in plan.jobs.values() for key in job.needs)
    lines = [(job.name, f"needed {needed[key]} times") for key, job in plan.jobs.items() if needed[key] > 1]
    return "shared runs\n" + (aligned(lines) if lines else "none\n")


def _sum(plan: Plan, tflops: float) -> str:
    rows = [row for table in plan.tables for row in table.rows]
    seeds = len({row.seed for row in rows})
    keys = [row.key for row in rows if row.key]
    alone = sum(_runs_of(key, plan) for key in keys)
    firsts = sum(not job.is_row for job in plan.jobs.values())
    done = sum(job.is_done() for job in plan.jobs.values())
    missing = plan.missing()
    cannot = f", {len(rows) - len(keys)} cannot be run" if len(rows) > len(keys) else ""
    return (
        f"{len(rows)} rows{' (each seed counted)' if seeds > 1 else ''}{cannot}: {len(plan.jobs)} runs, not {alone}, as runs are shared: "
        f"{len(plan.jobs) - firsts} of rows, {firsts} that others start from; {done} done, {len(missing)} to run\n"
        f"to run: about {_hours(missing, tflops)} GPU hours at {tflops:g} TFLOP/s (an estimate from multiply-adds, "
        "clips and epochs; waiting for data is not in it, nor are runs on a data set of unknown size, marked "
        f"{UNKNOWN})"
    )


def _runs_of(key: Path, plan: Plan) -> int:
    return 1 + sum(_runs_of(need, plan) for need in plan.jobs[key].needs)


def _hours(jobs: Sequence[PlannedRun], tflops: float) -> str:
    """Of the jobs whose data is known; "?" where there is none."""
    hours = [hour for job in jobs if (hour := gpu_hours(job.run, tflops)) is not None]
    if jobs and not hours:
        return UNKNOWN
    return f"{sum(hours):.0f}" if sum(hours) >= 10 else f"{sum(hours):.2g}"
