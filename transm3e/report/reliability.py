"""Cross-validation of a model: accuracy per muscle, and calibration of its scores to probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transm3e.data.annotations import MUSCLES, read_clip_table
from transm3e.errors import UserError
from transm3e.metrics import average_precision, mean_average_precision
from transm3e.metrics.bootstrap import bootstrap_map, draw_counts, percentile_interval
from transm3e.metrics.calibration import BINS, apply_platt, bins_of, expected_calibration_error, fit_platt
from transm3e.metrics.random_scores import random_average_precision
from transm3e.report.figures import INK, KNOWN, NEW, PALE, new_figure, save
from transm3e.report.scores import Predictions, read_predictions
from transm3e.runs.results import DRAWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESAMPLES = 2000
DIGITS = 4
# Least number of clips with a muscle for which its AP is meaningful.
FEWEST = 10
BEFORE, AFTER = "as trained", "calibrated"


def read_folds(runs: Sequence[Path], split: str) -> list[Predictions]:
    """The predictions of each run for its held-out fold.

    Raises:
        UserError: fewer than two runs, predictions that are missing or damaged, of activities, or a clip in two folds.
    """
    if len(runs) < 2:
        raise UserError("one run is not a cross-validation; name the folders of all folds' runs")
    folds = [read_predictions(run / "predictions" / f"{split}.npz") for run in runs]
    if any(fold.columns != MUSCLES for fold in folds):
        raise UserError(f"{runs[0]}: predictions of activities; only muscles have a reliability")
    clips = np.concatenate([fold.clips for fold in folds])
    if len(np.unique(clips)) < len(clips):
        raise UserError("a clip is in two of these runs' folds; name each fold's run once")
    return folds


def held_out(folds: Sequence[Predictions]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, scores calibrated on the other folds, and labels of all held-out clips, (N, C) each."""
    scores, labels = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("scores", "labels"))
    number = np.repeat(np.arange(len(folds)), [len(fold.scores) for fold in folds])
    calibrated = np.empty(scores.shape)
    for fold in range(len(folds)):
        others = number != fold
        calibrated[~others] = apply_platt(scores[~others], *fit_platt(scores[others], labels[others]))
    return scores, calibrated, labels


def cross_validated(folds: Sequence[Predictions], families: Sequence[str]) -> dict[str, Any]:
    """mAP with its interval, the share of clips whose highest-scoring muscle is correct, ECE, and each muscle's AP.

    Args:
        folds: predictions for their held-out clips.
        families: of those clips, in order; whole families are resampled for the interval.

    Returns:
        Ready for JSON. A muscle with fewer than FEWEST positives has "known" false; "random" is the mean AP of DRAWS random
        orders. "ece_calibrated" uses slopes and biases fitted on the other folds.
    """
    scores, calibrated, labels = held_out(folds)
    counts = draw_counts(len(scores), RESAMPLES, [0], list(families))
    interval = percentile_interval(bootstrap_map(scores, labels, counts))
    slope, biases = fit_platt(scores, labels)
    precisions = average_precision(scores, labels)
    chance = random_average_precision(labels, DRAWS, [0]).mean(axis=0)
    first = labels[np.arange(len(labels)), scores.argmax(axis=1)].mean()
    return {
        "clips": len(scores),
        "mAP": round(mean_average_precision(scores, labels), DIGITS),
        "interval_95": [round(end, DIGITS) for end in interval],
        "first_muscle_right": round(float(first), DIGITS),
        "ece": round(expected_calibration_error(scores, labels), DIGITS),
        "ece_calibrated": round(expected_calibration_error(calibrated, labels), DIGITS),
        "slope": round(slope, DIGITS),
        "biases": [round(float(bias), DIGITS) for bias in biases],
        "muscles": {
            name: {
                "known": int(labels[:, m].sum()) >= FEWEST,
                "AP": _rounded(precisions[m]),
                "random": _rounded(chance[m]),
                "positives": int(labels[:, m].sum()),
            }
            for m, name in enumerate(MUSCLES)
        },
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), DIGITS)


