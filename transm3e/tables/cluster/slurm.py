"""Run what tables miss as jobs of SLURM: an array for the runs that start from the same others.

Nothing needs a living process here: SLURM starts an array when what it starts from has ended, each task looks for that
itself, and submissions.json tells the next call what is queued already.
"""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from transm3e.engine.processes.signals import StopRequest, stop_request
from transm3e.errors import ExitRequest, UserError
from transm3e.files import atomic_write_text, make_folder, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.runs.folder import LOCK
from transm3e.runs.lock import InUse, hold, holder
from transm3e.tables.cluster.submit import cluster_job, log_file, slurm_executor, submit
from transm3e.tables.jobs import PlannedRun
from transm3e.tables.progress import DONE, ELSEWHERE, QUEUED, RUNNING, WAITING, RunProgress, initial_progress, last_line
from transm3e.tables.runner import POLL_S, Watch

MARK = "transm3e-"  # of an array, in its comment
SUBMISSIONS = "submissions.json"  # in RUNS_DIR, since the runs there are anyone's who makes a table of them
ASK_EVERY_S = 15.0
WAIT_S = 0.5
ANSWER_S = 60  # an overloaded controller answers late, or not at all
# NFS shows files late: a job that is no longer queued has not failed before its results had time to appear.
PATIENCE_S = 60.0
SAVE_SHARE = 2 / 3  # of the time between signal and end
IN_SLURM = (QUEUED, RUNNING)
# Ends that say no more than the log does; others, such as out_of_memory, timeout and cancelled, do.
PLAIN_ENDS = ("", "failed", "completed")
AT_WORK = ("RUNNING", "COMPLETING", "STOPPED", "SUSPENDED")


@dataclass(frozen=True)
class QueuedJob:
    """A job that SLURM has not finished with, as squeue prints it: PENDING, RUNNING, ...; why it waits; its comment."""

    state: str
    reason: str
    comment: str


def queued_jobs() -> dict[str, QueuedJob]:
    """This user's jobs by number, tasks of arrays by "ARRAY_TASK".

    Raises:
        UserError: squeue does not answer, so that nothing is known.
    """
    command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T|%r|%k"]
    fields = [line.strip().split("|", 3) for line in _output(command).split("\n") if line.count("|") >= 3]
    return {number: QueuedJob(*rest) for number, *rest in fields}


