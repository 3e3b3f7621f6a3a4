"""Where the runs of a table go: processes here, submitit's local jobs, or SLURM; how many at once, with which GPUs."""

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

# Tasks of an array at once where --jobs says nothing, which is submitit's own default; SLURM has limits of its own.
MOST_AT_ONCE = 256


@dataclass(frozen=True)
class Backend:
    """Where runs go.

    Attributes:
        gpus_per_run: 0 = the CPU.
        environments: environment variables of each run of those at once.
        runner: who makes them: Runner, or what is called as it is and has its `run`.
    """

    gpus_per_run: int
    environments: tuple[Mapping[str, str], ...]
    runner: Callable[..., Any] = Runner


def local_backend(jobs: int | None, gpus_per_run: int | None, by_submitit: bool = False) -> Backend:
    """Backend on this machine.

    Args:
        jobs: None = as many as the GPUs serve, 1 on the CPU.
        gpus_per_run: None = 1, or 0 where there is no GPU.
        by_submitit: the runs outlive this process.

    Raises:
        UserError: more are asked for than there are, or submitit is missing.
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
    """Backend on a cluster; GPUs are SLURM's to give, so those of this machine do not count.

    Args:
        words: NAME=VALUE settings of the jobs.
        jobs: tasks of an array at once; None = as many as SLURM lets run.
        gpus_per_run: None = 1.
        detach: submit, and do not wait.

    Raises:
        UserError: a word or number is wrong, or submitit is missing.
    """
    each, count = 1 if gpus_per_run is None else gpus_per_run, MOST_AT_ONCE if jobs is None else jobs
    if each < 0 or count < 1:
        raise UserError(f"--jobs {jobs} --gpus-per-run {gpus_per_run}: --jobs must be at least 1, and GPUs at least 0")
    settings = slurm_settings(words, each)
    load_submitit()
    return Backend(each, ({},) * count, partial(SlurmRunner, settings=settings, detach=detach))
