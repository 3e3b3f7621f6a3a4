"""Runs the trials in processes of their own, so that one that hangs or crashes is a line like the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from transm3e.doctor.libraries import load
from transm3e.doctor.problem import Problem

LIMIT_S = 60
COMMAND = (sys.executable, "-m", "transm3e.doctor.trials")
ON_CPU = ("step cpu fp32", "step cpu bf16", "checkpoint", "loader")
PRECISIONS = ("fp32", "bf16", "fp16")
REINSTALL = "pip install --force-reinstall torch torchvision"
# What a trial's failure usually means, by the beginning of its name.
REMEDIES = {
    "step cuda": f"see what nvidia-smi says (other programs, ECC errors), try another GPU by CUDA_VISIBLE_DEVICES, or {REINSTALL}",
    "step cpu": f"{REINSTALL}; with an old processor try ATEN_CPU_CAPABILITY=default",
    "checkpoint": "see df -h, df -i and quota -s; set RUNS_DIR to a folder of another disk",
    "loader": "set DATA_LOADER.NUM_WORKERS 0 to go on; export OMP_NUM_THREADS=1 if it hangs, and see that OpenCV is installed "
    "once (pip list | grep opencv)",
    "group gloo": "see that this host's name resolves (getent hosts $(hostname)), or export GLOO_SOCKET_IFNAME=lo; with several "
    "hosts the name of the one interface between them",
    "group nccl": "export NCCL_DEBUG=INFO and see its last lines; if NCCL_P2P_DISABLE=1 helps, IOMMU or ACS of the PCI bus is in "
    "the way (kernel option iommu=pt, ACS off); else try NCCL_IB_DISABLE=1, NCCL_SOCKET_IFNAME of a working interface, "
    "--shm-size=8g in a container, or DIST_BACKEND gloo",
}
# What says more than the trial's name: words of the message, lower case.
SAID = {
    "out of memory": "another program uses the memory: see nvidia-smi and free -g, end it, or take another GPU by CUDA_VISIBLE_DEVICES",
    "busy or unavailable": "another process holds this GPU, which admits one (nvidia-smi -q -d COMPUTE): end it, or take another GPU",
    "sigbus": "/dev/shm is too small: start the container with --shm-size=8g or --ipc=host, or set DATA_LOADER.NUM_WORKERS 0",
    "sigill": "this processor lacks instructions that a library was built for: install builds for it, or use another host",
}


@dataclass(frozen=True)
class Trial:
    """One trial's result.

    Attributes:
        name: its words.
        seconds: how long it took; None if its process ended.
        error: what went wrong, one line; "" if nothing did.
        skipped: why it was not tried here.
        missing: the error is a library that cannot be imported.
    """

    name: str
    seconds: float | None = None
    error: str = ""
    skipped: str = ""
    missing: bool = False

    @property
    def failed(self) -> bool:
        return bool(self.error)

    def follows(self, libraries: bool, gpus: bool) -> bool:
        """Whether the cause is reported already: something is wrong with libraries, or with GPUs."""
        on_gpu = "cuda" in self.name or "nccl" in self.name
        return (libraries and (self.missing or "torchvision::nms" in self.error)) or (gpus and on_gpu)

    @property
    def shown(self) -> str:
        if self.skipped or self.error:
            return f"not tried: {self.skipped}" if self.skipped else f"FAILED: {self.error}"
        assert self.seconds is not None
        return f"{self.seconds:.2f} s" if self.seconds >= 1 else f"{self.seconds * 1e3:.0f} ms"

    @property
    def problem(self) -> Problem:
        by_words = (remedy for words, remedy in SAID.items() if words in self.error.lower())
        by_name = (remedy for beginning, remedy in REMEDIES.items() if self.name.startswith(beginning))
        return Problem(f"{self.name}: {self.error}", next(by_words, None) or next(by_name))


def try_all() -> Iterator[Trial]:
    """Every trial that this machine has the devices for, as each group of them ends."""
    torch = load("torch")
    if isinstance(torch, Exception):
        yield Trial("all", skipped="torch cannot be imported")
        return
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    yield from run_trials(ON_CPU)
    yield from run_trials(["group gloo 2"])
    for number in range(gpus):
        yield from run_trials([f"step cuda:{number} {precision}" for precision in PRECISIONS])
    if gpus:
        yield from run_trials([f"group nccl {min(gpus, 2)}"])


def run_trials(names: Sequence[str], limit_s: int = LIMIT_S) -> Iterator[Trial]:
    """Try each in turn, in one process as long as it lives."""
    waiting = list(names)
    while waiting:
        lines, end = _run([*COMMAND, str(limit_s), *waiting], limit_s * len(waiting) + limit_s)
        for line in lines:
            yield Trial(waiting.pop(0), **json.loads(line))
        if waiting:
            yield Trial(waiting.pop(0), error=end.replace("LIMIT", f"{limit_s} s"))


def _run(command: list[str], limit_s: float) -> tuple[list[str], str]:
    """The lines of JSON of a process, and how it ended."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = -signal.SIGALRM  # waiting within the kernel, where no signal reaches it
        finally:
            with suppress(ProcessLookupError):  # processes that it has started
                os.killpg(process.pid, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        lines = [line for line in out.read().splitlines() if line.startswith('{"seconds"')]
        # Indented lines are code that warnings show.
        said = [line for line in err.read().splitlines() if line.strip() and not line.startswith(" ")]
    if status == -signal.SIGALRM:
        return lines, "it hangs: no end within LIMIT"
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"its process ended with status {status}"
    return lines, f"{how}: {said[-1]}" if said else how
