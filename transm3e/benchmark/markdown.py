"""A benchmark's figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from transm3e.benchmark.results import Figures, Measurement, Results

MIB = 2**20
# Above it a median of a few rounds, and with it the ratios, may be off.
LARGE_SPREAD = 1.5


def to_markdown(results: Results) -> str:
    """Machine, contestants, measurements and how to read them."""
    tables = [_contestants(results), _measurements(results), _notes(results)]
    return "\n\n".join([_headline(results), *tables]) + "\n"


def _headline(results: Results) -> str:
    machine, settings = results.machine, results.settings
    where = machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores"
    return (
        f"{where}, {settings['precision']}, torch {machine['torch']}, torchvision {machine['torchvision']}; "
        f"median (lowest to highest) of {settings['repeats']} rounds; "
        f"a large matrix product runs at {results.matrix_rate / 1e9:.0f} GFLOP/s"
    )


def _contestants(results: Results) -> str:
    rows = [_contestant_row(figures) for figures in results.contestants]
    return table(["model", "clip", "parameters", "frozen teacher", "GMAC per clip"], rows)


def _contestant_row(figures: Figures) -> list[str]:
    parameters = figures.parameters
    teacher = f"{parameters.teacher:,}" if parameters.teacher else "-"
    clip = "x".join(map(str, figures.clip))
    return [figures.name, clip, f"{parameters.inference:,}", teacher, f"{figures.work.macs / 1e9:.4g}"]


def _measurements(results: Results) -> str:
    against = ["x faster", "x less memory"] if results.reference else []
    head = ["mode", "clips", "model", "time", "clips/s", *against, "peak memory", "of matrix rate"]
    return table(head, [_row(results, one) for one in results.measurements])


def _row(results: Results, one: Measurement) -> list[str]:
    start = [one.mode, str(one.batch_size), one.name]
    memory = f"{one.peak.size_bytes / MIB:.0f} MiB" if one.peak else "does not fit"
    if not one.seconds:
        return [*start, "does not fit", "-", *(["-", "-"] if results.reference else []), memory, "-"]
    time = f"{duration(one.median)} ({duration(min(one.seconds))} to {duration(max(one.seconds))})"
    share = results.matrix_share(one)
    return [
        *(*start, time, f"{one.clips_per_second:.3g}", *(_ratios(results, one) if results.reference else [])),
        *(memory, f"{share:.0%}" if share is not None else "-"),
    ]


def _ratios(results: Results, one: Measurement) -> list[str]:
    if one.name == results.reference:
        return ["1 (reference)", "1 (reference)"]
    faster, partner = results.faster(one), results.partner(one)
    less = (
        partner.peak.size_bytes / one.peak.size_bytes
        if partner and partner.peak and one.peak and one.peak.size_bytes > 0
        else None
    )
    return [f"{ratio:.2f}" if ratio is not None else "-" for ratio in (faster, less)]


def _notes(results: Results) -> str:
    notes = [
        *_busy(results),
        "- forward: inference on float clips; of a distilled student, the student alone. train: a whole step from uint8 "
        "clips on the device to new weights, with the frozen teacher where there is one.",
        "- x faster: median over the rounds of the reference's time by ours, taken in turn.",
        "- peak memory: over the built model and its input; train without the optimiser's own state.",
        "- GMAC: multiply-adds as fvcore counts them (it calls them flops); of matrix rate: 2 operations per "
        "multiply-add, a training step as 3 forward passes (convolutions that save multiplications can pass 100%).",
        "- precision: --precision decides for all; TRAIN.MIXED_PRECISION of the configs is not read.",
    ]
    compiled = [figures.name for figures in results.contestants if figures.compiled]
    if compiled:
        notes.append(f"- trained with a compiled step (TRAIN.COMPILE): {', '.join(compiled)}; forward is not compiled.")
    uncounted = sorted({name for figures in results.contestants for name in figures.work.uncounted})
    if uncounted:
        notes.append(f"- not counted as work: {', '.join(uncounted)}.")
    return "\n".join(notes)


def _busy(results: Results) -> list[str]:
    timed = [one for one in results.measurements if one.seconds]
    worst = max(timed, key=lambda one: one.spread, default=None)
    if worst is None or worst.spread <= LARGE_SPREAD:
        return []
    return [
        f"- the machine was busy: the slowest round of {worst.name} ({worst.mode}, {worst.batch_size} clips) took "
        f"{worst.spread:.1f} times its median, so times and ratios are rough; measure again on an idle machine."
    ]


def duration(seconds: float) -> str:
    """As "1.23 s" or "45.6 ms"."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
