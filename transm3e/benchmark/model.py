"""Measure candidates side by side: `tools/benchmark.py model`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from transm3e.benchmark.candidate import Candidate, Entry, build_candidate
from transm3e.benchmark.flops import candidate_work
from transm3e.benchmark.machine import describe
from transm3e.benchmark.memory import (
    DTYPES,
    Peak,
    Request,
    available_memory,
    check_too_large,
    cpu_peak,
    cuda_peak,
)
from transm3e.benchmark.results import Measurement, Parameters, Properties, Results
from transm3e.benchmark.step import FORWARD, TRAIN, Call, forward_call, training_call
from transm3e.benchmark.timing import matrix_rate, time_rounds
from transm3e.engine.precision import Precision, fastest_dtype
from transm3e.errors import UserError
from transm3e.models import count_parameters
from transm3e.progress import track
from transm3e.tasks import Distill

AVAILABLE_SHARE = 0.8
GIB = 2**30


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda".
        precision: "float32", "bf16" or "fp16" (autocast).
        modes: of "forward" and "train".
        batch_sizes: clips; empty = the fewest that every candidate can train with.
        grow: double the first batch size until out of memory.
        repeats, warmup: timed and untimed rounds.
        threads: of the CPU; 0 = as torch likes.
        memory_limit: GiB on the CPU for one model and its pass; 0 = 80% of what is available.
    """

    device: str
    precision: str = "float32"
    modes: tuple[str, ...] = (FORWARD, TRAIN)
    batch_sizes: tuple[int, ...] = ()
    grow: bool = False
    repeats: int = 7
    warmup: int = 2
    threads: int = 0
    memory_limit: float = 0.0


def build_precision(settings: Settings) -> Precision:
    """The device and type to compute with.

    Raises:
        UserError: the device is missing or does not support this type.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda, but torch sees no GPU; use --device cpu (python -m transm3e.doctor says what is wrong)"
        )
    if settings.device == "cpu" and settings.precision == "fp16":
        raise UserError("--precision fp16 is for GPUs; use --precision bf16 or float32 with --device cpu")
    device, dtype = torch.device(settings.device), DTYPES[settings.precision]
    if dtype == torch.bfloat16 and fastest_dtype(device) != dtype:
        print(
            "warning: this GPU has no bf16 units and emulates them; --precision fp16 is its fast one", file=sys.stderr
        )
    return Precision(device, dtype)


def measure(
    entries: Sequence[Entry],
    reference: str | None,
    settings: Settings,
    command: Sequence[str],
    keep: Callable[[Results], None] | None = None,
) -> Results:
    """Build all candidates and measure them.

    Args:
        entries, reference: see build_entries.
        command: words of the command line, for the record.
        keep: called with all results so far after every batch size, so that an interrupted benchmark has kept them.

    Raises:
        UserError: a candidate cannot be built or trained at a batch size, or the device is not there.
    """
    precision = build_precision(settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    candidates = {entry.name: _build(entry, settings, precision.device) for entry in entries}
    sizes = settings.batch_sizes or (max(candidate.samples for candidate in candidates.values()),)
    _check_batch_sizes(candidates, sizes, settings)
    properties = [
        _properties(entry, candidates[entry.name], precision.device)
        for entry in track(entries, "counting work", len(entries), "model")
    ]
    results = Results(
        list(command),
        describe(precision.device),
        _record(settings),
        matrix_rate(precision.device, precision.dtype),
        reference,
        properties,
    )
    runner = _Runner(entries, candidates, settings, precision)
    for batch_size in _grow(sizes[0], runner) if settings.grow else sizes:
        for mode in settings.modes:
            results.measurements.extend(runner.measure(mode, batch_size))
        if keep:
            keep(results)
    return results


class _Runner:
    """Measures all candidates in one mode at one batch size; remembers which ones did not fit."""

    def __init__(
        self, entries: Sequence[Entry], candidates: Mapping[str, Candidate], settings: Settings, precision: Precision
    ) -> None:
        self.entries, self.candidates, self.settings, self.device = entries, candidates, settings, precision.device
        # One per candidate: the loss scale of fp16 belongs to one model.
        self.precisions = {name: _another(precision) for name in candidates}
        self.too_large: dict[tuple[str, str], int] = {}
        self.limit = _memory_limit(settings)

    @property
    def exhausted(self) -> bool:
        """Whether no candidate fits in any mode."""
        return len(self.too_large) == len(self.entries) * len(self.settings.modes)

    def measure(self, mode: str, batch_size: int) -> list[Measurement]:
        title = f"{mode}, batch {batch_size}"
        peaks = {
            entry.name: self._peak(entry, mode, batch_size)
            for entry in track(self.entries, f"{title}: memory", len(self.entries), "model")
        }
        calls = {name: self._warmed(name, mode, batch_size) for name, peak in peaks.items() if peak}
        ready = {name: call for name, call in calls.items() if call}
        seconds = self._times(ready, mode, batch_size, title)
        return [Measurement(name, batch_size, tuple(seconds.get(name, ())), mode, peak) for name, peak in peaks.items()]

    def _times(self, calls: Mapping[str, Call], mode: str, batch_size: int, title: str) -> dict[str, list[float]]:
        try:
            return time_rounds(calls, self.settings.repeats, self.settings.warmup, self.device, title)
        except RuntimeError as error:
            # Each fits alone, but not together with the batches of the others.
            check_too_large(error, f"{' beside '.join(calls)} ({title})")
        for name in calls:
            self._mark_too_large(name, mode, batch_size)
        return {}

    def _peak(self, entry: Entry, mode: str, batch_size: int) -> Peak | None:
        if batch_size >= self.too_large.get((entry.name, mode), batch_size + 1):
            return None
        if self.device.type == "cuda":
            peak = cuda_peak(self.candidates[entry.name], mode, batch_size, self.precisions[entry.name])
        else:
            settings = self.settings
            peak = cpu_peak(Request(entry, mode, batch_size, settings.precision, torch.get_num_threads(), self.limit))
        if peak is None:
            self.too_large[entry.name, mode] = batch_size
        return peak

    def _warmed(self, name: str, mode: str, batch_size: int) -> Call | None:
        """The call to time, run once, which also compiles it; None if it does not fit with the optimiser's state."""
        candidate = self.candidates[name]
        try:
            batch = candidate.batch(batch_size, self.device)
            call = (forward_call if mode == FORWARD else training_call)(candidate, batch, self.precisions[name])
            call()
            return call
        except RuntimeError as error:
            check_too_large(error, f"{name} ({mode}, batch {batch_size})")
        self._mark_too_large(name, mode, batch_size)
        return None

    def _mark_too_large(self, name: str, mode: str, batch_size: int) -> None:
        """Remember the size, and discard the state of the interrupted step."""
        self.too_large[name, mode] = batch_size
        self.candidates[name].reset()
        self.precisions[name] = _another(self.precisions[name])
        torch.cuda.empty_cache()


