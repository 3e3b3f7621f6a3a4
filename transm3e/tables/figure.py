"""A finished table as a figure: one panel per split, one line per row."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from transm3e.data.annotations import EVAL_SPLITS
from transm3e.report.figures import COLOURS, INK, PALE, dress, new_figure, save
from transm3e.report.table import COLUMNS
from transm3e.tables.scores import RowScores
from transm3e.tables.statistics.uncertainty import Uncertainty

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_WIDTH = 34  # characters in a line of a row's label, which has two at most
# Inches: the figure's width, a row's height, the height of title, axis and legend.
WIDTH, ROW_HEIGHT, AROUND = 12.5, 0.34, 1.75
INTERVAL, MEAN, SEEDS, PAPERS = "95% interval", "mean over seeds", "single seeds", "the paper's score"
STYLES: dict[str, dict[str, Any]] = {
    INTERVAL: {"linewidth": 2.2, "alpha": 0.45, "solid_capstyle": "butt"},
    MEAN: {"linestyle": "", "marker": "o", "markersize": 6.5, "zorder": 4},
    SEEDS: {"linestyle": "", "marker": "o", "markersize": 3.4, "markeredgewidth": 0, "alpha": 0.6, "zorder": 3},
    PAPERS: {"linestyle": "", "marker": "D", "markersize": 5.5, "markerfacecolor": "white", "zorder": 3},
}
GAP = 0.02  # between panels, of a panel's width
BENEATH = 0.27  # offset of the single seeds, so that they and the interval do not hide each other


def table_figure(rows: Sequence[RowScores], uncertainty: Uncertainty | None, path: str | Path, title: str) -> bool:
    """Draw every score with its 95% interval, its seeds, and the paper's score where that is on this data set.

    Splits in which no row has a score are left out.

    Args:
        uncertainty: of the same rows; None = without intervals.
        path: the file to write; .png, .pdf or .svg decides the format.

    Returns:
        Whether there was anything to draw.

    Raises:
        UserError: the suffix is unknown, or the file cannot be written.
    """
    splits = [split for split in EVAL_SPLITS if any(row.scores[COLUMNS.index(split)].values for row in rows)]
    if not splits:
        return False
    figure = new_figure(WIDTH, AROUND + ROW_HEIGHT * len(rows))
    for axes, split in zip(_panels(figure, len(splits)), splits, strict=True):
        _draw_split(axes, rows, uncertainty, split)
    _label_rows(figure.axes[0], rows)
    _draw_legend(figure)
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    save(figure, path)
    return True


def _panels(figure: Figure, number: int) -> Sequence[Axes]:
    # Narrow columns between the panels keep the ends of their axes apart.
    widths = [1.0, *[GAP, 1.0] * (number - 1)]
    grid = figure.add_gridspec(1, len(widths), width_ratios=widths)
    first = figure.add_subplot(grid[0, 0])
    others = [figure.add_subplot(grid[0, 2 * index], sharey=first) for index in range(1, number)]
    for axes in others:
        axes.tick_params(labelleft=False)
    return [first, *others]


def _draw_split(axes: Axes, rows: Sequence[RowScores], uncertainty: Uncertainty | None, split: str) -> None:
    column, colour = COLUMNS.index(split), COLOURS[split]
    for y, row in enumerate(rows):
        score = row.scores[column]
        interval = uncertainty.rows[y].intervals[column] if uncertainty else None
        for label, xs, below, ink in (
            (INTERVAL, interval or (), 0, colour),
            (PAPERS, (score.paper,) if score.paper is not None and score.comparable else (), 0, INK),
            (SEEDS, score.values if len(score.values) > 1 else (), BENEATH, colour),
            (MEAN, () if score.mean is None else (score.mean,), 0, colour),
        ):
            if xs:
                axes.plot(xs, [y + below] * len(xs), color=ink, label=label, **STYLES[label])
    axes.set_title(split.replace("_", " "), fontsize=11, color=INK)
    axes.set_xlabel("mAP (%)", fontsize=9, color=INK)
    axes.margins(x=0.08)
    dress(axes, "x")
    axes.spines["left"].set_visible(False)


def _label_rows(axes: Axes, rows: Sequence[RowScores]) -> None:
    run = [any(score.values for score in row.scores) for row in rows]
    labels = [row.label if is_run else f"{row.label} (not run)" for row, is_run in zip(rows, run, strict=True)]
    axes.set_yticks(range(len(labels)), [fill(label, LABEL_WIDTH, max_lines=2, placeholder=" …") for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    for text, is_run in zip(axes.get_yticklabels(), run, strict=True):
        text.set_color(INK if is_run else PALE)


def _draw_legend(figure: Figure) -> None:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for line in axes.get_lines():
            # Colours distinguish the panels, shapes the kinds of marks, so the legend is in one colour.
            shown = copy(line)
            shown.set_color(INK)
            entries[str(line.get_label())] = shown
    drawn = [label for label in (INTERVAL, MEAN, SEEDS, PAPERS) if label in entries]
    shapes = [entries[label] for label in drawn]
    figure.legend(shapes, drawn, loc="outside lower center", ncols=len(drawn), frameon=False, fontsize=9)
