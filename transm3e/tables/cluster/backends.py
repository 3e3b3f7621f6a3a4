"""Where a table's runs are made: in local processes, submitit's local jobs, or SLURM; how many at once, on which GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from transm3e.errors import UserError
from transm3e.runs.folder import GPUS
from transm3e.tables.cluster.slurm import SlurmRunner
from transm3e.tables.cluster.slurm_settings import slurm_settings
from transm3e.tables.cluster.submit import LocalRunner, load_submitit
from transm3e.tables.runner import Runner

# Default of --jobs for SLURM: submitit's own limit on concurrent tasks of an array; SLURM has its limits besides.
MOST_AT_ONCE = 256


@dataclass(frozen=True)
class Backend:
    """Where and how runs are made.

    Attributes:
        gpus_per_run: 0 = the CPU.
        environments: environment variables, one mapping per concurrent run.
        runner: Runner, or a callable with the same arguments whose result has the same `run`.
    """

    gpus_per_run: int
    environments: tuple[Mapping[str, str], ...]
    runner: Callable[..., Any] = Runner


def local_backend(jobs: int | None, gpus_per_run: int | None, by_submitit: bool = False) -> Backend:
    """Runs on this host.

    Args:
        jobs: runs at once; None = as many as the GPUs allow, 1 on the CPU.
        gpus_per_run: None = 1, or 0 without a GPU.
        by_submitit: use submitit's local jobs, which outlive this process.

    Raises:
        UserError: more GPUs are asked for than there are, or submitit is missing.
    """
    if by_submitit:
        load_submitit()
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
    shares = [{GPUS: ",".join(names[i * each : (i + 1) * each])} if each else {} for i in range(count)]
    return Backend(each, tuple(shares), LocalRunner if by_submitit else Runner)


def slurm_backend(words: Sequence[str], jobs: int | None, gpus_per_run: int | None, detach: bool) -> Backend:
    """Runs on a SLURM cluster, which assigns the GPUs, whatever this host has.

    Args:
        words: NAME=VALUE settings of the jobs.
        jobs: concurrent tasks of an array; None = MOST_AT_ONCE.
        gpus_per_run: None = 1.
        detach: submit without waiting.

    Raises:
        UserError: a word or number is wrong, or submitit is missing.
    """
    each, count = 1 if gpus_per_run is None else gpus_per_run, MOST_AT_ONCE if jobs is None else jobs
    if each < 0 or count < 1:
        raise UserError(f"--jobs {jobs} --gpus-per-run {gpus_per_run}: --jobs must be at least 1, and GPUs at least 0")
    settings = slurm_settings(words, each)
    load_submitit()
    return Backend(each, ({},) * count, partial(SlurmRunner, settings=settings, detach=detach))
