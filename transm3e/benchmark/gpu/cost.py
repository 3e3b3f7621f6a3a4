"""What the paper's models cost on a GPU, and whether that is what was counted."""

from __future__ import annotations

import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from transm3e.benchmark.candidate import Candidate, Entry, build_candidate
from transm3e.benchmark.counts import GIB, GPUS, count_step
from transm3e.benchmark.gpu.rows import Row, Scale, failed
from transm3e.benchmark.markdown import duration
from transm3e.benchmark.memory import DTYPES, build_pass, cuda_peak, resident_peak
from transm3e.benchmark.step import FORWARD, TRAIN, Call, forward_call, training_call
from transm3e.benchmark.timing import time_rounds
from transm3e.engine.precision import Precision
from transm3e.layers.pooling_choice import CHOICES, fixed

KERNELS_SHOWN, NAME_SHOWN = 20, 90
MIB = 2**20
# Ways to compute the same: settings, and what to enter meanwhile.
Variant = tuple[tuple[str, ...], Callable[[], AbstractContextManager]]
VARIANTS: dict[str, Variant] = {
    "activation checkpointing": (("MODEL.ACT_CHECKPOINT", "True"), nullcontext),
    **{f"pooling {name}": ((), partial(fixed, name)) for name in CHOICES},
}
COMPILED = ("TRAIN.COMPILE", "True")


def speed(scale: Scale) -> Iterator[Row]:
    """Step and inference of the paper's models, in each way to compute them, beside the reference."""
    lead = scale.paper[0]
    reference = Entry(scale.reference, scale.reference, lead.lead, lead.opts)
    fast: dict[str, float] = {}
    for precision, base in {"float32": {}, scale.precision: fast}.items():
        for entry in (reference, *scale.paper):
            yield from _timed(scale, entry, precision, base)
    for variant, (opts, meanwhile) in VARIANTS.items():
        for plain in scale.paper:
            with meanwhile():
                yield from _timed(scale, _with(plain, variant, opts), scale.precision, fast)


def compiled(scale: Scale) -> Iterator[Row]:
    """The same steps compiled; minutes, so by itself."""
    if scale.device == "cpu":
        yield Row("TRAIN.COMPILE", "not tried on a CPU")
        return
    for plain in scale.paper:
        yield from _timed(scale, _with(plain, "compiled", COMPILED), scale.precision, {})


def counted(scale: Scale) -> Iterator[Row]:
    """A step of each as measured, beside what tools/benchmark.py counts says of it: time, kernels, memory, host waits."""
    gpu = _nearest_gpu(scale.where)
    # All are measured before any is counted: what a model keeps from step to step must be real.
    measured = {entry: _measured(scale, entry) for entry in scale.paper}
    for entry, (seconds, launches, peak, waits) in measured.items():
        counts = count_step(entry, scale.precision, scale.batch_size, gpu)
        best = f"{duration(counts.seconds[gpu])} at best on a {gpu}: {counts.moved / 1e9:.3g} GB, {counts.operations / 1e12:.3g} TFLOP"
        yield Row(f"{entry.name}: time", duration(seconds), best)
        yield Row(f"{entry.name}: kernels", f"{launches:,}", f"{counts.kernels.total():,} counted")
        yield Row(f"{entry.name}: peak memory", peak, f"{counts.saved / GIB:.2f} GiB of saved activations counted")
        expected = counts.waits.total() + counts.copies.total()
        places = ", ".join(f"{place} x{times}" for place, times in waits.items())
        fine = None if scale.device == "cpu" else waits.total() <= expected
        yield Row(f"{entry.name}: host waits", f"{waits.total()} {places}", f"{expected} counted", fine)


def kernels(scale: Scale) -> Iterator[Row]:
    """The kernels that take longest in a step of MViTv2-S."""
    step, *_ = _step(scale, scale.paper[0])
    for _ in range(scale.warmup + 1):
        step()
    found = sorted(_kernels(scale, step), key=lambda kernel: -kernel[1])
    if not found:
        yield Row(
            "none seen", "", "CUPTI is not usable here; it may be kept for root (NVreg_RestrictProfilingToAdminUsers=0)"
        )
    total = sum(microseconds for _, microseconds, _ in found)
    for name, microseconds, calls in found[:KERNELS_SHOWN]:
        yield Row(
            f"`{name[:NAME_SHOWN]}`", duration(microseconds / 1e6), f"{microseconds / total:.1%} in {calls} calls"
        )


