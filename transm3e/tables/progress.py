"""Progress of a table's runs, and one view of all of them on standard error."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transm3e.errors import UserError
from transm3e.files import make_folder
from transm3e.foreign.json_text import parse_json
from transm3e.progress import on_terminal
from transm3e.tables.jobs import PlannedRun

WAITING, QUEUED, RUNNING, ELSEWHERE = "waiting", "queued", "running", "running elsewhere"
DONE, FAILED = "done", "failed"
LINE_EVERY_S, REDRAW_EVERY_S = 60.0, 2.0
TAIL_BYTES = 8192
MARK = "json_stats: "
SHOWN = ("epoch", "iter", "eta", "loss", "split", "map")
# srun only reports that a task has ended; slurmstepd says why.
IGNORED_PREFIXES = ("srun: ",)


@dataclass
class RunProgress:
    """Progress of a job.

    Attributes:
        job: the job.
        log: the file of its process's output.
        state: WAITING, QUEUED (submitted to a cluster), RUNNING, ELSEWHERE (another process holds its folder), DONE or
            FAILED.
        reason: why it failed, or why it waits in the cluster's queue.
    """

    job: PlannedRun
    log: Path
    state: str = WAITING
    reason: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in (DONE, FAILED)

    def words(self, command: Sequence[str]) -> list[str]:
        """The command line of its run; `command`: the program and its arguments before `--cfg`."""
        return [*command, "--cfg", str(self.job.config), "--opts", *map(str, self.job.words)]

    def fail(self, reason: str) -> None:
        """Mark it as failed."""
        self.state, self.reason = FAILED, reason

    def check_done(self) -> bool:
        """Update the state from its files, and return whether it is over; a damaged results.json fails this run only."""
        try:
            if self.job.is_done():
                self.state, self.reason = DONE, ""
        except UserError as error:
            self.fail(str(error))
        return self.is_over

    def check_needs(self, others: Mapping[Path, RunProgress]) -> None:
        """Mark it as failed if a run that it starts from has failed."""
        for need in self.needs(others):
            if need.state == FAILED:
                self.fail(f"it starts from {need.job.name}, which failed")

    def needs(self, others: Mapping[Path, RunProgress]) -> list[RunProgress]:
        """Those of the runs to be made that it starts from."""
        return [others[key] for key in self.job.needs if key in others]


def initial_progress(jobs: Iterable[PlannedRun], logs: Path) -> dict[Path, RunProgress]:
    """Initial progress of each job by key; makes the folder of logs."""
    make_folder(logs)
    return {job.key: RunProgress(job, logs / f"{job.name}.log") for job in jobs}


def last_line(log: Path) -> str:
    """The last informative line of a log; "" where there is none."""
    if not log.is_file():
        return ""
    lines = (line.strip() for line in reversed(log.read_text(encoding="utf-8", errors="replace").split("\n")))
    return next((line for line in lines if line and not line.startswith(IGNORED_PREFIXES)), "")


class View:
    """Shows progress: on a terminal a block that is redrawn, else plain lines; it may be called at any rate."""

    def __init__(self) -> None:
        self._drawn, self._last = 0, 0.0
        self._states: dict[str, str] = {}

    def __call__(self, progress: Sequence[RunProgress]) -> None:
        changed = [p for p in progress if self._states.get(p.job.name, WAITING) != p.state]
        self._states = {p.job.name: p.state for p in progress}
        since = time.monotonic() - self._last
        if on_terminal():
            if changed or since >= REDRAW_EVERY_S:
                self._draw(progress, changed)
        elif changed or since >= LINE_EVERY_S:
            active = [p for p in progress if p.state in (RUNNING, ELSEWHERE)] if since >= LINE_EVERY_S else []
            told = [*changed, *(p for p in active if p not in changed)]
            self._print([summary(progress), *(f"  {describe(p)}" for p in told)])

    def _draw(self, progress: Sequence[RunProgress], changed: Sequence[RunProgress]) -> None:
        width = shutil.get_terminal_size().columns - 1
        if self._drawn:
            # Move to the block's first line and clear from there.
            print(f"\x1b[{self._drawn}F\x1b[J", end="", file=sys.stderr)
        for failed in (p for p in changed if p.state == FAILED):
            print(describe(failed), file=sys.stderr)
        lines = [summary(progress), *(f"  {describe(p)}" for p in progress if p.state in (RUNNING, ELSEWHERE))]
        self._print([line[:width] for line in lines])
        self._drawn = len(lines)

    def _print(self, lines: Sequence[str]) -> None:
        print("\n".join(lines), file=sys.stderr, flush=True)
        self._last = time.monotonic()


def summary(progress: Sequence[RunProgress]) -> str:
    """How many runs are in which state."""
    counts = Counter(p.state for p in progress)
    states = (DONE, RUNNING, ELSEWHERE, QUEUED, WAITING, FAILED)
    return f"{len(progress)} runs: " + ", ".join(f"{counts[state]} {state}" for state in states if counts[state])


def failure(progress: RunProgress) -> str:
    """Why a run failed, and the path of its log."""
    return f"failed, {progress.reason}; log: {progress.log}"


def describe(progress: RunProgress) -> str:
    """A run in one line: its progress or its failure."""
    if progress.state == FAILED:
        return f"{progress.job.name}: {failure(progress)}"
    if progress.state not in (RUNNING, ELSEWHERE):
        return f"{progress.job.name}: {progress.state}" + (f" ({progress.reason})" if progress.reason else "")
    stats = last_stats(progress.job.run.folder / "stdout.log")
    facts = [f"{key} {stats[key]}" for key in SHOWN if key in stats]
    return f"{progress.job.name}: {progress.state} {' '.join(facts)}".rstrip()


def last_stats(log: Path) -> dict[str, object]:
    """The newest json_stats line of a run's log; {} where there is none yet."""
    if not log.is_file():
        return {}
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode("utf-8", errors="replace").split("\n")[:-1]
    found = next((line.partition(MARK)[2] for line in reversed(lines) if MARK in line), "")
    try:
        stats = parse_json(found) if found else {}
    except ValueError:  # the line begins before the tail that was read
        return {}
    return stats if isinstance(stats, dict) else {}