def end_state(number: str) -> str:
    """How SLURM's accounting says that a job ended, such as "timeout" or "out_of_memory"; "" where it has none."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={number}"]
    try:
        return (_output(command).split() or [""])[0].lower()
    except UserError:  # clusters without accounting
        return ""


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=True).stdout
    except subprocess.CalledProcessError as error:
        problem = (error.stderr.strip().split("\n") or [""])[-1] or f"status {error.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    raise UserError(f"{command[0]} fails ({problem}); try again once SLURM answers")


@dataclass(frozen=True)
class Submission:
    """A job that was, or was about to be, submitted for a run.

    Attributes:
        mark: in the comment of its array, and of no other.
        task: its place in the array.
        logs: the folder that it prints to.
    """

    mark: str
    task: int
    logs: Path

    def find(self, queue: Mapping[str, QueuedJob]) -> str | None:
        """Its number, if SLURM has it."""
        mine = [number for number, job in queue.items() if self.mark in job.comment.split()]
        # An array of one is a job without tasks.
        return next((number for number in mine if int(number.partition("_")[2] or 0) == self.task), None)


@contextmanager
def submitting(file: Path) -> Iterator[None]:
    """Meanwhile other calls that want to submit wait, so that no run is submitted twice.

    Raises:
        UserError: its folder cannot be written to.
    """
    make_folder(file.parent)
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold(file.with_suffix(".lock")))
                break
            except InUse:
                time.sleep(WAIT_S)
        yield


def read_submissions(file: Path) -> dict[Path, Submission]:
    """A JSON file, run's folder -> its Submission.

    Raises:
        UserError: the file is damaged.
    """
    if not file.is_file():
        return {}
    try:
        entries = parse_json(read_text(file))
        return {Path(run): Submission(str(e["mark"]), int(e["task"]), Path(e["logs"])) for run, e in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{file} is damaged ({error}), so jobs in the queue cannot be told; wait for them or end them "
            "(squeue --me, scancel), then delete the file"
        ) from error


class SlurmRunner:
    """Submits jobs and watches them.

    Args:
        jobs: what is to run, what others start from before them; at least one.
        command: the program and what stands before its `--cfg`.
        slots: environment variables of each of the tasks of an array that may run at once.
        logs: folder of the jobs' outputs, scripts and pickles, which all nodes see.
        watch: called with every job's progress about twice a second.
        settings: what each job asks for, see slurm_settings.
        detach: return after submitting.
    """

    def __init__(
        self,
        jobs: Sequence[PlannedRun],
        command: Sequence[str],
        slots: Sequence[Mapping[str, str]],
        logs: Path,
        watch: Watch = lambda progress: None,
        *,
        settings: Mapping[str, Any],
        detach: bool = False,
    ) -> None:
        self.command, self.slots, self.logs, self.watch = tuple(command), tuple(slots), logs, watch
        self.settings, self.detach = settings, detach
        self.progress = initial_progress(jobs, logs)
        self.file = jobs[0].run.folder.parent / SUBMISSIONS
        self._numbers: dict[Path, str] = {}  # of jobs, by run
        self._missing_since: dict[Path, float] = {}  # since when a job is no longer queued

    def run(self) -> list[RunProgress]:
        """Submit what is not queued, and wait for all; a run that fails stops only those that start from it.

        Raises:
            ExitRequest: SIGINT or SIGTERM came, or `detach`; what is queued goes on.
            UserError: submitit is missing, or SLURM refuses the jobs or does not answer.
        """
        with stop_request() as stop:
            # Before their folders are looked at, since those of jobs at work are held.
            self._recognise()
            while not stop.signal_number:
                self._submit()
                self.watch(list(self.progress.values()))
                if self.detach:
                    raise ExitRequest(self._closing_message("submitted"), 0)
                if all(p.is_over for p in self.progress.values()):
                    return list(self.progress.values())
                self._pause(stop)
                self._check_jobs()
            raise ExitRequest(self._closing_message("stopped watching"), 128 + stop.signal_number)

    def _pause(self, stop: StopRequest) -> None:
        end = time.monotonic() + ASK_EVERY_S
        while time.monotonic() < end and not stop.signal_number:
            self.watch(list(self.progress.values()))
            time.sleep(min(POLL_S, ASK_EVERY_S))

    def _check_jobs(self) -> None:
        try:
            queue = queued_jobs()
        except UserError as error:
            print(f"warning: {error}; the jobs go on", file=sys.stderr)
            return
        for key, progress in self.progress.items():
            if progress.is_over or progress.check_done():
                continue
            number = self._numbers.get(key)
            if number is None:
                progress.state = WAITING
            elif number in queue:
                self._missing_since.pop(key, None)
                _set_state(progress, queue[number])
            elif time.monotonic() - self._missing_since.setdefault(key, time.monotonic()) >= PATIENCE_S:
                how = end_state(number)
                words = [how] * (how not in PLAIN_ENDS) + [last_line(progress.log)]
                progress.fail(": ".join(filter(None, words)) or "it has left no output")

    def _submit(self) -> None:
        for progress in self.progress.values():
            if progress.state == WAITING:
                progress.check_needs(self.progress)
            if progress.state == WAITING and holder(progress.job.run.folder / LOCK):
                progress.state = ELSEWHERE
        if self._ready():
            with submitting(self.file):
                self._recognise()
                while ready := self._ready():
                    # Those that wait for the same runs, together: none waits for what it does not start from.
                    waits = self._waits_for(ready[0])
                    self._submit_array([p for p in ready if self._waits_for(p) == waits], waits)

    def _ready(self) -> list[RunProgress]:
        """Those that can be submitted: what they start from is done or has a job."""
        waiting = [p for p in self.progress.values() if p.state == WAITING]
        return [p for p in waiting if all(n.state in (DONE, QUEUED, RUNNING) for n in p.needs(self.progress))]

    def _recognise(self) -> None:
        """Find what another call has submitted and SLURM still has."""
        queue = queued_jobs()
        for key, submission in read_submissions(self.file).items():
            progress = self.progress.get(key)
            number = submission.find(queue)
            if progress and progress.state == WAITING and number:
                self._numbers[key], progress.log = number, log_file(submission.logs, number)
                _set_state(progress, queue[number])

    def _waits_for(self, progress: RunProgress) -> list[str]:
        """Numbers of the jobs that it starts from."""
        return sorted({self._numbers[need.job.key] for need in progress.needs(self.progress) if not need.is_over})

    def _submit_array(self, level: Sequence[RunProgress], waits: Sequence[str]) -> None:
        mark = f"{MARK}{uuid4().hex}"
        executor = self._executor(waits, mark)
        save_s = self.settings["signal_delay_s"] * SAVE_SHARE
        jobs = [cluster_job(p, self.command, {}, PATIENCE_S, save_s) for p in level]
        # Written before they are submitted: whoever is killed in between leaves no job that nobody knows.
        marked = {progress.job.key: Submission(mark, task, self.logs) for task, progress in enumerate(level)}
        known = {
            str(run): {**vars(s), "logs": str(s.logs)} for run, s in (read_submissions(self.file) | marked).items()
        }
        atomic_write_text(self.file, json.dumps(known, indent=2) + "\n")
        for progress, job in zip(level, submit(executor, jobs), strict=True):
            progress.state, progress.log = QUEUED, job.paths.stdout
            self._numbers[progress.job.key] = job.job_id

    def _executor(self, dependencies: Sequence[str], mark: str) -> Any:
        given = dict(self.settings)
        executor = slurm_executor(self.logs, given.pop("max_num_timeout"))
        # afterany, not afterok: one run that fails must not hold back all that stand in the same array for good.
        waits = {"dependency": "afterany:" + ":".join(dependencies)} if dependencies else {}
        cpus = {} if "cpus_per_gpu" in given else {"cpus_per_task": max(_cpus(p.job) for p in self.progress.values())}
        asked = {**cpus, **given, **waits, "array_parallelism": len(self.slots)}
        asked["comment"] = f"{given.get('comment', '')} {mark}".strip()
        if "cpus_per_task" in asked:
            # From SLURM 22.05 to 23.02 srun does not take it over from sbatch.
            asked["srun_args"] = [f"--cpus-per-task={asked['cpus_per_task']}", *given.get("srun_args", ())]
        executor.update_parameters(**asked)
        return executor

    def _closing_message(self, what: str) -> str:
        jobs = sorted({self._numbers[key].split("_")[0] for key, p in self.progress.items() if p.state in IN_SLURM})
        left = sum(p.state in (WAITING, ELSEWHERE) for p in self.progress.values())
        held_back = f"; {left} runs are not submitted, since another process works on them or on what they start from"
        return (
            f"{what}: {sum(p.state in IN_SLURM for p in self.progress.values())} runs are in SLURM's hands and go on; "
            f"the same command watches them{', scancel ' + ' '.join(jobs) + ' ends them' if jobs else ''}"
            f"{held_back if left else ''}"
        )


def _set_state(progress: RunProgress, job: QueuedJob) -> None:
    progress.state, progress.reason = (RUNNING, "") if job.state in AT_WORK else (QUEUED, job.reason)


def _cpus(job: PlannedRun) -> int:
    """A process for each GPU, with its loading processes; on the CPU as many threads as the run may have."""
    cfg = job.run.cfg
    return max(1, cfg.NUM_GPUS) * (1 + cfg.DATA_LOADER.NUM_WORKERS) + (0 if cfg.NUM_GPUS else cfg.CPU_THREADS)
