"""Uploaded videos, scored one at a time."""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transm3e.errors import ExitRequest, UserError, first_line, is_out_of_memory

logger = logging.getLogger(__name__)
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
MOST_WAITING = 8
MOST_KEPT = 20  # finished jobs; the oldest one's files are deleted
VIDEO = "video"  # name of the uploaded file, whatever its name was
Report = Callable[[str, float], None]
# (video, folder for results, told stage and share done in [0, 1]) -> what the page shows.
Score = Callable[[Path, Path, Report], dict[str, Any]]


@dataclass
class Job:
    """One upload and what became of it.

    Attributes:
        id: a word that cannot be guessed.
        folder: of its files.
        name: of the uploaded file, only shown.
        state: WAITING, RUNNING, DONE or FAILED.
        stage, done: what is being done, and which share of it.
        error: one line, if it FAILED.
        result: what the scoring gave, if it is DONE.
    """

    id: str
    folder: Path
    name: str
    state: str = WAITING
    stage: str = ""
    done: float = 0.0
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class Jobs:
    """A queue with one worker thread.

    Args:
        folder: every file of every job is below it.
        score: the scoring.
    """

    def __init__(self, folder: Path, score: Score) -> None:
        self.folder, self._score = folder, score
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._queue: queue.Queue[Job] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def reserve(self, name: str) -> Job | None:
        """A job whose upload begins; None if too many wait."""
        with self._lock:
            if sum(job.state in (WAITING, RUNNING) for job in self._jobs.values()) > MOST_WAITING:
                return None
            job_id = secrets.token_urlsafe(12)
            job = self._jobs[job_id] = Job(job_id, self.folder / job_id, name)
            finished = [each for each in self._jobs.values() if each.state in (DONE, FAILED)]
            for old in finished[: max(0, len(finished) - MOST_KEPT)]:
                self._remove(old)
        job.folder.mkdir()
        return job

    def submit(self, job: Job) -> None:
        """Score it when its turn comes; its upload is complete."""
        self._queue.put(job)

    def forget(self, job: Job) -> None:
        """Its upload failed."""
        with self._lock:
            self._remove(job)

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def before(self, job: Job) -> int:
        """Number of jobs that are scored before this one."""
        with self._lock:
            unfinished = [each.id for each in self._jobs.values() if each.state in (WAITING, RUNNING)]
        return unfinished.index(job.id) if job.id in unfinished else 0

    def _remove(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _work(self) -> None:
        while True:
            job = self._queue.get()

            def report(stage: str, done: float, job: Job = job) -> None:
                job.stage, job.done = stage, done

            job.state = RUNNING
            try:
                job.result = self._score(job.folder / VIDEO, job.folder, report)
                job.state = DONE
            except (UserError, ExitRequest) as error:
                job.error = str(error).replace(f"{job.folder / VIDEO}", job.name)
            except Exception as error:  # the page goes on; the log has the rest
                logger.exception("scoring %r failed", job.name)
                memory = "out of memory; cut the video, or scale it down" if is_out_of_memory(error) else ""
                job.error = memory or f"{type(error).__name__}: {first_line(error)} (the server's log has the rest)"
            if job.error:
                job.state = FAILED
            (job.folder / VIDEO).unlink(missing_ok=True)
