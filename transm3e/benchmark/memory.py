"""Peak memory of one pass, beyond the built model and its input batch.

"forward" is one inference, "train" one forward and backward with the gradients it leaves; the optimiser's own state
(for AdamW twice the parameters) comes on top of it.
On a GPU it is the allocator's count. On a CPU it is the operating system's, so each value comes from a fresh process
(`python -m transm3e.benchmark.memory REQUEST`) in which nothing else has run. Resident sizes vary by about 20 MiB with
the C allocator's blocks.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from transm3e.benchmark.candidate import Candidate, Entry, build_candidate
from transm3e.benchmark.step import FORWARD, Call, backward_call, forward_call
from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.engine.precision import Precision
from transm3e.errors import UserError, first_line, is_out_of_memory

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OUT_OF_MEMORY = 3  # exit status of the process that measures
KILLED = -9  # by the system, out of host memory
# Of RuntimeErrors of batches that are too large, besides those that say so (is_out_of_memory); lower case.
TOO_LARGE = (
    *("allocate memory", "could not create a primitive", "could not create a memory"),  # oneDNN
    *("cublas_status_alloc_failed", "cudnn_status_alloc_failed"),
    *("32-bit index", "32bitindex"),  # more elements than a kernel can number
)
CPU, KIB = torch.device("cpu"), 1024
PROC = Path("/proc/self")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Peak:
    """Attributes: size_bytes; method, the counter it was read from."""

    size_bytes: int
    method: str


@dataclass(frozen=True)
class Request:
    """What a fresh process is to measure on the CPU.

    Attributes:
        entry: the candidate.
        mode: "forward" or "train".
        batch_size: clips.
        precision: a name of DTYPES.
        threads: of torch.
        limit: bytes that model and pass may take together; 0 = no limit.
    """

    entry: Entry
    mode: str
    batch_size: int
    precision: str
    threads: int
    limit: int = 0


def build_pass(candidate: Candidate, mode: str, batch_size: int, precision: Precision) -> Call:
    """The pass whose peak is measured; a compiled one has run once, so that compiling is not measured."""
    batch = candidate.batch(batch_size, precision.device)
    if mode == FORWARD:
        return forward_call(candidate, batch, precision)
    call = backward_call(candidate, batch, precision)
    if candidate.compiled:
        call()
        candidate.task.model.zero_grad(set_to_none=True)
    return call


def check_too_large(error: Exception, what: str) -> None:
    """Report on standard error that `what` did not fit if the error means that; otherwise raise it again."""
    if not _means_too_large(error):
        raise error
    print(f"note: {what} does not fit: {first_line(error)}", file=sys.stderr)


def cuda_peak(candidate: Candidate, mode: str, batch_size: int, precision: Precision) -> Peak | None:
    """Peak on the candidate's GPU; None if it does not fit, which is reported on standard error."""
    device = precision.device
    try:
        call = build_pass(candidate, mode, batch_size, precision)
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return Peak(torch.cuda.max_memory_allocated(device) - before, "torch.cuda.max_memory_allocated")
    except RuntimeError as error:
        check_too_large(error, f"{candidate.name} ({mode}, batch {batch_size})")
        return None
    finally:
        candidate.task.model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()


def cpu_peak(request: Request) -> Peak | None:
    """Peak on the CPU, measured in a process of its own; None if the limit or the host's memory does not suffice.

    Raises:
        UserError: the process ended otherwise; its last line says why.
    """
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "transm3e.benchmark.memory", json.dumps(asdict(request))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode in (OUT_OF_MEMORY, KILLED):
        return None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UserError(
            f"the memory of {request.entry.name} ({request.mode}, batch {request.batch_size}) could not be measured: "
            f"{lines[-1].removeprefix('error: ')}"
        )
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def resident_peak(call: Callable[[], object]) -> Peak:
    """By how much the resident size of this process rises during `call`.

    Where the kernel cannot reset its high-water mark the value is too high if the process was larger before.
    """
    _release_memory()
    method = "VmHWM" if _reset_high_water_mark() else "highest size of the process"
    before = _size("VmRSS")
    call()
    return Peak(_size("VmHWM") - before, method)


def available_memory() -> int | None:
    """Bytes that this process can still allocate, by the system or its container; None where that is unknown."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    sizes = (int(found[1]) * KIB if found else None, _left_in_container())
    return min((size for size in sizes if size is not None), default=None)


def main(argv: list[str]) -> int:
    """Measure what a request in JSON asks for; prints the Peak as JSON."""
    values = json.loads(argv[0])
    request = Request(**{**values, "entry": Entry(**{**values["entry"], "opts": tuple(values["entry"]["opts"])})})
    torch.set_num_threads(request.threads)
    if request.limit:
        # Added to what the libraries have reserved so far, much of which is never used.
        limit = _size("VmData") + request.limit
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with exit_with_message():
        try:
            candidate = build_candidate(request.entry, CPU, with_teacher=request.mode != FORWARD)
            precision = Precision(CPU, DTYPES[request.precision])
            peak = resident_peak(build_pass(candidate, request.mode, request.batch_size, precision))
        except (MemoryError, RuntimeError) as error:
            if _means_too_large(error):
                return OUT_OF_MEMORY
            print(f"error: {first_line(error)}", file=sys.stderr)
            return USER_MISTAKE
        print(json.dumps(asdict(peak)))
    return 0


def _means_too_large(error: Exception) -> bool:
    is_known = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in TOO_LARGE)
    return is_known or is_out_of_memory(error)


def _left_in_container() -> int | None:
    """Bytes left below the container's limit; cached files that the system may drop count as free."""
    limit, used, stat = (_text(CGROUP / f"memory.{name}") for name in ("max", "current", "stat"))
    if not limit.isdigit() or not used.isdigit():
        return None
    droppable = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
    return max(0, int(limit) - int(used) + (int(droppable[1]) if droppable else 0))


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def _release_memory() -> None:
    """Return freed memory to the system, so that it does not hide what a pass needs."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def _reset_high_water_mark() -> bool:
    try:
        (PROC / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _size(field: str) -> int:
    status = PROC / "status"
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text(encoding="ascii")) if status.is_file() else None
    if found:
        return int(found[1]) * KIB
    # Without /proc or these fields. On Linux ru_maxrss would include the parent's size, unlike /proc.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * KIB


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
