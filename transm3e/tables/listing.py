"""Overview of tables before anything is run: rows, runs, shared runs, and an estimate of GPU hours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch.utils.flop_counter import FlopCounterMode

from transm3e.config.schema import NETWORK, get, keys_with
from transm3e.data.annotations import SPLITS, read_clip_table
from transm3e.files import clip_table_file
from transm3e.modalities import clip_shape, model_class, model_modalities
from transm3e.models import build_model
from transm3e.prepare.benchmarks.facts import MUSCLEHMDB41, MUSCLEMAP136, MUSCLEUCF90
from transm3e.report.table import aligned
from transm3e.runs.plan import Run
from transm3e.tables.jobs import Plan, PlannedRow, PlannedRun, PlannedTable

# Assumed rate of a V100 in mixed precision on these networks: a sixth of its peak.
TFLOPS = 20.0
FORWARDS_OF_A_STEP = 3
FLOPS_PER_MAC = 2
BENCHMARKS = {benchmark.name: benchmark.counts for benchmark in (MUSCLEMAP136, MUSCLEUCF90, MUSCLEHMDB41)}
HEAD = ("row", "seed", "state", "GPU h", "run", "starts from")
UNKNOWN = "?"  # GPU hours
_KNOWN_MACS: dict[str, int] = {}


def positive_rate(text: str) -> float:
    """A rate from a command line.

    Raises:
        ValueError: it is no finite number above 0.
    """
    rate = float(text)
    if not 0 < rate < math.inf:
        raise ValueError(f"{text} is no rate")
    return rate


def gpu_hours(run: Run, tflops: float = TFLOPS) -> float | None:
    """An estimate of the hours of one GPU at `tflops` * 1e12 operations a second, for training and evaluation together.

    Multiply-adds of one clip, counted from shapes, times clips and epochs; forward and backward of the student count as
    three forward passes, the frozen teacher as one. A multiply-add is two floating-point operations. The rate is assumed,
    not measured: real runs also wait for data, and small models do not use a GPU fully.

    Returns:
        None if the clip table is missing and the number of its clips unknown.
    """
    if not model_class(run.cfg).learns:
        return 0.0
    clips = _clips(run.cfg)
    if clips is None:
        return None
    macs = _training_macs(run, clips) + _evaluation_macs(run.cfg, clips)
    return FLOPS_PER_MAC * macs / (tflops * 1e12) / 3600


def forward_macs(cfg: CfgNode) -> int:
    """Multiply-adds of one clip through a config's model: matrix products, convolutions and attention."""
    key = repr([get(cfg, name) for name in keys_with(NETWORK)])
    if key not in _KNOWN_MACS:
        with torch.device("meta"):
            model = build_model(cfg).eval()
            with FlopCounterMode(display=False) as counter:
                model({name: torch.zeros(1, *clip_shape(cfg, name)) for name in model_modalities(cfg)})
        _KNOWN_MACS[key] = counter.get_total_flops() // FLOPS_PER_MAC
    return _KNOWN_MACS[key]


def _training_macs(run: Run, clips: Mapping[str, int]) -> float:
    cfg = run.cfg
    if not cfg.TRAIN.ENABLE:
        return 0.0
    teacher = [start for start in run.starts if str(start.final_checkpoint) == cfg.INIT.TEACHER_FROM]
    per_clip = FORWARDS_OF_A_STEP * forward_macs(cfg) + sum(forward_macs(start.cfg) for start in teacher)
    looks = cfg.SOLVER.MAX_EPOCH // cfg.TRAIN.EVAL_PERIOD if cfg.TRAIN.EVAL_PERIOD else 0
    validation = looks * (clips["known_val"] + clips["new_val"]) * forward_macs(cfg)
    return clips["train"] * cfg.AUG.NUM_SAMPLE * cfg.SOLVER.MAX_EPOCH * per_clip + validation


def _evaluation_macs(cfg: CfgNode, clips: Mapping[str, int]) -> float:
    views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    return sum(clips[split] for split in cfg.TEST.SPLITS) * views * forward_macs(cfg)


def _clips(cfg: CfgNode) -> Mapping[str, int] | None:
    table = clip_table_file(cfg.DATA.PATH_TO_DATA_DIR)
    return _counted(str(table)) if table.is_file() else BENCHMARKS.get(cfg.TRAIN.DATASET)


@cache
def _counted(table: str) -> dict[str, int]:
    splits = np.asarray(read_clip_table(table).splits)
    return {split: int((splits == split).sum()) for split in SPLITS}


def listing(plan: Plan, tflops: float) -> str:
    """Every row of every table, then a summary of the runs.

    Raises:
        UserError: a results.json or a clip table is damaged.
    """
    tables = [_table(table, plan, tflops) for table in plan.tables]
    return "\n".join([*tables, _shared(plan), _sum(plan, tflops)]) + "\n"


def problems(table: PlannedTable) -> list[str]:
    """A line for each reason why rows cannot be planned, with their labels."""
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
        "clips and epochs; without waiting for data, and without runs on a data set of unknown size, marked "
        f"{UNKNOWN})"
    )


def _runs_of(key: Path, plan: Plan) -> int:
    return 1 + sum(_runs_of(need, plan) for need in plan.jobs[key].needs)


def _hours(jobs: Sequence[PlannedRun], tflops: float) -> str:
    """GPU hours of the jobs whose data is known; "?" if there is none."""
    hours = [hour for job in jobs if (hour := gpu_hours(job.run, tflops)) is not None]
    if jobs and not hours:
        return UNKNOWN
    return f"{sum(hours):.0f}" if sum(hours) >= 10 else f"{sum(hours):.2g}"
