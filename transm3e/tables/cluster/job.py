"""What a cluster runs for one run of a table: it starts the run, stops it on preemption, and goes on when requeued.

Imported where submitit is installed; the cluster's node imports it to read the pickle of a job, so it stays light.
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

# The longest grace time of preempted jobs that is waited for; clusters give seconds to minutes.
GRACE_S = 600.0
POLL_S = 0.2


@dataclass
class ClusterJob(Checkpointable):
    """A run as a job; fields are plain, since submitit pickles it.

    Before the end of its time, and on preemption with a signal of its own (SLURM's PreemptParameters=send_user_signal),
    submitit calls `checkpoint` and requeues the job: run_net.py goes on from its checkpoint.

    Attributes:
        words: the run's command line.
        environment: variables beside those of the job.
        needs: name -> last checkpoint of the runs that it starts from.
        patience_s: how long those may take to be seen here (NFS shows new files late).
        save_s: how long the run may take to save its checkpoint before it is killed.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    needs: Mapping[str, str]
    patience_s: float
    save_s: float
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False, compare=False)
    _got_sigterm: bool = field(default=False, init=False, repr=False, compare=False)

    def __call__(self) -> None:
        """Run to the end; ends the process with the run's status if it fails, so that the cluster counts a failure."""
        with exit_with_message():
            self._wait_for_needs()
        status = self._run()
        if status:
            sys.exit(status)

    def checkpoint(self) -> DelayedSubmission:
        """Stop the run with a checkpoint of its own; returns what is to run next time: the same."""
        if self._process:
            self._process.terminate()
            self._await_end(self._process)
        return DelayedSubmission(replace(self))

    def _wait_for_needs(self) -> None:
        begin = time.monotonic()
        for name, file in self.needs.items():
            while not Path(file).is_file():
                if time.monotonic() - begin >= self.patience_s:
                    raise UserError(f"it starts from {name}, which has not left {file}; look for that run's failure")
                time.sleep(POLL_S)

    def _run(self) -> int:
        # Between the start of the process and its being known here no signal may come.
        held = {_preemption_signal(), signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
        signal.signal(signal.SIGTERM, self._stop)
        # A process group of its own, since clusters send signals to the job's group.
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
            # SLURM requeues a preempted job that it ends itself, not one that ends by itself in its grace time.
            time.sleep(GRACE_S)
        return status if status >= 0 else 128 - status

    def _stop(self, _signal_number: int, _frame: object) -> None:
        """SIGTERM: scancel, or preemption without a signal of its own. The run saves; whether it is requeued is SLURM's."""
        assert self._process is not None, "the signal is held back until there is one"
        self._got_sigterm = True
        self._process.terminate()

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        # Called in a signal's handler, maybe amid process.wait(), whose lock would never be free: ask the system.
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
    # Some process trackers of SLURM signal all processes of a job; run_net.py would die of this one.
    signal.signal(_preemption_signal(), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_preemption_signal(), signal.SIGTERM})
