"""A loader benchmark's figures as a picture: where the time of a clip goes, and clips per second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transm3e.benchmark.loader.results import OTHER, LoaderResults, Stages, Throughput, where
from transm3e.benchmark.loader.stopwatch import STAGES
from transm3e.benchmark.picture import BARS_HEIGHT, COLOURS, INK, REFERENCE, short
from transm3e.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

YELLOW = "#F0E442"
STAGE_COLOURS = dict(zip((*STAGES, OTHER), (*COLOURS, YELLOW, REFERENCE), strict=True))

LEGEND: dict = {"frameon": False, "fontsize": 8}


def draw(results: LoaderResults, path: Path) -> None:
    """Write a PNG: a row for every set of files, each on its own scale.

    Raises:
        UserError: the file cannot be written.
    """
    # Imported here: nothing that is measured may wait for, or hold, matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = [(files.name, [one for one in results.stages if one.files == files.name]) for files in results.file_sets]
    figure = Figure(figsize=(12, 1.2 + sum(0.9 + 0.36 * len(stages) for _, stages in sets)), layout="constrained")
    heights = [2.5 + len(stages) for _, stages in sets]
    grid = figure.subplots(len(sets), 2, squeeze=False, sharey="row", width_ratios=(3, 2), height_ratios=heights)
    for (times, speeds), (name, stages) in zip(grid, sets, strict=True):
        _draw_stages(times, stages)
        _draw_speeds(speeds, [one for one in results.throughputs if one.files == name], [one.name for one in stages])
        times.set_title(name, loc="left", fontsize=9, color=INK)
        times.invert_yaxis()
    grid[-1][0].set_xlabel("ms per clip on one core, by stage")
    grid[-1][1].set_xlabel("clips per second")
    handles = {
        label: handle for times in grid[:, 0] for handle, label in zip(*times.get_legend_handles_labels(), strict=True)
    }
    shown = [stage for stage in STAGE_COLOURS if stage in handles]
    figure.legend([handles[stage] for stage in shown], shown, loc="outside lower left", ncols=8, **LEGEND)
    figure.legend(*grid[0][1].get_legend_handles_labels(), loc="outside lower right", ncols=4, **LEGEND)
    figure.suptitle(results.machine["cpu"], fontsize=11, color=INK)
    with atomic_path(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=150)


def _draw_stages(axes: Axes, rows: Sequence[Stages]) -> None:
    lefts = [0.0] * len(rows)
    for stage, colour in STAGE_COLOURS.items():
        widths = [one.per_clip.get(stage, 0.0) * 1e3 for one in rows]
        if any(widths):
            axes.barh(range(len(rows)), widths, BARS_HEIGHT, left=lefts, color=colour, label=stage)
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    for row, total in enumerate(lefts):
        axes.annotate(
            short(total), (total, row), (4, 0), textcoords="offset points", va="center", fontsize=7, color=INK
        )
    axes.set_yticks(range(len(rows)), [one.name for one in rows])
    _dress(axes)


def _draw_speeds(axes: Axes, throughputs: Sequence[Throughput], names: Sequence[str]) -> None:
    counts = sorted({one.workers for one in throughputs})
    for place, workers in enumerate(counts):
        speeds = {one.name: 1 / one.median for one in throughputs if one.workers == workers}
        ys = [row + ((place + 0.5) / len(counts) - 0.5) * BARS_HEIGHT for row in range(len(names))]
        widths = [speeds[name] for name in names]
        colour = COLOURS[place % len(COLOURS)] if workers else REFERENCE
        bars = axes.barh(ys, widths, BARS_HEIGHT / len(counts), color=colour, label=where(workers))
        axes.bar_label(bars, [short(width) for width in widths], padding=4, fontsize=7, color=INK)
    _dress(axes)


def _dress(axes: Axes) -> None:
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
