"""A loader benchmark's figures as a picture: where the time of a clip goes, and clips per second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transm3e.benchmark.loader.results import OTHER, LoaderResults
from transm3e.benchmark.loader.stopwatch import STAGES
from transm3e.benchmark.picture import BARS_HEIGHT, COLOURS, INK, REFERENCE
from transm3e.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

YELLOW = "#F0E442"
STAGE_COLOURS = dict(zip((*STAGES, OTHER), (*COLOURS, YELLOW, REFERENCE), strict=True))
Row = tuple[str, str]


def draw(results: LoaderResults, path: Path) -> None:
    """Write a PNG.

    Raises:
        UserError: the file cannot be written.
    """
    # Imported here: nothing that is measured may wait for, or hold, matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(one.files, one.name) for one in results.stages]
    figure = Figure(figsize=(12, 2.2 + 0.42 * len(rows)), layout="constrained")
    times, speeds = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw_stages(times, results)
    _draw_speeds(speeds, results, rows)
    times.set_yticks(range(len(rows)), [f"{name}\n{files}" for files, name in rows])
    times.invert_yaxis()
    handles, labels = times.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(STAGE_COLOURS), frameon=False, fontsize=8)
    figure.legend(*speeds.get_legend_handles_labels(), loc="outside lower right", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(results.machine["cpu"], fontsize=11, color=INK)
    with atomic_path(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=150)


def _draw_stages(axes: Axes, results: LoaderResults) -> None:
    lefts = [0.0] * len(results.stages)
    for stage, colour in STAGE_COLOURS.items():
        widths = [one.per_clip.get(stage, 0.0) * 1e3 for one in results.stages]
        if any(widths):
            axes.barh(range(len(widths)), widths, BARS_HEIGHT, left=lefts, color=colour, label=stage)
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    for row, total in enumerate(lefts):
        axes.annotate(
            f"{total:.3g}", (total, row), (4, 0), textcoords="offset points", va="center", fontsize=7, color=INK
        )
    axes.set_xlabel("ms per clip on one core, by stage")
    _dress(axes)


def _draw_speeds(axes: Axes, results: LoaderResults, rows: list[Row]) -> None:
    counts = sorted({one.workers for one in results.throughputs})
    height = BARS_HEIGHT / len(counts)
    for place, workers in enumerate(counts):
        found = {(one.files, one.name): 1 / one.median for one in results.throughputs if one.workers == workers}
        ys = [row + ((place + 0.5) / len(counts) - 0.5) * BARS_HEIGHT for row in range(len(rows))]
        label = f"{workers} process{'es' * (workers > 1)}" if workers else "one core"
        speeds = [found[row] for row in rows]
        bars = axes.barh(ys, speeds, height, color=COLOURS[place % len(COLOURS)] if workers else REFERENCE, label=label)
        axes.bar_label(bars, [f"{speed:.3g}" for speed in speeds], padding=4, fontsize=7, color=INK)
    axes.set_xlabel("clips per second")
    _dress(axes)


def _dress(axes: Axes) -> None:
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
