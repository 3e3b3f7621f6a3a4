"""Submit jobs with submitit, which is imported only here and in job.py.

submitit pickles jobs into the folder of logs and unpickles them on the host that runs them: the user's own files in the
user's own folder. Nothing foreign is unpickled, and the results that jobs leave there are never read.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from transm3e.errors import UserError
from transm3e.runs.folder import is_trained
from transm3e.tables.progress import RunProgress, last_line
from transm3e.tables.runner import Poll, Runner

if TYPE_CHECKING:
    from transm3e.tables.cluster.job import ClusterJob

# A local job cannot be requeued by a cluster, so it needs no time limit.
LOCAL_MINUTES = 365 * 24 * 60
LOCAL_SAVE_S = 60.0


def load_submitit() -> ModuleType:
    """Import submitit.

    Raises:
        UserError: it is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            f"jobs are submitted with submitit, which is missing ({error}); pip install -e '.[slurm]'"
        ) from error
    return submitit


def cluster_job(
    progress: RunProgress, command: Sequence[str], variables: Mapping[str, str], patience_s: float, save_s: float
) -> ClusterJob:
    """The job of a run; see ClusterJob for the arguments."""
    load_submitit()
    from transm3e.tables.cluster.job import ClusterJob

    run = progress.job.run
    # A trained run needs nothing; the runs that it started from may have been deleted.
    starts = () if is_trained(run) else run.starts
    needs = {f"{start.name}-{start.id}": str(start.final_checkpoint.resolve()) for start in starts}
    return ClusterJob(tuple(progress.words(command)), dict(variables), needs, patience_s, save_s)


def slurm_executor(logs: Path, settings: Mapping[str, Any]) -> Any:
    """submitit's executor for SLURM, with settings as slurm_settings returns them.

    Raises:
        UserError: submitit is missing, or there is no SLURM here.
    """
    submitit, given = load_submitit(), dict(settings)
    try:
        executor = submitit.SlurmExecutor(logs, max_num_timeout=given.pop("max_num_timeout"))
    except RuntimeError as error:
        raise UserError(
            "--slurm finds no SLURM here (no srun on PATH); call it on a login node of the cluster"
        ) from error
    if "cpus_per_task" in given:  # in SLURM 22.05 to 23.02 srun does not inherit it from sbatch
        given["srun_args"] = [f"--cpus-per-task={given['cpus_per_task']}", *given.get("srun_args", ())]
    executor.update_parameters(**given)
    return executor


def submit(executor: Any, jobs: Sequence[ClusterJob]) -> list[Any]:
    """Submit jobs as one array; returns submitit's jobs.

    Raises:
        UserError: they are refused.
    """
    submitit = load_submitit()
    try:
        return executor.submit_array(jobs)
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
        problem = (str(error).strip().split("\n") or [""])[-1]
        raise UserError(
            f"sbatch refuses {len(jobs)} jobs ({problem}); fix --slurm and call again (what is queued already stays)"
        ) from error


def log_file(logs: Path, number: str) -> Path:
    """The file of a job's output, by the job's number."""
    return load_submitit().core.utils.JobPaths(logs, number, 0).stdout


class LocalRunner(Runner):
    """Runs jobs with submitit's local executor: like Runner, but the jobs outlive this process.

    A later call recognises them by the locks of their folders.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._numbers: dict[Path, str] = {}

    def _start(self, progress: RunProgress, variables: Mapping[str, str]) -> Poll:
        executor = load_submitit().LocalExecutor(progress.log.parent)
        executor.update_parameters(timeout_min=LOCAL_MINUTES, stderr_to_stdout=True)
        job = cluster_job(progress, self.command, variables, 0.0, LOCAL_SAVE_S)
        # Ctrl-C and hang-ups are for this process only; children inherit ignored signals.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
        try:
            submitted = executor.submit(job)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        progress.log = submitted.paths.stdout
        self._numbers[progress.job.key] = submitted.job_id
        return lambda: 0 if submitted.done() else None

    def _reason(self, progress: RunProgress, status: int) -> str:
        return last_line(progress.log)

    def _stop(self) -> str:
        numbers = [self._numbers[key] for key in self._polls]
        how = f"; kill {' '.join(numbers)} stops them, with a checkpoint" if numbers else ""
        return f"stopped watching: {len(numbers)} runs continue, and the same command watches them{how}"
