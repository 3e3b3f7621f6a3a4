"""What SLURM says of jobs, and which job was submitted for which run."""

from __future__ import annotations

import getpass
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from transm3e.errors import UserError
from transm3e.files import atomic_write_text, make_folder, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.runs.lock import InUse, hold

WAIT_S = 0.5
ANSWER_S = 60  # an overloaded controller answers late, or not at all


@dataclass(frozen=True)
class QueuedJob:
    """A job that SLURM has not finished with.

    Attributes:
        state: as squeue prints it, such as PENDING, RUNNING or COMPLETING.
        reason: why it waits, such as Priority or Dependency.
        comment: what it was submitted with.
    """

    state: str
    reason: str
    comment: str


def queued_jobs() -> dict[str, QueuedJob]:
    """This user's jobs by number, tasks of arrays by "ARRAY_TASK".

    Raises:
        UserError: squeue does not answer, so that nothing is known.
    """
    format_ = "--format=%i|%T|%r|%k"
    lines = _output(["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", format_]).split("\n")
    fields = [line.strip().split("|", 3) for line in lines if line.count("|") >= 3]
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
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=True)
    except subprocess.CalledProcessError as error:
        problem = (error.stderr.strip().split("\n") or [""])[-1] or f"status {error.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    else:
        return done.stdout
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


class Submissions:
    """Jobs that were submitted for the runs of a folder, in a file that every call reads and writes.

    Args:
        file: JSON, run's folder -> its Submission.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile other calls that want to submit wait, so that no run is submitted twice.

        Raises:
            UserError: its folder cannot be written to.
        """
        make_folder(self.file.parent)
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(hold(self.file.with_suffix(".lock")))
                    break
                except InUse:
                    time.sleep(WAIT_S)
            yield

    def read(self) -> dict[Path, Submission]:
        """Submissions by run.

        Raises:
            UserError: the file is damaged.
        """
        if not self.file.is_file():
            return {}
        try:
            entries = parse_json(read_text(self.file))
            return {
                Path(run): Submission(str(e["mark"]), int(e["task"]), Path(e["logs"])) for run, e in entries.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(
                f"{self.file} is damaged ({error}), so jobs in the queue cannot be told; wait for them or end them "
                "(squeue --me, scancel), then delete the file"
            ) from error

    def write(self, submissions: Mapping[Path, Submission]) -> None:
        """Replace them all.

        Raises:
            UserError: the file cannot be written.
        """
        entries = {str(run): {**asdict(s), "logs": str(s.logs)} for run, s in submissions.items()}
        atomic_write_text(self.file, json.dumps(entries, indent=2) + "\n")
