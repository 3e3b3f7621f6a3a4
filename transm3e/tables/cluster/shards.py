"""Submit a script of datasets/ to SLURM: an array of its shards, then a job that merges them; nothing here waits for it."""

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
SAVE_S = 5.0  # from the signal to the end of a shard, whose files are written whole or not at all


def submit_if_asked(script: str, args: argparse.Namespace, argv: Sequence[str] | None) -> None:
    """With --slurm submit the script and end the program; without it do nothing.

    Args:
        script: path of the script.
        args: with slurm, jobs and shard, see add_job_options.
        argv: its command line; None = this program's.

    Raises:
        ExitRequest: status 0, after submission; says what was submitted.
        UserError: an option is wrong, or SLURM or submitit is missing or refuses the jobs.
    """
    if args.slurm is None:
        return
    if args.jobs < 1 or not args.shard.is_all:
        raise UserError(
            f"--jobs {args.jobs}, --shard {args.shard}: --slurm makes the shards itself; leave out --shard, and use --jobs of at least 1"
        )
    given = list(sys.argv[1:] if argv is None else argv)
    # argparse also removes abbreviated options: a job that kept --slurm would submit jobs itself.
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--slurm", nargs="*")
    parser.add_argument("--jobs")
    command = [sys.executable, str(Path(script).absolute()), *parser.parse_known_args(given)[1]]
    parser.add_argument("--workers", type=int)
    cpus = parser.parse_known_args(given)[0].workers
    raise ExitRequest(submit_shards(command, args.slurm, args.jobs, LOGS, cpus), 0)


def _job(command: Sequence[str]) -> ClusterJob:
    """A command that is stopped and requeued like a run of a table."""
    load_submitit()
    from transm3e.tables.cluster.job import ClusterJob

    return ClusterJob(tuple(command), {}, {}, 0.0, SAVE_S)


def submit_shards(command: Sequence[str], slurm: Sequence[str], jobs: int, logs: Path, cpus: int | None = None) -> str:
    """Submit a command once per shard, and once without a shard after them -> a message for the user.

    Args:
        slurm: NAME=VALUE for sbatch, see slurm_settings.
        jobs: number of shards.
        logs: folder of the jobs' outputs, on a disk that all hosts share.
        cpus: per job, unless `slurm` sets it; None = the cluster's default.

    Raises:
        UserError: see submit_if_asked.
    """
    settings = slurm_settings(slurm, gpus=0)
    given = {**({"cpus_per_task": cpus} if cpus else {}), **settings, "array_parallelism": jobs}
    executor = slurm_executor(logs.absolute(), given)
    make_folder(logs, "working folder")
    shards = [_job([*command, "--shard", str(Shard(number, jobs))]) for number in range(jobs)]
    array = [job.job_id for job in submit(executor, shards)]
    executor.update_parameters(dependency=f"afterany:{':'.join(array)}")
    merging = submit(executor, [_job(command)])[0]
    return (
        f"submitted: array {array[0].partition('_')[0]} of {jobs} shards, then job {merging.job_id}, which merges them and "
        f"writes the summary to {merging.paths.stdout}; repeating the call keeps finished files"
    )
