"""Make a table's missing runs: each in its own process, after the runs that it starts from, as many at once as slots.

All state is in the runs' folders, so the same call continues after any interruption: a finished run is not repeated, a
stopped one is resumed, and a run that another process is making is waited for.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from transm3e.engine.processes.signals import stop_request
from transm3e.errors import RESUMES, ExitRequest
from transm3e.runs.folder import GPUS, LOCK
from transm3e.runs.lock import Owner, holder
from transm3e.tables.jobs import PlannedRun
from transm3e.tables.progress import DONE, ELSEWHERE, RUNNING, WAITING, RunProgress, initial_progress, last_line

POLL_S = 0.5

Watch = Callable[[Sequence[RunProgress]], None]
Poll = Callable[[], int | None]  # exit status, or None while it runs


class Runner:
    """Runs jobs in processes.

    Args:
        jobs: the runs to make; a run comes after those that it starts from.
        command: the program and its arguments before `--cfg`.
        slots: environment variables, one mapping per concurrent run.
        logs: folder of the processes' outputs, one file per run, appended to.
        watch: called with every job's progress about twice a second.
    """

    def __init__(
        self,
        jobs: Sequence[PlannedRun],
        command: Sequence[str],
        slots: Sequence[Mapping[str, str]],
        logs: Path,
        watch: Watch = lambda progress: None,
    ) -> None:
        self.command, self.slots, self.watch = tuple(command), tuple(slots), watch
        self.progress = initial_progress(jobs, logs)
        self._polls: dict[Path, Poll] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._taken: dict[Path, int] = {}  # slots in use, also by runs that another process has begun

    def run(self) -> list[RunProgress]:
        """Make all runs; a failed run stops only those that start from it.

        Raises:
            ExitRequest: on SIGINT or SIGTERM, after all runs have stopped.
        """
        with stop_request() as stop:
            while not stop.signal_number and not all(p.is_over for p in self.progress.values()):
                self._step()
                self.watch(list(self.progress.values()))
                time.sleep(POLL_S)
            if stop.signal_number:
                raise ExitRequest(self._stop(), 128 + stop.signal_number)
        self.watch(list(self.progress.values()))
        return list(self.progress.values())

    def _step(self) -> None:
        for key, poll in list(self._polls.items()):
            if (status := poll()) is not None:
                self._end(key, status)
        # First find the slots in use, then start runs in the free ones.
        for progress in self.progress.values():
            if progress.state in (WAITING, ELSEWHERE):
                self._check_lock(progress, holder(progress.job.run.folder / LOCK))
        for progress in self.progress.values():
            if progress.state == WAITING:
                self._try_to_start(progress)

    def _check_lock(self, progress: RunProgress, owner: Owner | None) -> None:
        if owner is None:
            progress.state = WAITING
            self._taken.pop(progress.job.key, None)
        elif progress.state == WAITING:
            progress.state = ELSEWHERE
            slot = self._slot_of(owner)
            if slot is not None:
                self._taken[progress.job.key] = slot

    def _slot_of(self, owner: Owner) -> int | None:
        """The slot that another process of this host uses: the one with its GPUs, else any free one."""
        if not owner.process.endswith(f" on {socket.gethostname()}"):
            return None
        free = self._free()
        same = [slot for slot in free if self.slots[slot].get(GPUS, "") == owner.note]
        return next(iter(same or free), None)

    def _free(self) -> list[int]:
        return [slot for slot in range(len(self.slots)) if slot not in self._taken.values()]

    def _try_to_start(self, progress: RunProgress) -> None:
        progress.check_needs(self.progress)
        free = self._free()
        if progress.is_over or not free or any(need.state != DONE for need in progress.needs(self.progress)):
            return
        if not progress.check_done():
            progress.state = RUNNING
            self._polls[progress.job.key] = self._start(progress, self.slots[free[0]])
            self._taken[progress.job.key] = free[0]

    def _start(self, progress: RunProgress, variables: Mapping[str, str]) -> Poll:
        with progress.log.open("ab") as log:
            # Its own process group, so that Ctrl-C reaches it only once, through this process.
            process = subprocess.Popen(
                progress.words(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        self._children.append(process)
        return process.poll

    def _end(self, key: Path, status: int) -> None:
        del self._polls[key], self._taken[key]
        progress = self.progress[key]
        progress.state = WAITING
        if not progress.check_done() and holder(progress.job.run.folder / LOCK) is None:
            progress.fail(self._reason(progress, status))

    def _reason(self, progress: RunProgress, status: int) -> str:
        return f"status {status}: {last_line(progress.log)}"

    def _stop(self) -> str:
        for process in self._children:
            process.terminate()
        for process in self._children:
            process.wait()
        return f"stopped; {RESUMES} here"
