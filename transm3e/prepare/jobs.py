"""Make one file from each of many, on several processes: what stands is kept, what fails is named, nothing foreign is touched."""

from __future__ import annotations

import errno
import multiprocessing
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2

from transm3e.data.decode import DecodeError
from transm3e.errors import UserError
from transm3e.progress import track

MADE, KEPT, FAILED = "made", "kept", "failed"
# With these the next file cannot be written either.
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
Convert = Callable[[Path, Path], bool]


class Job(NamedTuple):
    """One file to make.

    Attributes:
        name: the source as the user calls it.
        source: the file or folder to read.
        target: the file to write.
    """

    name: str
    source: Path
    target: Path


class Result(NamedTuple):
    """What became of a job: `status` is MADE, KEPT or FAILED, `reason` is "" unless it failed."""

    name: str
    status: str
    reason: str


def run_jobs(convert: Convert, jobs: Sequence[Job], workers: int, title: str) -> list[Result]:
    """`convert(source, target)` of every job with progress -> results in the order of the jobs.

    Args:
        convert: returns whether it made the file (False: what stands there is good) and raises DecodeError where
            the source is at fault; a function of a module, or a partial of one, so that it can be sent to a process.
        jobs: with targets of their own.
        workers: processes; 1 to stay in this one.
        title: of the progress bar.

    Raises:
        UserError: `workers` below 1, the disk is full or read-only, or a worker process was killed; what was made
            stands, and the next call goes on from there.
    """
    if workers < 1:
        raise UserError(f"workers {workers}: at least 1")
    attempt = partial(_attempt, convert)
    count = min(workers, len(jobs))
    results = {}
    with closing(_run_here(attempt, jobs) if count <= 1 else _run_pool(attempt, jobs, count)) as done:
        for result in track(done, title, len(jobs), "files"):
            results[result.name] = result
    return [results[job.name] for job in jobs]


def summary(results: Sequence[Result]) -> str:
    """Each failure on a line, then how many files were made, kept and failed."""
    counts = {status: sum(result.status == status for result in results) for status in (MADE, KEPT, FAILED)}
    lines = [f"{result.name}: {result.reason}" for result in results if result.status == FAILED]
    return "\n".join([*lines, ", ".join(f"{count} {status}" for status, count in counts.items())])


def stands(
    target: Path, source: Path, mark: Mapping[str, Any], found: Mapping[str, Any], count: Callable[[Path], int]
) -> bool:
    """Whether `target` need not be made again: ours, by these settings, newer than its source, and whole.

    Args:
        mark: the settings it is to be made by; "made_by" among them names the program.
        found: the mark in the file that stands there, with "frames"; {} where there is none.
        count: counts the frames of a file.

    Raises:
        DecodeError: a file without this program's mark stands there.
    """
    if not target.exists():
        return False
    if found.get("made_by") != mark["made_by"]:
        raise DecodeError(
            str(target), f"stands there and is not by {mark['made_by']}; move it, or choose another folder"
        )
    if {**found, "frames": 0} != {**mark, "frames": 0} or target.stat().st_mtime < source.stat().st_mtime:
        return False
    try:
        return count(target) == found.get("frames")
    except DecodeError:
        return False


def _attempt(convert: Convert, job: Job) -> Result:
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        return Result(job.name, MADE if convert(job.source, job.target) else KEPT, "")
    except DecodeError as error:
        reason = error.reason if error.path == str(job.source) else str(error)
    except UserError as error:
        if getattr(error.__cause__, "errno", None) in HOPELESS:
            raise
        reason = str(error)
    except (av.FFmpegError, cv2.error, OSError) as error:
        reason = " ".join(str(error).split())
    return Result(job.name, FAILED, reason)


def _run_here(attempt: Callable[[Job], Result], jobs: Sequence[Job]) -> Generator[Result, None, None]:
    yield from map(attempt, jobs)


def _run_pool(attempt: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Generator[Result, None, None]:
    # Spawned: forking a process that has threads (torch, OpenCV) can hang. Not a Pool: it waits for killed workers.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        for future in as_completed(_submit(pool, attempt, jobs)):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f"one of {workers} worker processes was killed, most likely as the memory ran out; call again with fewer "
            "workers, finished files are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, attempt: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Future[Result]]:
    # Submitting starts the workers, which inherit what is blocked: Ctrl-C must not end them while they import.
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return [pool.submit(attempt, job) for job in jobs]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return [pool.submit(attempt, job) for job in jobs]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    # Ctrl-C reaches every process; the first one decides, and a worker ends its file.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
