"""Run what tables miss: each run a process of its own, what others start from first, as many at once as slots.

Nothing is kept but the runs' own folders, so whatever ends this process, the same call goes on from there: a run that
is done is not run again, one that was stopped goes on from its checkpoint, and one that another process still works on
is waited for.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transm3e.engine.signals import stop_request
from transm3e.errors import ExitRequest, UserError
from transm3e.report.run_folder import LOCK
from transm3e.tables.jobs import Job

POLL_S = 0.5
WAITING, RUNNING, ELSEWHERE, DONE, FAILED = "waiting", "running", "running elsewhere", "done", "failed"
BEFORE_ITS_END = (WAITING, RUNNING, ELSEWHERE)


@dataclass
class Progress:
    """How far a job is.

    Attributes:
        job: which.
        log: the file that its process prints to.
        state: WAITING, RUNNING, ELSEWHERE (another process has its folder), DONE or FAILED.
        reason: why it failed.
    """

    job: Job
    log: Path
    state: str = WAITING
    reason: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _slot: int = -1

    @property
    def is_over(self) -> bool:
        return self.state not in BEFORE_ITS_END


class Runner:
    """Runs jobs in processes.

    Args:
        jobs: what is to run, what others start from before them.
        command: the program and what stands before its `--cfg`.
        slots: environment variables of each slot; as many runs at once.
        logs: folder of the processes' outputs, one file per run; they are appended to.
        watch: called with every job's progress about twice a second.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        command: Sequence[str],
        slots: Sequence[Mapping[str, str]],
        logs: Path,
        watch: Callable[[Sequence[Progress]], None] = lambda progress: None,
    ) -> None:
        self.command, self.slots, self.watch = tuple(command), tuple(slots), watch
        logs.mkdir(parents=True, exist_ok=True)
        self.progress = {job.key: Progress(job, logs / f"{job.name}.log") for job in jobs}

    def run(self) -> list[Progress]:
        """Run all to their ends; one that fails stops only those that start from it.

        Raises:
            ExitRequest: SIGINT or SIGTERM came; the runs were asked to stop, and have.
        """
        with stop_request() as stop:
            while not stop.signal_number and not all(p.is_over for p in self.progress.values()):
                self._step()
                self.watch(list(self.progress.values()))
                time.sleep(POLL_S)
            if stop.signal_number:
                self._stop()
                raise ExitRequest("stopped; the same command goes on from here", 128 + stop.signal_number)
        self.watch(list(self.progress.values()))
        return list(self.progress.values())

    def _step(self) -> None:
        for progress in self.progress.values():
            if progress._process and progress._process.poll() is not None:
                self._end(progress, progress._process.returncode)
        for progress in self.progress.values():
            if progress.state == ELSEWHERE and not _is_held(progress.job):
                progress.state, progress._slot = WAITING, -1
            if progress.state == WAITING:
                self._try_to_begin(progress)

    def _try_to_begin(self, progress: Progress) -> None:
        needs = [self.progress[key] for key in progress.job.needs if key in self.progress]
        failed = next((need for need in needs if need.state == FAILED), None)
        if failed:
            progress.state, progress.reason = FAILED, f"it starts from {failed.job.name}, which failed"
        elif all(need.state == DONE for need in needs) and (free := self._free_slots()):
            progress.state = ELSEWHERE if _is_held(progress.job) else _state(progress)
            if progress.state == WAITING:
                progress.state, progress._slot = RUNNING, free[0]
                progress._process = self._start(progress)
            elif progress.state == ELSEWHERE:
                progress._slot = free[0]

    def _free_slots(self) -> list[int]:
        taken = {progress._slot for progress in self.progress.values()}
        return [slot for slot in range(len(self.slots)) if slot not in taken]

    def _start(self, progress: Progress) -> subprocess.Popen[bytes]:
        job = progress.job
        words = [*self.command, "--cfg", str(job.config), "--opts", *map(str, job.words)]
        environment = {**os.environ, **self.slots[progress._slot]}
        with progress.log.open("ab") as log:
            # A process group of its own: Ctrl-C reaches it once, from here.
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _end(self, progress: Progress, status: int) -> None:
        progress._process, progress._slot = None, -1
        progress.state = _state(progress)
        if progress.state == WAITING and not _is_held(progress.job):
            progress.state, progress.reason = FAILED, _last_words(progress.log, status)

    def _stop(self) -> None:
        processes = [progress._process for progress in self.progress.values() if progress._process]
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _state(progress: Progress) -> str:
    """DONE or WAITING; FAILED, with the reason, where results.json is damaged, which is nobody else's failure."""
    try:
        return DONE if progress.job.is_done() else WAITING
    except UserError as error:
        progress.reason = str(error)
        return FAILED


def _is_held(job: Job) -> bool:
    """Whether a process works in the run's folder (transm3e.report.run_folder.claim)."""
    file = job.run.folder / LOCK
    if not file.is_file():
        return False
    with file.open("r+b") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
    return False


def _last_words(log: Path, status: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"status {status}: {last}"
