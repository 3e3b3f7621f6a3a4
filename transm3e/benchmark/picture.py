"""A benchmark's figures as a picture: time and memory, ours beside the reference.

Drawn without pyplot, so neither the backend nor the style of a calling program changes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from transm3e.benchmark.results import Measurement, Results
from transm3e.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart with every common colour blindness; the reference is grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
REFERENCE, INK = "#AAAAAA", "#222222"
BARS_HEIGHT = 0.8  # of a group's bars together; 1 is the distance between groups
MIB = 2**20
Group = tuple[str, int]


def draw(results: Results, path: Path) -> None:
    """Write a PNG; a bar that is missing did not fit.

    Raises:
        UserError: the file cannot be written.
    """
    # Imported here: nothing that is measured may wait for, or hold, matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys((one.mode, one.batch_size) for one in results.measurements))
    names = [figures.name for figures in results.contestants]
    figure = Figure(figsize=(10, 2.2 + 0.3 * len(groups) * len(names)), layout="constrained")
    times, memory = figure.subplots(1, 2, sharey=True)
    _draw_bars(times, results, groups, lambda one: one.median * 1e3 / one.batch_size if one.seconds else None)
    _draw_spread(times, results, groups)
    times.set_xlabel("ms per clip (median; line: lowest to highest)")
    _draw_bars(memory, results, groups, lambda one: one.peak.size_bytes / MIB if one.peak else None)
    memory.set_xlabel("peak memory over the model (MiB)")
    times.set_yticks(range(len(groups)), [f"{mode}\n{_clips(size)}" for mode, size in groups])
    times.invert_yaxis()
    handles, labels = times.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    where = results.machine.get("gpu") or results.machine["cpu"]
    figure.suptitle(f"{where}, {results.settings['precision']}", fontsize=11, color=INK)
    with atomic_path(path) as partial:
        FigureCanvasAgg(figure).print_figure(partial, format="png", dpi=150)


def _draw_bars(axes: Axes, results: Results, groups: list[Group], value: Callable[[Measurement], float | None]) -> None:
    height = BARS_HEIGHT / len(results.contestants)
    for number, figures in enumerate(results.contestants):
        found = [(one, value(one)) for one in results.measurements if one.name == figures.name]
        drawn = [(_place(results, groups, one), size) for one, size in found if size is not None]
        colour = REFERENCE if figures.name == results.reference else COLOURS[number % len(COLOURS)]
        # Drawn also when empty, so that the legend names every contestant.
        ys, widths = [y for y, _ in drawn], [size for _, size in drawn]
        bars = axes.barh(ys, widths, height, color=colour, label=figures.name)
        axes.bar_label(bars, [short(width) for width in widths], padding=4, fontsize=7, color=INK)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_spread(axes: Axes, results: Results, groups: list[Group]) -> None:
    # Below the bar's middle, where its number stands.
    lower = BARS_HEIGHT / len(results.contestants) / 3
    for one in results.measurements:
        if one.seconds:
            y, scale = _place(results, groups, one) + lower, 1e3 / one.batch_size
            axes.plot([min(one.seconds) * scale, max(one.seconds) * scale], [y, y], color=INK, linewidth=1)


def _place(results: Results, groups: list[Group], one: Measurement) -> float:
    names = [figures.name for figures in results.contestants]
    offset = (names.index(one.name) + 0.5) / len(names) - 0.5
    return groups.index((one.mode, one.batch_size)) + offset * BARS_HEIGHT


def short(value: float) -> str:
    """Three digits and more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _clips(size: int) -> str:
    return "1 clip" if size == 1 else f"{size} clips"