def families_of(table: Path, clips: np.ndarray) -> list[str]:
    """The activity of each clip, from the clip table.

    Raises:
        UserError: the table lacks a clip.
    """
    found = read_clip_table(table)
    activity = dict(zip(map(str, found.paths), map(str, found.activities), strict=True))
    missing = [str(clip) for clip in clips if str(clip) not in activity]
    if missing:
        raise UserError(f"{table} has no clip {missing[0]}; give the table that the folds were made from")
    return [activity[str(clip)] for clip in clips]


def draw_reliability(
    scores: np.ndarray, calibrated: np.ndarray, labels: np.ndarray, found: Mapping[str, Any], path: str | Path
) -> None:
    """Predicted against observed shares in ten bins with their counts, and AP per muscle beside random scores'.

    Args:
        scores, calibrated: (N, C) in [0, 1], of clips that were held out.
        labels: (N, C) of 0 and 1.
        found: the result of cross_validated.
        path: .png, .pdf or .svg.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    figure = new_figure(8.6, 4.8)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
    shares = figure.add_subplot(grid[0, 0])
    both = {BEFORE: scores, AFTER: calibrated}
    draw_shares(shares, {name: (p, labels) for name, p in both.items()}, (NEW, KNOWN))
    draw_bins(figure.add_subplot(grid[1, 0], sharex=shares), both, (NEW, KNOWN))
    _draw_muscles(figure.add_subplot(grid[:, 1]), found)
    figure.suptitle(f"Cross-validation over families, {found['clips']} clips", fontweight="bold", color=INK)
    save(figure, path)


def draw_shares(axes: Axes, each: Mapping[str, tuple[np.ndarray, np.ndarray]], colours: Sequence[str]) -> None:
    """Predicted against observed shares in ten bins, with the expected calibration error.

    Args:
        each: name -> scores in [0, 1] and labels, (N, C) each.
        colours: one for each.
    """
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=1, linestyle="--")
    for (name, (p, labels)), colour in zip(each.items(), colours, strict=True):
        number = bins_of(p)
        counts = np.bincount(number, minlength=BINS)
        some = counts > 0
        predicted, seen = (np.bincount(number, v.ravel(), BINS)[some] / counts[some] for v in (p, labels))
        # Standard error of a share of n independent draws: a lower bound, as labels of one clip are correlated.
        error = np.sqrt(seen * (1 - seen) / counts[some])
        label = f"{name}: ECE {expected_calibration_error(p, labels):.3f}"
        axes.errorbar(predicted, seen, error, color=colour, marker="o", label=label, capsize=2)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="observed share")
    axes.legend(loc="upper left", frameon=False)


def draw_bins(axes: Axes, each: Mapping[str, np.ndarray], colours: Sequence[str]) -> None:
    """How many scores each of the ten bins holds."""
    width = 0.8 / BINS / len(each)
    for number, (p, colour) in enumerate(zip(each.values(), colours, strict=True)):
        centres = (np.arange(BINS) + 0.5) / BINS + (number - (len(each) - 1) / 2) * width
        axes.bar(centres, np.bincount(bins_of(p), minlength=BINS), width, color=colour)
    axes.set(yscale="log", xlabel="predicted probability of a muscle", ylabel="scores")


def _draw_muscles(axes: Axes, found: Mapping[str, Any]) -> None:
    muscles = {name: m for name, m in found["muscles"].items() if m["AP"] is not None}
    order = sorted(muscles, key=lambda name: muscles[name]["AP"])
    positions = np.arange(len(order))
    colours = [KNOWN if muscles[name]["known"] else PALE for name in order]
    axes.barh(positions, [100 * muscles[name]["AP"] for name in order], color=colours)
    axes.plot([100 * muscles[name]["random"] for name in order], positions, "D", color=INK, label="random scores")
    axes.set_yticks(positions, [f"{name.replace('_', ' ')} ({muscles[name]['positives']})" for name in order])
    axes.set(xlim=(0, 100), xlabel="AP (%); in brackets clips; grey: not known")
    axes.legend(loc="lower right", frameon=False)
