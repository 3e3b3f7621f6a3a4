"""Figure of a majority vote: the share of sources that name each region, per activity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.prepare.votes.vote import ActivityVote
from transm3e.report.figures import INK, PALE, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

# One hue from white to dark: detected apart by lightness alone, so also with colour blindness and in grey.
SHADES = "Blues"
SET_COLOUR = "#D55E00"  # Okabe and Ito's vermilion; the frame around a region that is set
DARK = 0.55  # cells with larger shares have white numbers
ROW_INCHES, CELL_INCHES = 0.27, 0.36
HEAD_INCHES, SIDE_INCHES, CHARACTER_INCHES = 2.2, 1.4, 0.08
LONGEST_NAME = 40
TITLE = "Sources that name each region"


def vote_figure(votes: Sequence[ActivityVote], path: str | Path, title: str = TITLE) -> None:
    """Draw a heat map, a row per activity and a column per region, as the paper's figure 8 does for one activity.

    A cell's shade is the share of the activity's sources that name the region, its number their count; frames mark the
    regions that are set. Beside the activity are the number of its sources and the votes needed to set a region.

    Args:
        votes: one per activity, at least one.
        path: the file to write; .png, .pdf or .svg decides the format.
        title: title of the figure.

    Raises:
        UserError: there is no activity, the suffix is unknown, or the file cannot be written.
    """
    if not votes:
        raise UserError(f"no figure {path}: there is no activity to draw; name one in the table of activities")
    names = [_name(vote) for vote in votes]
    side = SIDE_INCHES + CHARACTER_INCHES * max(map(len, names))
    figure = new_figure(side + CELL_INCHES * len(MUSCLES), HEAD_INCHES + ROW_INCHES * len(votes))
    axes = figure.subplots()
    image = _draw_cells(axes, votes)
    _draw_frames(axes, votes)
    _draw_labels(axes, votes, names)
    bar = figure.colorbar(image, ax=axes, orientation="vertical", shrink=min(1.0, 8 / len(votes)), pad=0.01, aspect=12)
    bar.set_label("share of the sources", fontsize=9, color=INK)
    bar.ax.tick_params(length=0, labelsize=8, colors=INK)
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    save(figure, path)


def _draw_cells(axes: Axes, votes: Sequence[ActivityVote]) -> QuadMesh:
    counts = np.stack([vote.votes for vote in votes])
    shares = counts / np.maximum(1, [[len(vote.ballots)] for vote in votes])
    # Not imshow: the lines between cells keep equal shades apart.
    image = axes.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, edgecolors="#DDDDDD", linewidth=0.6)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > DARK else INK
        axes.text(column + 0.5, row + 0.5, str(counts[row, column]), ha="center", va="center", fontsize=8, color=colour)
    return image


def _draw_frames(axes: Axes, votes: Sequence[ActivityVote]) -> None:
    from matplotlib.patches import Rectangle

    for row, vote in enumerate(votes):
        for column in vote.regions:
            frame = Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, fill=False, edgecolor=SET_COLOUR, linewidth=1.8)
            axes.add_patch(frame)


def _draw_labels(axes: Axes, votes: Sequence[ActivityVote], names: Sequence[str]) -> None:
    axes.set_xlim(0, len(MUSCLES))
    axes.set_ylim(len(votes), 0)
    axes.set_xticks(np.arange(len(MUSCLES)) + 0.5, [name.replace("_", " ") for name in MUSCLES], rotation=45, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(np.arange(len(votes)) + 0.5, names)
    for label, vote in zip(axes.get_yticklabels(), votes, strict=True):
        label.set_color(INK if vote.regions else PALE)
        label.set_parse_math(False)  # a dollar sign in a name is a dollar sign
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    note = "In brackets: votes that set a region, of how many sources. Framed: region set. Grey name: no label."
    axes.set_xlabel(note, fontsize=9, color=INK)


def _name(vote: ActivityVote) -> str:
    name = vote.activity if len(vote.activity) <= LONGEST_NAME else f"{vote.activity[: LONGEST_NAME - 1]}…"
    return f"{name}  ({vote.needed} of {len(vote.ballots)})" if vote.ballots else f"{name}  (no source)"
