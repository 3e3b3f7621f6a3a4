"""Progress of all runs in one view on standard error: a block that is redrawn for a person, plain lines for a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from transm3e.foreign.json_text import parse_json
from transm3e.progress import on_terminal
from transm3e.tables.progress import DONE, ELSEWHERE, FAILED, QUEUED, RUNNING, WAITING, Progress

LINE_EVERY_S = 60.0
REDRAW_EVERY_S = 2.0
TAIL_BYTES = 8192
MARK = "json_stats: "
SHOWN = ("epoch", "iter", "eta", "loss", "split", "map")


class View:
    """Shows progress; call it as often as you like."""

    def __init__(self) -> None:
        self._drawn, self._last = 0, 0.0
        self._states: dict[str, str] = {}

    def __call__(self, progress: Sequence[Progress]) -> None:
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

    def _draw(self, progress: Sequence[Progress], changed: Sequence[Progress]) -> None:
        width = shutil.get_terminal_size().columns - 1
        if self._drawn:
            # Back to the block's first line, and clear from there.
            print(f"\x1b[{self._drawn}F\x1b[J", end="", file=sys.stderr)
        for failed in (p for p in changed if p.state == FAILED):
            print(describe(failed), file=sys.stderr)
        lines = [summary(progress), *(f"  {describe(p)}" for p in progress if p.state in (RUNNING, ELSEWHERE))]
        self._print([line[:width] for line in lines])
        self._drawn = len(lines)

    def _print(self, lines: Sequence[str]) -> None:
        print("\n".join(lines), file=sys.stderr, flush=True)
        self._last = time.monotonic()


def summary(progress: Sequence[Progress]) -> str:
    """How many runs are in which state."""
    counts = Counter(p.state for p in progress)
    states = (DONE, RUNNING, ELSEWHERE, QUEUED, WAITING, FAILED)
    return f"{len(progress)} runs: " + ", ".join(f"{counts[state]} {state}" for state in states if counts[state])


def describe(progress: Progress) -> str:
    """A run in one line: where it is, or why it failed and where its log lies."""
    if progress.state == FAILED:
        return f"{progress.job.name}: failed, {progress.reason}; log: {progress.log}"
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
    except ValueError:  # the line's beginning lies before the tail
        return {}
    return stats if isinstance(stats, dict) else {}
