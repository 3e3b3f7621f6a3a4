"""Reliability as a picture: what was predicted against what came true, and each muscle's average precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transm3e.metrics.calibration import BINS, bins_of
from transm3e.report.pictures import INK, KNOWN, NEW, PALE, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER = "as trained", "calibrated"


def draw_reliability(
    scores: np.ndarray, calibrated: np.ndarray, labels: np.ndarray, found: Mapping[str, Any], path: str | Path
) -> None:
    """Predicted against observed shares in ten bins with their counts, and AP per muscle beside random scores'.

    Args:
        scores, calibrated: (N, C) in [0, 1], of clips that were held out.
        labels: (N, C) of 0 and 1.
        found: what cross_validated says of them.
        path: .png, .pdf or .svg.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    figure = new_figure(8.6, 4.8)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
    shares = figure.add_subplot(grid[0, 0])
    both = {BEFORE: scores, AFTER: calibrated}
    _draw_shares(shares, both, labels, found)
    _draw_counts(figure.add_subplot(grid[1, 0], sharex=shares), both)
    _draw_muscles(figure.add_subplot(grid[:, 1]), found)
    figure.suptitle(f"Cross-validation over families, {found['clips']} clips", fontweight="bold", color=INK)
    save(figure, path)


def _draw_shares(axes: Axes, both: dict[str, np.ndarray], labels: np.ndarray, found: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle="--")
    for (name, p), colour, ece in zip(both.items(), (NEW, KNOWN), (found["ece"], found["ece_calibrated"]), strict=True):
        number = bins_of(p)
        counts = np.bincount(number, minlength=BINS)
        some = counts > 0
        predicted, seen = (np.bincount(number, v.ravel(), BINS)[some] / counts[some] for v in (p, labels))
        # Of a share of n draws; labels of one clip hang together, so it is the least that it may be.
        error = np.sqrt(seen * (1 - seen) / counts[some])
        axes.errorbar(predicted, seen, error, color=colour, marker="o", label=f"{name}: ECE {ece:.3f}", capsize=2)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of them that are right")
    axes.legend(loc="upper left", frameon=False)


def _draw_counts(axes: Axes, both: dict[str, np.ndarray]) -> None:
    for p, colour, shift in zip(both.values(), (NEW, KNOWN), (-0.5, 0.5), strict=True):
        width = 0.4 / BINS
        centres = (np.arange(BINS) + 0.5) / BINS + shift * width
        axes.bar(centres, np.bincount(bins_of(p), minlength=BINS), width, color=colour)
    axes.set(yscale="log", xlabel="predicted probability of a muscle", ylabel="scores")


def _draw_muscles(axes: Axes, found: Mapping[str, Any]) -> None:
    muscles = {name: m for name, m in found["muscles"].items() if m["AP"] is not None}
    order = sorted(muscles, key=lambda name: muscles[name]["AP"])
    places = np.arange(len(order))
    colours = [KNOWN if muscles[name]["known"] else PALE for name in order]
    axes.barh(places, [100 * muscles[name]["AP"] for name in order], color=colours)
    axes.plot([100 * muscles[name]["random"] for name in order], places, "D", color=INK, label="random scores")
    axes.set_yticks(places, [f"{name.replace('_', ' ')} ({muscles[name]['positives']})" for name in order])
    axes.set(xlim=(0, 100), xlabel="AP (%); in brackets clips; grey: not known")
    axes.legend(loc="lower right", frameon=False)