def _another(precision: Precision) -> Precision:
    return Precision(precision.device, precision.dtype)


def _build(entry: Entry, settings: Settings, device: torch.device) -> Candidate:
    return build_candidate(entry, device, with_teacher=TRAIN in settings.modes)


def _grow(first: int, runner: _Runner) -> Iterator[int]:
    size = first
    while not runner.exhausted:
        yield size
        size *= 2


def _check_batch_sizes(candidates: Mapping[str, Candidate], sizes: Sequence[int], settings: Settings) -> None:
    if TRAIN not in settings.modes:
        return
    for name, candidate in candidates.items():
        for size in sizes:
            if size % candidate.samples:
                raise UserError(
                    f"--batch-sizes {size}: a training step of {name} takes {candidate.samples} clips of each video "
                    f"(AUG.NUM_SAMPLE); use multiples of {candidate.samples}, --modes forward, or "
                    "AUG.NUM_SAMPLE 1 DISTILL.PAIR_CASE 1"
                )


def _properties(entry: Entry, candidate: Candidate, device: torch.device) -> Properties:
    task = candidate.task
    teacher = count_parameters(task.teacher) if isinstance(task, Distill) else 0
    parameters = Parameters(count_parameters(task.model, trainable_only=True), count_parameters(task.model), teacher)
    work = candidate_work(candidate, device)
    return Properties(entry.name, entry.source, candidate.clip_size, parameters, work, candidate.compiled)


def _memory_limit(settings: Settings) -> int:
    if settings.device == "cuda":
        return 0
    if settings.memory_limit:
        return round(settings.memory_limit * GIB)
    available = available_memory()
    if available is None and settings.grow:
        raise UserError("--grow: the available memory is unknown on this system; give --memory-limit in GiB")
    # 0 would mean no limit.
    return 0 if available is None else max(1, round(available * AVAILABLE_SHARE))


def _record(settings: Settings) -> dict:
    names = ("device", "precision", "modes", "repeats", "warmup", "grow")
    return {name: getattr(settings, name) for name in names}
