"""A script of datasets/ as SLURM jobs: an array of its shards, then a job that merges them; no process waits for them here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transm3e.errors import ExitRequest, UserError
from transm3e.files import make_folder
from transm3e.prepare.jobs import Shard
from transm3e.tables.cluster.slurm_settings import slurm_settings
from transm3e.tables.cluster.submit import load_submitit, slurm_executor, submit

if TYPE_CHECKING:
    from transm3e.tables.cluster.job import ClusterJob

LOGS = Path("runs", "slurm")
SAVE_S = 5.0  # between the signal and the end of a shard; each of its files is whole or not there


def leave_to_slurm(script: str, args: argparse.Namespace, words: Sequence[str] | None) -> None:
    """Do nothing if there is no --slurm; else submit the script and end the program.

    Args:
        script: its file.
        args: slurm and jobs, see add_job_options, and shard.
        words: of its command line; None: this program's.

    Raises:
        ExitRequest: with status 0, after it was submitted; says what was.
        UserError: a wrong option, or SLURM or submitit is not there, or refuses.
    """
    if args.slurm is None:
        return
    if args.jobs < 1 or not args.shard.is_all:
        raise UserError(f"--jobs {args.jobs}, --shard {args.shard}: --slurm makes the shards, of --jobs at least 1")
    given = list(sys.argv[1:] if words is None else words)
    # Words may be abbreviated, here as there: a job that still has --slurm would submit jobs.
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--slurm", nargs="*")
    parser.add_argument("--jobs")
    command = [sys.executable, str(Path(script).absolute()), *parser.parse_known_args(given)[1]]
    parser.add_argument("--workers", type=int)
    cpus = parser.parse_known_args(given)[0].workers
    raise ExitRequest(submit_shards(command, args.slurm, args.jobs, LOGS, cpus), 0)


def _job(words: Sequence[str]) -> ClusterJob:
    """A command that is stopped and requeued as a run of a table is."""
    load_submitit()
    from transm3e.tables.cluster.job import ClusterJob

    return ClusterJob(tuple(words), {}, {}, 0.0, SAVE_S)


def submit_shards(command: Sequence[str], slurm: Sequence[str], jobs: int, logs: Path, cpus: int | None = None) -> str:
    """Submit a command once for each of so many shards, and once without, after them -> what to know of it.

    Args:
        slurm: NAME=VALUE for sbatch, see slurm_settings.
        logs: folder of the jobs' outputs, on a disk that all hosts share.
        cpus: of a job, where `slurm` does not say it; None = as the cluster likes.

    Raises:
        UserError: see leave_to_slurm.
    """
    settings = slurm_settings(slurm, gpus=0)
    given = {**({"cpus_per_task": cpus} if cpus else {}), **settings.parameters}
    if "cpus_per_task" in given:  # from SLURM 22.05 to 23.02 srun does not take it over from sbatch
        given["srun_args"] = [f"--cpus-per-task={given['cpus_per_task']}", *given.get("srun_args", ())]
    executor = slurm_executor(logs.absolute(), settings.max_num_timeout)
    make_folder(logs, "working folder")
    executor.update_parameters(**given, array_parallelism=jobs)
    shards = [_job([*command, "--shard", str(Shard(number, jobs))]) for number in range(jobs)]
    array = [job.job_id for job in submit(executor, shards)]
    executor.update_parameters(dependency=f"afterany:{':'.join(array)}")
    merging = submit(executor, [_job(command)])[0]
    return (
        f"submitted: array {array[0].partition('_')[0]} of {jobs} shards, then job {merging.job_id}, which merges them and "
        f"says how it went in {merging.paths.stdout}; the same call again finds what they left"
    )
