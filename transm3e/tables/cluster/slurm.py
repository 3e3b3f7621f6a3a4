"""Make a table's missing runs as SLURM jobs: one array for the runs that start from the same other runs.

No process here needs to stay alive: SLURM starts an array when the runs it depends on have ended, each task checks their
checkpoints itself, and submissions.json tells the next call which runs are queued.
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
SUBMISSIONS = "submissions.json"  # in RUNS_DIR, since several users may make tables of the runs there
ASK_EVERY_S = 15.0
WAIT_S = 0.5
ANSWER_S = 60  # an overloaded controller answers late, or not at all
# NFS shows files late: a job that left the queue counts as failed only after its results had time to appear.
PATIENCE_S = 60.0
SAVE_SHARE = 2 / 3  # of the time between signal and end
IN_SLURM = (QUEUED, RUNNING)
# Final states that add nothing to the log; others, such as out_of_memory, timeout and cancelled, are shown.
PLAIN_ENDS = ("", "failed", "completed")
AT_WORK = ("RUNNING", "COMPLETING", "STOPPED", "SUSPENDED")


@dataclass(frozen=True)
class QueuedJob:
    """A job in SLURM's queue as squeue prints it: state (PENDING, RUNNING, ...), why it waits, its comment."""

    state: str
    reason: str
    comment: str


def queued_jobs() -> dict[str, QueuedJob]:
    """This user's jobs by number, tasks of arrays by "ARRAY_TASK".

    Raises:
        UserError: squeue fails.
    """
    command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T|%r|%k"]
    fields = [line.strip().split("|", 3) for line in _output(command).split("\n") if line.count("|") >= 3]
    return {number: QueuedJob(*rest) for number, *rest in fields}


def end_state(number: str) -> str:
    """Final state of a job in SLURM's accounting, such as "timeout" or "out_of_memory"; "" without accounting."""
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
    """A job that was submitted, or about to be, for a run.

    Attributes:
        mark: unique text in the comment of its array.
        task: its index in the array.
        logs: the folder of its output.
    """

    mark: str
    task: int
    logs: Path

    def find(self, queue: Mapping[str, QueuedJob]) -> str | None:
        """Its number, if it is in SLURM's queue."""
        mine = [number for number, job in queue.items() if self.mark in job.comment.split()]
        # SLURM lists an array of one as a job without tasks.
        return next((number for number in mine if int(number.partition("_")[2] or 0) == self.task), None)


@contextmanager
def submitting(file: Path) -> Iterator[None]:
    """Hold the lock for submitting, so that no run is submitted twice; other calls wait.

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
    """Read a JSON file -> a run's folder to its Submission.

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
            f"{file} is damaged ({error}), so queued jobs cannot be recognised; wait for them or end them "
            "(squeue --me, scancel), then delete the file"
        ) from error


class SlurmRunner:
    """Submits jobs and watches them.

    Args:
        jobs: the runs to make, at least one; a run comes after those that it starts from.
        command: the program and its arguments before `--cfg`.
        slots: environment variables, one mapping per concurrent task of an array.
        logs: folder of the jobs' outputs, scripts and pickles, visible on all hosts.
        watch: called with every job's progress about twice a second.
        settings: of each job, see slurm_settings.
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
        """Submit the runs that are not queued and wait for all; a failed run stops only those that start from it.

        Raises:
            ExitRequest: on SIGINT or SIGTERM, or with `detach`; queued jobs continue.
            UserError: submitit is missing, or SLURM refuses the jobs or does not answer.
        """
        with stop_request() as stop:
            # Before the locks of the runs' folders are checked, since running jobs hold them.
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
            print(f"warning: {error}; the jobs continue", file=sys.stderr)
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
                    # One array for the runs that depend on the same jobs, so that none waits for others.
                    waits = self._waits_for(ready[0])
                    self._submit_array([p for p in ready if self._waits_for(p) == waits], waits)

    def _ready(self) -> list[RunProgress]:
        """The runs that can be submitted: the runs that they start from are done or have a job."""
        waiting = [p for p in self.progress.values() if p.state == WAITING]
        return [p for p in waiting if all(n.state in (DONE, QUEUED, RUNNING) for n in p.needs(self.progress))]

    def _recognise(self) -> None:
        """Find queued jobs that an earlier call submitted."""
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
        # Written before submission, so that a kill in between leaves no unknown job.
        marked = {progress.job.key: Submission(mark, task, self.logs) for task, progress in enumerate(level)}
        known = {
            str(run): {**vars(s), "logs": str(s.logs)} for run, s in (read_submissions(self.file) | marked).items()
        }
        atomic_write_text(self.file, json.dumps(known, indent=2) + "\n")
        for progress, job in zip(level, submit(executor, jobs), strict=True):
            progress.state, progress.log = QUEUED, job.paths.stdout
            self._numbers[progress.job.key] = job.job_id

    def _executor(self, dependencies: Sequence[str], mark: str) -> Any:
        given = self.settings
        # afterany, not afterok: one failed run must not block the whole array for ever.
        waits = {"dependency": "afterany:" + ":".join(dependencies)} if dependencies else {}
        cpus = {} if "cpus_per_gpu" in given else {"cpus_per_task": max(_cpus(p.job) for p in self.progress.values())}
        asked = {**cpus, **given, **waits, "array_parallelism": len(self.slots)}
        asked["comment"] = f"{given.get('comment', '')} {mark}".strip()
        return slurm_executor(self.logs, asked)

    def _closing_message(self, what: str) -> str:
        jobs = sorted({self._numbers[key].split("_")[0] for key, p in self.progress.items() if p.state in IN_SLURM})
        left = sum(p.state in (WAITING, ELSEWHERE) for p in self.progress.values())
        held_back = (
            f"; {left} runs are not submitted, since another process makes them or the runs that they start from"
        )
        return (
            f"{what}: {sum(p.state in IN_SLURM for p in self.progress.values())} runs are queued or running in SLURM and continue; "
            f"the same command watches them{', scancel ' + ' '.join(jobs) + ' ends them' if jobs else ''}"
            f"{held_back if left else ''}"
        )


def _set_state(progress: RunProgress, job: QueuedJob) -> None:
    progress.state, progress.reason = (RUNNING, "") if job.state in AT_WORK else (QUEUED, job.reason)


def _cpus(job: PlannedRun) -> int:
    """Cores of a run: per GPU a process and its data-loading workers; on the CPU also CPU_THREADS."""
    cfg = job.run.cfg
    return max(1, cfg.NUM_GPUS) * (1 + cfg.DATA_LOADER.NUM_WORKERS) + (0 if cfg.NUM_GPUS else cfg.CPU_THREADS)