def _timed(scale: Scale, entry: Entry, precision: str, base: dict[str, float]) -> Iterator[Row]:
    """Both modes of one candidate, beside the reference's seconds in `base`, which it sets. A failure is a row."""
    label = f"{entry.name}, {precision}"
    try:
        candidate, kind = build_candidate(entry, scale.where), Precision(scale.where, DTYPES[precision])
        batch = candidate.batch(scale.batch_size, scale.where)
        for mode, make in ((TRAIN, training_call), (FORWARD, forward_call)):
            call = make(candidate, batch, kind)
            call()
            times = time_rounds({"": call}, scale.repeats, scale.warmup, scale.where, f"{label}, {mode}")[""]
            seconds = statistics.median(times)
            value = (
                f"{duration(seconds)}, {scale.batch_size / seconds:.3g} clips/s, {_peak(scale, candidate, mode, kind)}"
            )
            if entry.name == scale.reference:
                base[mode] = seconds
            beside = f"{base[mode] / seconds:.2f}x the speed of {scale.reference}" if mode in base else ""
            yield Row(f"{label}, {mode}", value, beside)
    except Exception as error:
        yield failed(label, error)
    torch.cuda.empty_cache()


def _with(entry: Entry, variant: str, opts: tuple[str, ...]) -> Entry:
    return Entry(f"{entry.name}, {variant}", entry.source, entry.lead, (*entry.opts, *opts))


def _step(scale: Scale, entry: Entry) -> tuple[Call, Candidate, Precision]:
    """A training step in the fast precision."""
    candidate, precision = build_candidate(entry, scale.where), Precision(scale.where, DTYPES[scale.precision])
    return training_call(candidate, candidate.batch(scale.batch_size, scale.where), precision), candidate, precision


def _peak(scale: Scale, candidate: Candidate, mode: str, precision: Precision) -> str:
    if scale.device == "cuda":
        peak = cuda_peak(candidate, mode, scale.batch_size, precision)
    else:
        peak = resident_peak(build_pass(candidate, mode, scale.batch_size, precision))
    return f"{peak.size_bytes / MIB:,.0f} MiB" if peak else "memory does not suffice"


def _measured(scale: Scale, entry: Entry) -> tuple[float, int, str, Counter[str]]:
    """Seconds, kernels, peak memory and host waits of a step."""
    step, candidate, precision = _step(scale, entry)
    for _ in range(2):  # the first builds what stays
        step()
    seconds = statistics.median(time_rounds({"": step}, scale.repeats, scale.warmup, scale.where, "step")[""])
    launches = sum(calls for _, _, calls in _kernels(scale, step))
    waits = Counter(_host_waits(scale, step))
    return seconds, launches, _peak(scale, candidate, TRAIN, precision), waits


def _kernels(scale: Scale, step: Call) -> list[tuple[str, float, int]]:
    """(name, microseconds, calls) of what ran on the device in a step; on a CPU of its operations."""
    on_gpu = scale.device == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
        step()
        if on_gpu:
            torch.cuda.synchronize()
    kind, time = (DeviceType.CUDA, "device") if on_gpu else (DeviceType.CPU, "cpu")
    found = [event for event in profiler.key_averages() if event.device_type == kind]
    return [(event.key, getattr(event, f"self_{time}_time_total"), event.count) for event in found]


def _host_waits(scale: Scale, step: Call) -> Iterator[str]:
    if scale.device == "cpu":
        step()
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    yield from (f"{Path(w.filename).name}:{w.lineno}" for w in found if "synchroniz" in str(w.message))


def _nearest_gpu(device: torch.device) -> str:
    """The name in GPUS of this kind of GPU, or the newest that is not newer."""
    if device.type == "cpu":
        return next(iter(GPUS))
    capability = torch.cuda.get_device_capability(device)
    older = [name for name, gpu in GPUS.items() if gpu.capability <= capability]
    return older[-1] if older else next(iter(GPUS))
