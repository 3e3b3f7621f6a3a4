"""The figure of a benchmark: time and memory of models beside the reference, stages and throughput of loaders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transm3e.benchmark.loader.stopwatch import STAGES
from transm3e.benchmark.markdown import MIB, short, where
from transm3e.benchmark.results import OTHER, LoaderResults, Measurement, Results
from transm3e.report.figures import INK, dress, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, distinguishable with every common colour blindness; the reference is grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
REFERENCE = "#AAAAAA"
STAGE_COLOURS = dict(zip((*STAGES, OTHER), (*COLOURS, REFERENCE), strict=True))
BARS_HEIGHT = 0.8  # of a group's bars together; 1 is the distance between groups


def draw(results: Results | LoaderResults, path: Path) -> None:
    """Write a PNG; a missing bar means that the batch did not fit into memory.

    Raises:
        UserError: the file cannot be written.
    """
    if isinstance(results, Results):
        _draw_models(results, path)
    else:
        _draw_loaders(results, path)


def _draw_models(results: Results, path: Path) -> None:
    groups = list(dict.fromkeys((one.mode, one.clips) for one in results.measurements))
    names = [one.name for one in results.candidates]
    figure = new_figure(10, 2.2 + 0.3 * len(groups) * len(names))
    times, memory = figure.subplots(1, 2, sharey=True)
    lower = BARS_HEIGHT / len(names) / 3  # below a bar's middle, where its number stands
    for number, name in enumerate(names):

        def row(one: Measurement, number: int = number) -> float:
            return groups.index((one.mode, one.clips)) + _offset(number, len(names))

        colour = REFERENCE if name == results.reference else COLOURS[number % len(COLOURS)]
        mine = [one for one in results.measurements if one.name == name]
        timed, fitted = [one for one in mine if one.seconds], [one for one in mine if one.peak]
        # Also drawn when empty, so that the legend names every candidate.
        speeds = [1e3 / one.clips_per_second for one in timed]
        _bars(times, [row(one) for one in timed], speeds, BARS_HEIGHT / len(names), colour, name)
        sizes = [one.peak.size_bytes / MIB for one in fitted if one.peak]
        _bars(memory, [row(one) for one in fitted], sizes, BARS_HEIGHT / len(names), colour, name)
        for one in timed:
            ends = [seconds * 1e3 / one.clips for seconds in (min(one.seconds), max(one.seconds))]
            times.plot(ends, [row(one) + lower] * 2, color=INK, linewidth=1)
    for axes, label in (
        (times, "ms per clip (median; line: lowest to highest)"),
        (memory, "peak memory over the model (MiB)"),
    ):
        axes.set_xlabel(label)
        dress(axes, "x")
    times.set_yticks(range(len(groups)), [f"{mode}\n{clips} clip{'s' * (clips > 1)}" for mode, clips in groups])
    times.invert_yaxis()
    figure.legend(*times.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    device = results.machine.get("gpu") or results.machine["cpu"]
    figure.suptitle(f"{device}, {results.settings['precision']}", fontsize=11, color=INK)
    save(figure, path)


def _draw_loaders(results: LoaderResults, path: Path) -> None:
    """A row for every set of files, each on its own scale."""
    sets = {files.name: [one for one in results.stages if one.files == files.name] for files in results.file_sets}
    figure = new_figure(12, 1.2 + sum(0.9 + 0.36 * len(rows) for rows in sets.values()))
    heights = [2.5 + len(rows) for rows in sets.values()]
    grid = figure.subplots(len(sets), 2, squeeze=False, sharey="row", width_ratios=(3, 2), height_ratios=heights)
    counts = sorted({one.workers for one in results.throughputs})
    for (times, speeds), (name, rows) in zip(grid, sets.items(), strict=True):
        lefts = [0.0] * len(rows)
        for stage, colour in STAGE_COLOURS.items():
            widths = [one.per_clip.get(stage, 0.0) * 1e3 for one in rows]
            if any(widths):
                times.barh(range(len(rows)), widths, BARS_HEIGHT, left=lefts, color=colour, label=stage)
            lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
        for row, total in enumerate(lefts):
            times.text(total, row, f" {short(total)}", va="center", fontsize=7, color=INK)
        for number, workers in enumerate(counts):
            found = {one.name: one for one in results.throughputs if (one.files, one.workers) == (name, workers)}
            ys = [row + _offset(number, len(counts)) for row in range(len(rows))]
            colour = COLOURS[number % len(COLOURS)] if workers else REFERENCE
            widths = [found[one.name].clips_per_second for one in rows]
            _bars(speeds, ys, widths, BARS_HEIGHT / len(counts), colour, where(workers))
        for axes in (times, speeds):
            axes.margins(x=0.12)
            dress(axes, "x")
        times.set_yticks(range(len(rows)), [one.name for one in rows])
        times.set_title(name, loc="left", fontsize=9, color=INK)
        times.invert_yaxis()
    grid[-1][0].set_xlabel("ms per clip on one core, by stage")
    grid[-1][1].set_xlabel("clips per second")
    found_labels = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in grid[:, 0]]
    handles = {label: handle for pairs in found_labels for handle, label in pairs}
    shown = [stage for stage in STAGE_COLOURS if stage in handles]
    small = {"frameon": False, "fontsize": 8}
    figure.legend([handles[stage] for stage in shown], shown, loc="outside lower left", ncols=8, **small)
    figure.legend(*grid[0][1].get_legend_handles_labels(), loc="outside lower right", ncols=4, **small)
    figure.suptitle(results.machine["cpu"], fontsize=11, color=INK)
    save(figure, path)


def _offset(number: int, count: int) -> float:
    """Offset of bar `number` from the middle of its group."""
    return ((number + 0.5) / count - 0.5) * BARS_HEIGHT


def _bars(axes: Axes, ys: Sequence[float], widths: Sequence[float], height: float, colour: str, label: str) -> None:
    bars = axes.barh(ys, widths, height, color=colour, label=label)
    axes.bar_label(bars, [short(width) for width in widths], padding=4, fontsize=7, color=INK)
