"""Figures of a data set's labels: clips and activities per region, muscles and clips per activity, sizes of the splits.

Known activities are blue, new ones orange; see transm3e.report.figures for the palette.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transm3e.data.annotations import MUSCLES, SPLITS, ClipTable
from transm3e.prepare.check.labels import LabelStatistics, label_statistics, muscles_of, split_counts
from transm3e.report.figures import COLOURS, INK, KNOWN, NEW, PALE, dress, new_figure, save

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

KINDS = (("known activities", KNOWN), ("new activities", NEW))
BAR = 0.78  # of the distance between bars
# Named activities per column of the long tail, and columns; more activities are drawn as a curve.
COLUMN_ROWS, MOST_COLUMNS = 46, 4
NAME_LENGTH = 34
FIGURES = {
    "regions.png": "Clips and activities per muscle region",
    "muscles_per_activity.png": "Activities by the number of their muscles",
    "clips_per_activity.png": "Clips per activity",
    "splits.png": "Clips and activities per split",
}
OF_MUSCLES = ("regions.png", "muscles_per_activity.png")


def figures_of(table: ClipTable) -> dict[str, str]:
    """The FIGURES that can be drawn of a table: without the column muscles, none about muscles."""
    return {file: title for file, title in FIGURES.items() if file not in OF_MUSCLES or muscles_of(table)}


def draw_dataset(table: ClipTable, folder: Path) -> None:
    """Write the files of figures_of(table) into a folder.

    Raises:
        UserError: a figure cannot be written.
    """
    statistics = label_statistics(table)
    if muscles_of(table):
        region_bars(statistics, folder / "regions.png")
        muscle_histogram(statistics, folder / "muscles_per_activity.png")
    long_tail(statistics, folder / "clips_per_activity.png")
    split_bars(table, folder / "splits.png")


def region_bars(statistics: LabelStatistics, path: str | Path) -> None:
    """Draw clips and activities per muscle region (the top of the paper's figure 2)."""
    figure = new_figure(11, 7.2)
    panels = figure.subplots(1, 2, sharey=True)
    _stacked(panels[0], statistics.clip_labels, "clips")
    _stacked(panels[1], statistics.activity_labels, "activities")
    panels[0].set_yticks(range(len(MUSCLES)), [muscle.replace("_", " ") for muscle in MUSCLES])
    panels[0].set_ylim(len(MUSCLES) - 0.4, -0.6)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def muscle_histogram(statistics: LabelStatistics, path: str | Path) -> None:
    """Draw how many activities have 0, 1, 2 ... muscles (the legend of the paper's figure 7)."""
    counts = statistics.muscles
    last = int(np.flatnonzero(counts.sum(1)).max())
    figure = new_figure(8, 4)
    axes = figure.subplots()
    bottom = np.zeros(last + 1)
    for (name, colour), values in zip(KINDS, counts[: last + 1].T, strict=True):
        axes.bar(range(last + 1), values, BAR, bottom, color=colour, label=name)
        bottom += values
    for number, total in enumerate(bottom):
        if total:
            axes.text(number, total, f"{total:.0f}", ha="center", va="bottom", fontsize=9, color=INK)
    axes.set_xticks(range(last + 1))
    axes.set_ylim(0, 1.1 * bottom.max())
    axes.set_xlabel("muscle regions of an activity")
    axes.set_ylabel("activities")
    axes.locator_params(axis="y", integer=True)
    dress(axes, "y")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save(figure, path)


def long_tail(statistics: LabelStatistics, path: str | Path) -> None:
    """Draw the clips of each activity, the most frequent first; by name where there is room, else as a curve."""
    order = np.argsort(-statistics.clips, kind="stable")
    columns = -(-len(order) // COLUMN_ROWS)
    if columns > MOST_COLUMNS:
        _draw_curve(statistics.clips[order], statistics.new[order], path)
        return
    rows = -(-len(order) // columns)
    figure = new_figure(4.1 * columns + (3 if columns == 1 else 0), 1.4 + 0.17 * rows)
    panels = figure.subplots(1, columns, sharex=True, squeeze=False)[0]
    for column, axes in enumerate(panels):
        _draw_column(axes, statistics, order[column * rows : (column + 1) * rows], rows)
    panels[0].set_xlim(0, 1.15 * statistics.clips.max())
    figure.legend(*_both_kinds(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save(figure, path)


def split_bars(table: ClipTable, path: str | Path) -> None:
    """Draw clips and activities per split."""
    counts = split_counts(table)
    figure = new_figure(9, 2.8)
    panels = figure.subplots(1, 2, sharey=True)
    colours = [COLOURS.get(split, KNOWN) for split in SPLITS]
    for axes, name in zip(panels, ("clips", "activities"), strict=True):
        bars = axes.barh(range(len(SPLITS)), counts[name], BAR, color=colours)
        axes.bar_label(bars, padding=3, fontsize=9, color=INK)
        _finish_bars(axes, max(counts[name]), name)
    panels[0].set_yticks(range(len(SPLITS)), SPLITS)
    panels[0].set_ylim(len(SPLITS) - 0.4, -0.6)
    save(figure, path)


def _stacked(axes: Axes, counts: np.ndarray, label: str) -> None:
    """Bars of (20, 2) counts, known and new, and their sums; regions without any say so."""
    left = np.zeros(len(counts))
    for (name, colour), values in zip(KINDS, counts.T, strict=True):
        axes.barh(range(len(counts)), values, BAR, left, color=colour, label=name)
        left += values
    for row, total in enumerate(left):
        text, colour = (f" {total:.0f}", INK) if total else (f" no {label}", PALE)
        axes.text(total, row, text, va="center", fontsize=8, color=colour)
    _finish_bars(axes, left.max(), label)


def _finish_bars(axes: Axes, most: float, label: str) -> None:
    axes.set_xlim(0, 1.15 * max(most, 1))
    axes.set_xlabel(label)
    axes.locator_params(axis="x", integer=True, nbins=6)
    dress(axes, "x")


def _draw_column(axes: Axes, statistics: LabelStatistics, chosen: np.ndarray, rows: int) -> None:
    clips = statistics.clips[chosen]
    colours = [NEW if new else KNOWN for new in statistics.new[chosen]]
    bars = axes.barh(range(len(chosen)), clips, BAR, color=colours)
    axes.bar_label(bars, padding=2, fontsize=7, color=INK)
    names = zip(statistics.activities[chosen], statistics.new[chosen], strict=True)
    # Where a few activities have most clips, the other bars are too short to show their colour.
    axes.set_yticks(range(len(chosen)), [_shortened(str(name)) + (" (new)" if new else "") for name, new in names])
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlabel("clips")
    axes.locator_params(axis="x", integer=True, nbins=4)
    dress(axes, "x")
    axes.tick_params(axis="y", labelsize=7.5)


def _draw_curve(clips: np.ndarray, new: np.ndarray, path: str | Path) -> None:
    figure = new_figure(9, 4)
    axes = figure.subplots()
    ranks = np.arange(1, len(clips) + 1)
    for (name, colour), chosen in zip(KINDS, (~new, new), strict=True):
        axes.bar(ranks[chosen], clips[chosen], 1.0, color=colour, label=name)
    axes.set_xlabel(f"activities, the most frequent first ({len(clips)})")
    axes.set_ylabel("clips")
    axes.locator_params(axis="y", integer=True)
    dress(axes, "y")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save(figure, path)


def _both_kinds() -> tuple[list[Artist], list[str]]:
    from matplotlib.patches import Patch

    return [Patch(color=colour) for _, colour in KINDS], [name for name, _ in KINDS]


def _shortened(name: str) -> str:
    # A "$" would begin a formula.
    shown = name.replace("_", " ").replace("$", r"\$")
    return shown if len(shown) <= NAME_LENGTH else shown[: NAME_LENGTH - 1] + "…"
