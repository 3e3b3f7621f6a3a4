"""The cluster job of one run of a table: it starts the run, stops it on preemption, and resumes it when requeued.

Needs submitit. The cluster's hosts import this module to unpickle a job, so its imports are few.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from submitit import JobEnvironment
from submitit.helpers import Checkpointable, DelayedSubmission

from transm3e.cli import exit_with_message
from transm3e.errors import UserError

# Longest wait for the end of a preempted job's grace time; clusters give seconds to minutes.
GRACE_S = 600.0
POLL_S = 0.2


@dataclass
class ClusterJob(Checkpointable):
    """A run as a job; fields are plain, since submitit pickles it.

    Before its time limit, and on preemption with a user signal (SLURM's PreemptParameters=send_user_signal), submitit calls
    `checkpoint` and requeues the job; run_net.py then resumes the run.

    Attributes:
        words: the run's command line.
        environment: variables added to those of the job.
        needs: name -> last checkpoint of the runs that it starts from.
        patience_s: seconds until these must be visible here (NFS shows new files late).
        save_s: seconds for saving the checkpoint before the run is killed.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    needs: Mapping[str, str]
    patience_s: float
    save_s: float
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False, compare=False)
    _got_sigterm: bool = field(default=False, init=False, repr=False, compare=False)

    def __call__(self) -> None:
        """Run to the end; if the run fails, exit with its status, so that the cluster records a failure."""
        with exit_with_message():
            self._wait_for_needs()
        status = self._run()
        if status:
            sys.exit(status)

    def checkpoint(self) -> DelayedSubmission:
        """Stop the run, which saves a checkpoint; returns the same job for submitit to requeue."""
        if self._process:
            self._process.terminate()
            self._await_end(self._process)
        return DelayedSubmission(replace(self))

    def _wait_for_needs(self) -> None:
        begin = time.monotonic()
        for name, file in self.needs.items():
            while not Path(file).is_file():
                if time.monotonic() - begin >= self.patience_s:
                    raise UserError(f"it starts from {name}, which has not written {file}; see why that run failed")
                time.sleep(POLL_S)

    def _run(self) -> int:
        # Block signals until self._process is set.
        held = {_preemption_signal(), signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
        signal.signal(signal.SIGTERM, self._stop)
        # Its own process group, since clusters signal the job's group.
        self._process = subprocess.Popen(
            self.words,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environment},
            start_new_session=True,
            preexec_fn=_leave_signals,
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
        status = self._process.wait()
        if self._got_sigterm and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            # SLURM requeues a preempted job only if SLURM ends it, not if it exits within its grace time.
            time.sleep(GRACE_S)
        return status if status >= 0 else 128 - status

    def _stop(self, _signal_number: int, _frame: object) -> None:
        """SIGTERM: scancel, or preemption without a user signal. The run saves; SLURM decides whether to requeue it."""
        assert self._process is not None, "the signal is blocked until the process has started"
        self._got_sigterm = True
        self._process.terminate()

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        # Called in a signal handler, possibly inside process.wait(), whose lock would block: ask the system instead.
        begin = time.monotonic()
        while _is_running(process.pid):
            if time.monotonic() - begin >= self.save_s:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(POLL_S)


def _is_running(process: int) -> bool:
    try:
        return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:  # it has ended and was waited for
        return False


def _preemption_signal() -> signal.Signals:
    return signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]


def _leave_signals() -> None:
    # Some of SLURM's process trackers signal all processes of a job, which would kill run_net.py.
    signal.signal(_preemption_signal(), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_preemption_signal(), signal.SIGTERM})
