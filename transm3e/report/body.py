"""A value for each of the 20 muscle regions as a body map: a person from the front and from behind, coloured by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from transm3e.data.annotations import MUSCLES
from transm3e.report.body_shape import VIEWS, body, outlines
from transm3e.report.figures import INK, PALE, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SKIN, RIM, HATCHED = "#ECECEC", "#8A8A8A", "#F7F7F7"
UNKNOWN = "not known"
LISTED = 6  # muscles named beside a map


@dataclass(frozen=True)
class Scale:
    """How values become colours.

    Attributes:
        label: of the values, with their unit.
        low, high: values of the first and the last colour; values beyond get these.
        colours: a colour map of matplotlib whose lightness rises or falls evenly, so that every kind of colour vision
            and a grey print tell values apart.
        form: of a value in a list, as str.format takes it.
    """

    label: str
    low: float
    high: float
    colours: str = "YlOrRd"
    form: str = "{:.2f}"


SCORE = Scale("score, 0 to 1", 0, 1)
PERCENT = Scale("average precision (%)", 0, 100, form="{:.0f}")
DIFFERENCE = Scale("difference of scores", -1, 1, "PuOr_r", "{:+.2f}")


def score_scale(scores: ArrayLike) -> Scale:
    """The scale of (N, C) scores: from 0 to 1, or to the highest one where those of a clip are shares (a softmax's, whose sum
    is 1), among which 0.2 is much."""
    values = np.atleast_2d(np.asarray(scores, float))
    highest = float(values.max(initial=0.0))
    if not highest or values.sum(axis=1).max() > 1 + 1e-3:
        return SCORE
    return replace(SCORE, label="score; the sum of all is at most 1", high=highest)


def draw_body(axes: Axes, values: Mapping[str, float], scale: Scale = SCORE, names: bool = False) -> None:
    """Draw both views into one axes; a muscle without a value is hatched.

    Args:
        axes: emptied of its frame; the drawing keeps its proportions.
        values: muscle -> value.
        scale: colours of the values.
        names: write "front" and "back" below the views.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize
    from matplotlib.patches import Polygon

    colour, position = colormaps[scale.colours], Normalize(scale.low, scale.high, clip=True)
    for offset, view in zip((-29, 29), VIEWS, strict=True):
        axes.add_patch(Polygon(body() + np.array([offset, 0]), facecolor=SKIN, edgecolor=RIM, linewidth=0.9))
        for muscle, curves in outlines(view).items():
            value = values.get(muscle)
            face = HATCHED if value is None else colour(position(value))
            for curve in curves:
                patch = Polygon(curve + np.array([offset, 0]), facecolor=face, edgecolor="white", linewidth=0.6)
                if value is None:
                    patch.set(hatch="/////", edgecolor="#BBBBBB", linewidth=0.2)
                axes.add_patch(patch)
        if names:
            axes.text(offset, 104, view, ha="center", va="top", fontsize=8, color=PALE)
    axes.set(xlim=(-56, 56), ylim=(107 if names else 102, -2), aspect="equal")
    axes.set_axis_off()


def body_figure(
    panels: Mapping[str, Mapping[str, float]],
    path: str | Path = "",
    title: str = "",
    scale: Scale = SCORE,
    note: str = "",
) -> Figure:
    """Draw a body map per panel, side by side, with the highest values by name and a colour bar.

    Args:
        panels: title -> (muscle -> value); at least one.
        path: the file to write, if any; .png, .pdf or .svg decides the format.
        title: first line of the figure.
        scale: colours of all panels.
        note: small text below.

    Raises:
        UserError: the suffix is unknown, or the file cannot be written.
    """
    figure = new_figure(5.4 * len(panels) + 0.8, 6.0)
    rows = figure.subplots(2, len(panels), squeeze=False, height_ratios=[4, 1.35])
    for (name, values), axes, below in zip(panels.items(), rows[0], rows[1], strict=True):
        draw_body(axes, values, scale, names=True)
        axes.set_title(name.replace("$", r"\$"), fontsize=11, color=INK)
        _list_values(below, values, scale)
    _add_colour_bar(figure, list(rows[0]), scale)
    figure.suptitle(title.replace("$", r"\$"), fontsize=13, fontweight="bold", color=INK)
    if note:
        figure.supxlabel(note, fontsize=8, color=PALE)
    if path:
        save(figure, path)
    return figure


def strongest(values: Mapping[str, float], most: int) -> list[tuple[str, float]]:
    """The muscles with the largest absolute values, largest first."""
    return sorted(values.items(), key=lambda each: (-abs(each[1]), each[0]))[:most]


def _list_values(axes: Axes, values: Mapping[str, float], scale: Scale) -> None:
    axes.set_axis_off()
    for number, (muscle, value) in enumerate(strongest(values, LISTED)):
        column, row = divmod(number, LISTED // 2)
        text = f"{muscle.replace('_', ' ')}  {scale.form.format(value)}"
        axes.text(0.06 + 0.5 * column, 0.95 - 0.24 * row, text, va="top", fontsize=9, color=INK)
    missing = [muscle.replace("_", " ") for muscle in MUSCLES if muscle not in values]
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        axes.text(0.06, 0.16, f"hatched, {UNKNOWN}: {shown}", va="top", fontsize=8, color=PALE)


def _add_colour_bar(figure: Figure, axes: Sequence[Axes], scale: Scale) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    mapped = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
    bar = figure.colorbar(mapped, ax=axes, shrink=0.6, aspect=25, pad=0.02)
    bar.set_label(scale.label, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, length=0, colors=INK)
    bar.outline.set_visible(False)
