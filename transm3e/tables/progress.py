"""How far the runs of a table are, whoever runs them: processes here, or jobs of a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transm3e.errors import UserError
from transm3e.files import make_folder
from transm3e.tables.jobs import Job

WAITING, QUEUED, RUNNING, ELSEWHERE = "waiting", "queued", "running", "running elsewhere"
DONE, FAILED = "done", "failed"
# srun repeats in words of its own that a task has ended; slurmstepd says what for.
NOT_LAST_WORDS = ("srun: ",)


@dataclass
class Progress:
    """How far a job is.

    Attributes:
        job: which.
        log: the file that its process prints to.
        state: WAITING, QUEUED (handed to a cluster), RUNNING, ELSEWHERE (another process has its folder), DONE or
            FAILED.
        reason: why it failed, or why the cluster lets it wait.
    """

    job: Job
    log: Path
    state: str = WAITING
    reason: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in (DONE, FAILED)

    def words(self, command: Sequence[str]) -> list[str]:
        """The command line of its run; the command is the program and what stands before its `--cfg`."""
        return [*command, "--cfg", str(self.job.config), "--opts", *map(str, self.job.words)]

    def fail(self, reason: str) -> None:
        """It has failed, and why."""
        self.state, self.reason = FAILED, reason

    def look(self) -> bool:
        """Whether it is over: DONE by its files, or FAILED by a damaged results.json, which is nobody else's failure."""
        try:
            if self.job.is_done():
                self.state, self.reason = DONE, ""
        except UserError as error:
            self.fail(str(error))
        return self.is_over

    def look_at_needs(self, others: Mapping[Path, Progress]) -> None:
        """It fails where what it starts from has."""
        for need in self.needs(others):
            if need.state == FAILED:
                self.fail(f"it starts from {need.job.name}, which failed")

    def needs(self, others: Mapping[Path, Progress]) -> list[Progress]:
        """Of those that are to run, what it starts from."""
        return [others[key] for key in self.job.needs if key in others]


def start_all(jobs: Iterable[Job], logs: Path) -> dict[Path, Progress]:
    """Progress of each job at its beginning, by key; makes the folder of logs."""
    make_folder(logs)
    return {job.key: Progress(job, logs / f"{job.name}.log") for job in jobs}


def last_words(log: Path) -> str:
    """The last line of a log that says something; "" where there is none."""
    if not log.is_file():
        return ""
    lines = (line.strip() for line in reversed(log.read_text(encoding="utf-8", errors="replace").split("\n")))
    return next((line for line in lines if line and not line.startswith(NOT_LAST_WORDS)), "")
