"""Run a function on each of many files: in processes that may crash or be killed, or on threads; for all or one shard.

Files that are up to date are kept, failures are named, files of other programs are not touched. So a call can be stopped
and repeated, its shards may run anywhere at any time, and a last call without --shard merges their results.
"""

from __future__ import annotations

import argparse
import errno
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import av
import cv2

from transm3e.data.decode import DecodeError
from transm3e.errors import UserError, first_line
from transm3e.progress import map_on_threads, track

Item = TypeVar("Item")
Answer = TypeVar("Answer")
MADE, KEPT, FAILED = "made", "kept", "failed"
# After these errors the next file cannot be written either.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class NoResult:
    """Takes the place of an answer: why there is none, in one line."""

    reason: str


@dataclass(frozen=True)
class Shard:
    """Every `count`-th item, starting at `index`."""

    index: int = 0
    count: int = 1

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its items; shards are disjoint, and together they hold all items."""
        return items[self.index :: self.count]

    @property
    def is_all(self) -> bool:
        return self.count == 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


ALL = Shard()


def parse_shard(text: str) -> Shard:
    """ "0/4" -> the first of four.

    Raises:
        ArgumentTypeError: anything else.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1, such as 0/4")
    return Shard(int(index), int(count))


def add_job_options(parser: argparse.ArgumentParser, workers: int | None = None) -> None:
    """Add --workers and --shard, and --slurm and --jobs, which transm3e.tables.cluster.shards handles."""
    default = "one per CPU core" if workers is None else str(workers)
    parser.add_argument(
        "--workers", type=int, default=workers or cores(), metavar="N", help=f"files at a time; default: {default}"
    )
    parser.add_argument(
        "--shard",
        type=parse_shard,
        default=ALL,
        metavar="I/N",
        help="do this part only; a last call without it merges all",
    )
    parser.add_argument(
        "--slurm", nargs="*", metavar="NAME=VALUE", help="run as SLURM jobs with these options of sbatch"
    )
    parser.add_argument(
        "--jobs", type=int, default=16, metavar="N", help="with --slurm: number of shards; default: %(default)s"
    )


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_each(
    function: Callable[[Item], Answer],
    items: Sequence[Item],
    workers: int,
    title: str,
    timeout: float = 0.0,
    threads: bool = False,
    unit: str = "files",
) -> Iterator[tuple[int, Answer | NoResult]]:
    """Apply `function` to every item, with progress; an item that crashes or hangs its process loses that item only.

    Args:
        function: its exceptions become NoResult, except UserError, which ends the work. Processes need a module-level
            function or a partial of one.
        items: for processes, picklable.
        workers: at a time, at least 1.
        title: of the progress bar.
        timeout: seconds per item before its process is killed; 0 = no limit, and a single worker runs in this process.
        threads: use threads, which share the function; for functions that release Python's lock or hold a network.

    Yields:
        (index of the item, its answer or NoResult), in order of completion; from threads in the order of the items.
    """
    if workers < 1:
        raise UserError(f"workers {workers}: at least 1")
    count = min(workers, len(items))
    if threads:
        answers = map_on_threads(lambda each: (each[0], _answer(function, each[1])), enumerate(items), workers)
    elif timeout or count > 1:
        answers = _on_processes(function, items, count, timeout)
    else:
        answers = ((number, _answer(function, item)) for number, item in enumerate(items))
    with closing(answers):
        yield from track(answers, title, len(items), unit)


class FileJob(NamedTuple):
    """One file to make.

    Attributes:
        name: the source as the user calls it.
        source: the file or folder to read.
        target: the file to write.
    """

    name: str
    source: Path
    target: Path


class Outcome(NamedTuple):
    """What became of a job: `status` is MADE, KEPT or FAILED, `reason` is "" unless it failed."""

    name: str
    status: str
    reason: str


def make_files(
    convert: Callable[[Path, Path], bool], jobs: Sequence[FileJob], workers: int, title: str, shard: Shard = ALL
) -> list[Outcome]:
    """Call `convert(source, target)` for every job of a shard, with progress -> outcomes in the order of the jobs.

    Args:
        convert: returns whether it made the file (False: it was up to date) and raises DecodeError where the source is
            at fault; see run_each.
        jobs: no two with the same target.

    Raises:
        UserError: `workers` below 1, or the disk is full or read-only; finished files are kept.
    """
    jobs = shard.of(jobs)
    outcomes = {}
    for number, found in run_each(partial(_attempt, convert), jobs, workers, title):
        name = jobs[number].name
        outcomes[number] = Outcome(name, FAILED, found.reason) if isinstance(found, NoResult) else Outcome(name, *found)
    return [outcomes[number] for number in range(len(jobs))]


def summary(outcomes: Sequence[Outcome], shard: Shard = ALL) -> str:
    """Each failure on a line, then how many files were made, kept and failed."""
    counts = {status: sum(each.status == status for each in outcomes) for status in (MADE, KEPT, FAILED)}
    lines = [f"{each.name}: {each.reason}" for each in outcomes if each.status == FAILED]
    lines.append(", ".join(f"{count} {status}" for status, count in counts.items()))
    return "\n".join(lines if shard.is_all else [*lines, merge_hint(shard)])


