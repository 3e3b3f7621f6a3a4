"""A loader benchmark's figures as Markdown tables."""

from __future__ import annotations

from transm3e.benchmark.loader.results import OTHER, LoaderResults, Stages, Throughput, where
from transm3e.benchmark.loader.stopwatch import STAGES
from transm3e.benchmark.markdown import LARGE_SPREAD, duration, table
from transm3e.benchmark.picture import short


def to_markdown(results: LoaderResults) -> str:
    """Machine, files, throughputs, stages and how to read them."""
    return (
        "\n\n".join([_headline(results), _files(results), _throughputs(results), _stages(results), _notes(results)])
        + "\n"
    )


def _headline(results: LoaderResults) -> str:
    machine, settings = results.machine, results.settings
    frames, stride, size = settings["frames_stride_size"]
    names = ("av", "opencv", "torch", "torchvision", "pytorchvideo", "torchcodec")
    versions = ", ".join(f"{name} {machine[name]}" for name in names if machine.get(name))
    return (
        f"{machine['cpu']}, {machine['cores']} cores; {versions}; {settings['views']} clips of {frames} frames, "
        f"stride {stride}, {size}x{size} of each video; median (lowest to highest) of {settings['repeats']} epochs"
    )


def _files(results: LoaderResults) -> str:
    rows = [
        [
            *(files.name, str(len(files.films))),
            *(
                f"{sum(film.size_bytes for film in files.films):,}",
                _range([film.megabits_per_second for film in files.films]),
            ),
            *(_range([film.num_frames for film in files.films]), _range([film.keyframe_every for film in files.films])),
        ]
        for files in results.file_sets
    ]
    return table(["files", "videos", "bytes", "Mbit/s", "frames", "keyframe every"], rows)


def _throughputs(results: LoaderResults) -> str:
    head = ["files", "loader", "on", "time per clip", "clips/s", "ours is faster by", "gain over the originals"]
    return table(head, [_throughput_row(results, one) for one in results.throughputs])


def _throughput_row(results: LoaderResults, one: Throughput) -> list[str]:
    low, high = min(one.seconds) / one.clips, max(one.seconds) / one.clips
    ratios = [f"{ratio:.2f}x" if ratio else "-" for ratio in (results.slower(one), results.gained(one))]
    time = f"{duration(one.median)} ({duration(low)} to {duration(high)})"
    return [one.files, one.name, where(one.workers), time, f"{1 / one.median:.3g}", *ratios]


def _stages(results: LoaderResults) -> str:
    names = [name for name in (*STAGES, OTHER) if any(name in one.per_clip for one in results.stages)]
    head = ["files", "loader", *names, "all", "of it in stages", "of the time unwatched"]
    return table(head, [_stages_row(results, one, names) for one in results.stages])


def _stages_row(results: LoaderResults, one: Stages, names: list[str]) -> list[str]:
    per_clip, agreement = one.per_clip, results.agreement(one)
    times = [short(per_clip[name] * 1e3) if name in per_clip else "-" for name in names]
    shares = [f"{one.covered:.1%}", f"{agreement:.0%}" if agreement else "-"]
    return [one.files, one.name, *times, short(sum(per_clip.values()) * 1e3), *shares]


def _notes(results: LoaderResults) -> str:
    pinned = "pinned to one core" if results.settings["pinned"] else "with one thread (this system pins no process)"
    return "\n".join(
        [
            *_busy(results),
            f"- one core: everything in one process {pinned}. Processes: each with one thread; files are in the system's cache.",
            "- all loaders draw the same frames and run in turn, epoch by epoch; ratios are medians over the epochs.",
            "- both sides hand out uint8 and leave normalisation to the device; +float: floats normalised in the loader.",
            "- RandAugment of 4 operations: torchvision's does all of them, ours and +half each half of the time, as in the "
            "paper's recipe; +crop-first: after the crop instead of on the whole frame.",
            "- stages: ms per clip on one core, the mean. open: ours also lists the packets, pytorchvideo reads the whole "
            "file. seek: to the first frame of each clip, from the keyframe before it. decode: the rest, with the "
            "conversion to RGB. crop: with resizing and flip. augment: RandAugment, jitter, erasing.",
        ]
    )


def _busy(results: LoaderResults) -> list[str]:
    worst = max(results.throughputs, key=lambda one: one.spread)
    if worst.spread <= LARGE_SPREAD:
        return []
    return [
        f"- the machine was busy: the slowest epoch of {worst.name} on {worst.files} took {worst.spread:.1f} times its "
        "median, so times and ratios are rough; measure again on an idle machine."
    ]


def _range(values: list[int] | list[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
