"""The results of a benchmark as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from transm3e.benchmark.loader.stopwatch import STAGES
from transm3e.benchmark.results import OTHER, LoaderResults, Results, Timed, faster

MIB = 2**20
# Above this spread, medians of few rounds, and thus the ratios, are unreliable.
LARGE_SPREAD = 1.5
MODEL_NOTES = (
    "forward: inference on float clips; of a distilled student, the student alone. train: a whole step from uint8 "
    "clips on the device to new weights, with the frozen teacher where there is one.",
    "x faster: median over the rounds of the reference's time by ours, taken in turn.",
    "peak memory: over the built model and its input; train without the optimiser's own state.",
    "GMAC: multiply-adds as fvcore counts them (it calls them flops); of matrix rate: 2 operations per "
    "multiply-add, a training step as 3 forward passes (convolutions that save multiplications can pass 100%).",
    "precision: --precision decides for all; TRAIN.MIXED_PRECISION of the configs is not read.",
)
LOADER_NOTES = (
    "all loaders draw the same frames and run in turn, epoch by epoch; ratios are medians over the epochs.",
    "both sides hand out uint8 and leave normalisation to the device; +float: floats normalised in the loader.",
    "RandAugment of 4 operations: torchvision's does all of them, ours and +half each half of the time, as in the "
    "paper's recipe; +crop-first: after the crop instead of on the whole frame.",
    "stages: ms per clip on one core, the mean. open: ours also lists the packets, pytorchvideo reads the whole "
    "file. seek: to the first frame of each clip, from the keyframe before it. decode: the rest, with the "
    "conversion to RGB. crop: with resizing and flip. augment: RandAugment, jitter, erasing.",
)


def to_markdown(results: Results | LoaderResults) -> str:
    """Machine, candidates or files, measurements and how to read them."""
    parts = _of_models(results) if isinstance(results, Results) else _of_loaders(results)
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def duration(seconds: float) -> str:
    """As "1.23 s" or "45.6 ms"."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def short(value: float) -> str:
    """A number with at least three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def where(workers: int) -> str:
    """Label of a number of workers."""
    return f"{workers} process{'es' * (workers > 1)}" if workers else "one core"


def _of_models(results: Results) -> list[str]:
    machine, settings, reference = results.machine, results.settings, results.reference
    device = machine.get("gpu") or f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores"
    headline = (
        f"{device}, {settings['precision']}, torch {machine['torch']}, torchvision {machine['torchvision']}; "
        f"median (lowest to highest) of {settings['repeats']} rounds; "
        f"a large matrix product runs at {results.matrix_rate / 1e9:.0f} GFLOP/s"
    )
    candidates = [
        [
            *(one.name, "x".join(map(str, one.clip)), f"{one.parameters.inference:,}"),
            *(f"{one.parameters.teacher:,}" if one.parameters.teacher else "-", f"{one.work.macs / 1e9:.4g}"),
        ]
        for one in results.candidates
    ]
    rows = []
    for one in results.measurements:
        start, ratios = [one.mode, str(one.clips), one.name], ["-", "-"]
        memory = f"{one.peak.size_bytes / MIB:.0f} MiB" if one.peak else "does not fit"
        same = results.reference_of(one)
        if one.name == reference and one.seconds:
            ratios = ["1 (reference)", "1 (reference)"]
        elif same and same.peak and one.peak and one.seconds and same.seconds:
            less = same.peak.size_bytes / one.peak.size_bytes if one.peak.size_bytes > 0 else None
            ratios = [_ratio(faster(one, same)), _ratio(less)]
        speed = [_times(one), f"{one.clips_per_second:.3g}"] if one.seconds else ["does not fit", "-"]
        share = results.matrix_share(one)
        last = [memory, f"{share:.0%}" if share is not None else "-"]
        rows.append([*start, *speed, *(ratios if reference else []), *last])
    against = ["x faster", "x less memory"] if reference else []
    timed = [(one, f"round of {one.name} ({one.mode}, {one.clips} clips)") for one in results.measurements]
    compiled = [one.name for one in results.candidates if one.compiled]
    uncounted = sorted({name for one in results.candidates for name in one.work.uncounted})
    notes = [*_busy_note(timed), *MODEL_NOTES]
    if compiled:
        notes.append(f"trained with a compiled step (TRAIN.COMPILE): {', '.join(compiled)}; forward is not compiled.")
    if uncounted:
        notes.append(f"not counted as work: {', '.join(uncounted)}.")
    return [
        headline,
        table(["model", "clip", "parameters", "frozen teacher", "GMAC per clip"], candidates),
        table(["mode", "clips", "model", "time", "clips/s", *against, "peak memory", "of matrix rate"], rows),
        _list(notes),
    ]


def _of_loaders(results: LoaderResults) -> list[str]:
    machine, settings = results.machine, results.settings
    frames, stride, size = settings["frames_stride_size"]
    names = ("av", "opencv", "torch", "torchvision", "pytorchvideo", "torchcodec")
    versions = ", ".join(f"{name} {machine[name]}" for name in names if machine.get(name))
    headline = (
        f"{machine['cpu']}, {machine['cores']} cores; {versions}; {settings['views']} clips of {frames} frames, "
        f"stride {stride}, {size}x{size} of each video; median (lowest to highest) of {settings['repeats']} epochs"
    )
    files = [
        [
            *(one.name, str(len(one.films)), f"{sum(film.size_bytes for film in one.films):,}"),
            *(_range([getattr(film, name) for film in one.films]) for name in ("megabits_per_second", "num_frames")),
            _range([film.keyframe_every for film in one.films]),
        ]
        for one in results.file_sets
    ]
    speeds = [
        [
            *(one.files, one.name, where(one.workers), _times(one, one.clips), f"{one.clips_per_second:.3g}"),
            *(_ratio(ratio, "x") for ratio in (results.slower(one), results.gained(one))),
        ]
        for one in results.throughputs
    ]
    shown = [name for name in (*STAGES, OTHER) if any(name in one.per_clip for one in results.stages)]
    stages = []
    for one in results.stages:
        times = [short(one.per_clip[name] * 1e3) if name in one.per_clip else "-" for name in shown]
        agreement = results.agreement(one)
        shares = [f"{one.covered:.1%}", f"{agreement:.0%}" if agreement else "-"]
        stages.append([one.files, one.name, *times, short(sum(one.per_clip.values()) * 1e3), *shares])
    pinned = "pinned to one core" if settings["pinned"] else "with one thread (this system pins no process)"
    cores = f"one core: everything in one process {pinned}. Processes: each with one thread; files are in the system's cache."
    timed = [(one, f"epoch of {one.name} on {one.files}") for one in results.throughputs]
    head = ["files", "loader", "on", "time per clip", "clips/s", "ours is faster by", "gain over the originals"]
    return [
        headline,
        table(["files", "videos", "bytes", "Mbit/s", "frames", "keyframe every"], files),
        table(head, speeds),
        table(["files", "loader", *shown, "all", "of it in stages", "of the time unwatched"], stages),
        _list([*_busy_note(timed), cores, *LOADER_NOTES]),
    ]


def _times(one: Timed, by: int = 1) -> str:
    low, high = duration(min(one.seconds) / by), duration(max(one.seconds) / by)
    return f"{duration(one.median / by)} ({low} to {high})"


def _ratio(ratio: float | None, sign: str = "") -> str:
    return f"{ratio:.2f}{sign}" if ratio else "-"


def _busy_note(timed: Sequence[tuple[Timed, str]]) -> list[str]:
    """A note if the machine was busy, on the most uneven of the (timed, label) pairs."""
    with_times = [(one.spread, what) for one, what in timed if one.seconds]
    spread, what = max(with_times, key=lambda pair: pair[0], default=(0.0, ""))
    if spread <= LARGE_SPREAD:
        return []
    return [
        f"the machine was busy: the slowest {what} took {spread:.1f} times its median, so times and ratios are rough; "
        "measure again on an idle machine."
    ]


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _list(notes: Sequence[str]) -> str:
    return "\n".join(f"- {note}" for note in notes)