def merge_hint(shard: Shard) -> str:
    """What the user does after a shard."""
    return f"shard {shard} is done; when all shards are done, the same call without --shard merges them"


def is_up_to_date(
    target: Path, source: Path, mark: Mapping[str, Any], found: Mapping[str, Any], count: Callable[[Path], int]
) -> bool:
    """Whether `target` can be kept: made by this program with these settings, newer than its source, and complete.

    Args:
        mark: the settings; "made_by" among them names the program.
        found: the mark of the existing file, with "frames"; {} where it has none.
        count: counts the frames of a file.

    Raises:
        DecodeError: `target` is a file without this program's mark.
    """
    if not target.exists():
        return False
    if found.get("made_by") != mark["made_by"]:
        raise DecodeError(
            str(target), f"exists and was not made by {mark['made_by']}; move it, or choose another folder"
        )
    if {**found, "frames": 0} != {**mark, "frames": 0} or target.stat().st_mtime < source.stat().st_mtime:
        return False
    try:
        return count(target) == found.get("frames")
    except DecodeError:
        return False


def _attempt(convert: Callable[[Path, Path], bool], job: FileJob) -> tuple[str, str]:
    """Status and reason."""
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        return (MADE if convert(job.source, job.target) else KEPT), ""
    except DecodeError as error:
        return FAILED, error.reason if error.path == str(job.source) else str(error)
    except UserError as error:
        if getattr(error.__cause__, "errno", None) in DISK_ERRORS:
            raise
        return FAILED, str(error)
    except (av.FFmpegError, cv2.error, OSError) as error:
        return FAILED, " ".join(str(error).split())


def _answer(function: Callable[[Item], Answer], item: Item) -> Answer | NoResult:
    try:
        return function(item)
    except UserError:
        raise
    except Exception as error:  # any fault that a foreign file causes is reported for that file
        return NoResult(f"cannot be used: {type(error).__name__}: {first_line(error)}")


Answers = Generator[tuple[int, Any], None, None]


def _on_processes(function: Callable[[Item], Answer], items: Sequence[Item], workers: int, timeout: float) -> Answers:
    waiting = deque(enumerate(items))
    pool: list[_Worker[Item, Answer]] = []
    try:
        pool.extend(_Worker(function, timeout) for _ in range(workers))
        while True:
            for worker in pool:
                if worker.number is None and waiting:
                    worker.give(*waiting.popleft())
            busy = [worker for worker in pool if worker.number is not None]
            if not busy:
                return
            patience = min(worker.deadline for worker in busy) - time.monotonic() if timeout else None
            ready = wait([worker.connection for worker in busy], patience and max(0.0, patience))
            for worker in busy:
                number = worker.number
                if number is not None and (worker.connection in ready or time.monotonic() > worker.deadline):
                    yield number, worker.take()
    finally:
        for worker in pool:
            worker.end()


class _Worker(Generic[Item, Answer]):
    """A process that applies a function to one item after the other.

    Attributes:
        number: index of the current item, None when idle.
        deadline: when it is killed, by time.monotonic().
    """

    def __init__(self, function: Callable[[Item], Answer], timeout: float) -> None:
        self._function, self._timeout = function, timeout
        self.number: int | None = None
        self.deadline = float("inf")
        self._start()

    def _start(self) -> None:
        context = _context(self._function)
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._function, theirs), daemon=True)
        with _ctrl_c_blocked():
            self._process.start()
        theirs.close()
        self._is_new = True

    def give(self, number: int, item: Item) -> None:
        with suppress(EOFError, ConnectionError):  # it died meanwhile; take() reports that
            if self._is_new:
                self.connection.recv()  # its start-up time does not count against an item
                self._is_new = False
            self.connection.send(item)
        self.number = number
        self.deadline = time.monotonic() + (self._timeout or float("inf"))

    def take(self) -> Answer | NoResult:
        """The answer received; a process that died or exceeded its time limit is replaced."""
        self.number = None
        if self.connection.poll():
            try:
                answer = self.connection.recv()
            except (EOFError, ConnectionError):
                self._process.join()
                out_of_memory = self._process.exitcode == -signal.SIGKILL
                reason = (
                    "its process was killed, probably out of host memory; call again with fewer workers"
                    if out_of_memory
                    else "the decoder crashed on it; re-encode it"
                )
            else:
                if isinstance(answer, UserError):
                    raise answer
                return answer
        else:
            reason = f"took longer than {self._timeout:g} s; raise --timeout, or re-encode it"
            self._process.kill()
        self.end()
        self._start()
        return NoResult(reason)

    def end(self) -> None:
        """End it after its current file; with a time limit at once, since it may hang."""
        if self._timeout:
            self._process.kill()
        self.connection.close()
        self._process.join()


def _context(function: Any) -> Any:
    # fork would copy the locks of the threads that run here (torch's, OpenCV's).
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    while isinstance(function, partial):
        function = function.args[0] if function.args and callable(function.args[0]) else function.func
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])  # imported once for all of them
    return context


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes started within inherit the blocked signal: Ctrl-C must not end them while they import."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; this process finishes its file
    cv2.setNumThreads(1)
    answer: Any = None  # the first message only says that this process is ready
    while True:
        try:
            connection.send(answer)
            item = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer = _answer(function, item)
        except UserError as error:
            answer = error
