"""Right and wrong predictions of a run: reliability, F1 per muscle, what is named for what, and the worst clips."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from transm3e.config.targets import ACTIVITY_TARGET, MUSCLE_TARGET
from transm3e.data.backends import open_source
from transm3e.data.decode import DecodeError
from transm3e.files import atomic_path
from transm3e.metrics.calibration import expected_calibration_error
from transm3e.metrics.decisions import co_activation, cross_entropy, decisions
from transm3e.report.figures import COLOURS, INK, KNOWN, NEW, PALE, dress, new_figure, run_title, save
from transm3e.report.reliability import draw_bins, draw_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RELIABILITY_FIGURE, CO_ACTIVATION_FIGURE = "reliability.png", "co_activation.png"
CONFUSION_FIGURE, ERRORS_FIGURE, ERRORS_TABLE = "confusion.png", "errors.png", "errors.csv"
DECISION_FILES = (RELIABILITY_FIGURE, CO_ACTIVATION_FIGURE, CONFUSION_FIGURE, ERRORS_FIGURE, ERRORS_TABLE)
GROUPS = ("known", "new")
# Of known or new activities together: shares of fewer clips are mostly chance.
LEAST_CLIPS = 20
WORST, TILES_PER_ROW, FRAMES = 12, 3, 3  # clips of the contact sheet, and frames of each
FRAME_HEIGHT = 180
NAMED, NAME_LENGTH = 4, 46  # muscles below a tile, characters of a clip's name
MOST_CLASSES = 40  # rows of a confusion matrix


@dataclass(frozen=True)
class Scored:
    """N clips of a split: scores and labels (N, C), their names, and those of the C columns."""

    scores: np.ndarray
    labels: np.ndarray
    clips: Sequence[str]
    columns: Sequence[str]


class Mistake(NamedTuple):
    """A clip, its loss, and the muscles (or the activity) it has or should not have, strongest first."""

    split: str
    clip: str
    loss: float
    missed: list[str]
    false: list[str]


def at_threshold(scores: np.ndarray, labels: np.ndarray, columns: Sequence[str], threshold: float) -> dict[str, Any]:
    """What results.json says of a split's decisions: precision, recall and F1 per muscle, the mean F1, and the expected
    calibration error, each in [0, 1] or None where it is undefined (ECE: of scores that are no probabilities)."""
    found = decisions(scores, labels, threshold)
    probable = len(scores) > 0 and scores.min() >= 0 and scores.max() <= 1
    per_muscle = {
        name: {column: None if np.isnan(v) else float(v) for column, v in zip(columns, values, strict=True)}
        for name, values in found._asdict().items()
    }
    defined = [value for value in per_muscle["f1"].values() if value is not None]
    return {
        "threshold": threshold,
        **per_muscle,
        "macro_f1": float(np.mean(defined)) if defined else None,
        "ece": expected_calibration_error(scores, labels) if probable else None,
    }


def draw_decisions(
    results: Mapping[str, Any], scored: Mapping[str, Scored], folder: Path, threshold: float, root: Path | None = None
) -> None:
    """Write the DECISION_FILES that apply: of muscles or activities, and of errors; figures from LEAST_CLIPS clips on.

    Args:
        results: for the title.
        scored: split -> its clips; splits without clips are left out.
        root: folder of the clips' videos; None = no contact sheet.
    """
    scored = {split: s for split, s in scored.items() if len(s.scores) and s.labels.any()}
    if not scored:
        return
    title, target = run_title(results), results["run"]["target"]
    joined = {group: _joined(scored, group) for group in GROUPS}
    groups = {group: of for group, of in joined.items() if of is not None and len(of.scores) >= LEAST_CLIPS}
    if groups and target == MUSCLE_TARGET:
        reliability_figure(groups, folder / RELIABILITY_FIGURE, threshold, title)
        co_activation_figure(groups, folder / CO_ACTIVATION_FIGURE, threshold, title)
    if groups and target == ACTIVITY_TARGET:
        confusion_figure(groups, folder / CONFUSION_FIGURE, title)
    mistakes = find_mistakes(scored, None if target == ACTIVITY_TARGET else threshold)
    with atomic_path(folder / ERRORS_TABLE) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(("split", "clip", "cross_entropy", "missed", "false"))
        writer.writerows((m.split, m.clip, f"{m.loss:.4f}", ";".join(m.missed), ";".join(m.false)) for m in mistakes)
    if groups and root is not None:
        contact_sheet(mistakes[:WORST], root, folder / ERRORS_FIGURE, title)


def _joined(scored: Mapping[str, Scored], group: str) -> Scored | None:
    parts = [s for split, s in scored.items() if split.startswith(f"{group}_")]
    if not parts:
        return None
    scores, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "labels"))
    return Scored(scores, labels, [clip for part in parts for clip in part.clips], parts[0].columns)


def find_mistakes(scored: Mapping[str, Scored], threshold: float | None) -> list[Mistake]:
    """All clips by their cross-entropy, largest first; threshold None: of classes that exclude each other, of which the
    highest score decides. Clips of none of these are left out."""
    found = []
    for split, s in scored.items():
        if threshold is None:
            chosen = np.eye(s.scores.shape[1], dtype=bool)[s.scores.argmax(axis=1)]
            losses = -np.log((s.scores * s.labels).sum(axis=1).clip(1e-7, 1))
        else:
            chosen, losses = s.scores >= threshold, cross_entropy(s.scores.clip(0, 1), s.labels)
        for row in np.flatnonzero(s.labels.any(axis=1) | (threshold is not None)).tolist():
            order = [int(c) for c in np.argsort(-s.scores[row], kind="stable")]
            missed = [str(s.columns[c]) for c in reversed(order) if s.labels[row, c] and not chosen[row, c]]
            false = [str(s.columns[c]) for c in order if chosen[row, c] and not s.labels[row, c]]
            found.append(Mistake(split, str(s.clips[row]), float(losses[row]), missed, false))
    return sorted(found, key=lambda m: (-m.loss, m.split, m.clip))


def reliability_figure(groups: Mapping[str, Scored], path: Path, threshold: float, title: str) -> None:
    """Left, predicted against observed shares with the calibration error; right, precision, recall and F1 per muscle."""
    figure = new_figure(5 + 3.6 * len(groups), 6.4)
    grid = figure.add_gridspec(2, 1 + len(groups), height_ratios=(3, 1), width_ratios=[1.5] + [1] * len(groups))
    colours = [COLOURS[f"{group}_val"] for group in groups]
    both = {f"{group} activities": (s.scores.clip(0, 1), s.labels) for group, s in groups.items()}
    shares = figure.add_subplot(grid[0, 0])
    draw_shares(shares, both, colours)
    draw_bins(figure.add_subplot(grid[1, 0], sharex=shares), {name: p for name, (p, _) in both.items()}, colours)
    left: Axes | None = None
    for number, (group, s) in enumerate(groups.items()):
        axes = figure.add_subplot(grid[:, 1 + number], sharey=left)
        _draw_f1(axes, s, threshold)
        axes.set_title(f"{group} activities, {len(s.scores)} clips", fontsize=10, color=INK)
        if left is None:
            left = axes
            axes.set_yticks(range(len(s.columns)), [_words(name) for name in s.columns])
            axes.invert_yaxis()
        else:
            axes.tick_params(labelleft=False)
    figure.suptitle(f"{title}: decisions at a score of {threshold:g}", fontsize=13, fontweight="bold", color=INK)
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=3, frameon=False, fontsize=9)
    save(figure, path)


def _draw_f1(axes: Axes, s: Scored, threshold: float) -> None:
    found, rows = decisions(s.scores, s.labels, threshold), np.arange(len(s.columns))
    axes.barh(rows, 100 * np.nan_to_num(found.f1), 0.7, color="#D5DCE4", label="F1")
    for values, marker, colour, name in (
        (found.precision, "o", KNOWN, "precision"),
        (found.recall, "D", NEW, "recall"),
    ):
        axes.plot(100 * values, rows, marker, color=colour, markersize=5, label=name, clip_on=False)
    for row in rows[~s.labels.any(axis=0)]:
        axes.text(2, row, "no clip", va="center", fontsize=7.5, color=PALE)
    axes.set(xlim=(0, 100), xlabel="percent")
    dress(axes, "x")


def co_activation_figure(groups: Mapping[str, Scored], path: Path, threshold: float, title: str) -> None:
    """Of the clips with each muscle, how many have each other one: by the labels, and as predicted."""
    figure = new_figure(16.5, 7.6 * len(groups) + 0.6)
    layout: Any = figure.get_layout_engine()
    layout.set(h_pad=0.15)
    rows = figure.subplots(len(groups), 2, squeeze=False)
    for (group, s), (truth, predicted) in zip(groups.items(), rows, strict=True):
        share = f"share of the {group} activities' clips with the row's muscle"
        for axes, seen, what in (
            (truth, s.labels, "that have the column's, by the labels"),
            (predicted, s.scores >= threshold, f"for which the column's is predicted (score {threshold:g} or more)"),
        ):
            image = _draw_matrix(axes, co_activation(s.labels, seen), s.columns)
            axes.set_title(f"{share}\n{what}", fontsize=10, color=INK, loc="left")
    figure.colorbar(image, ax=rows, shrink=0.4, pad=0.01, aspect=30, label="percent").outline.set_visible(False)
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def confusion_figure(groups: Mapping[str, Scored], path: Path, title: str) -> None:
    """Predicted against true activities in percent of the true one's clips; of more than MOST_CLASSES, those that are
    confused most."""
    known = {group: s for group, s in groups.items() if s.labels.any()}
    figure = new_figure(9.5 * len(known), 9)
    for (group, s), axes in zip(known.items(), figure.subplots(1, len(known), squeeze=False)[0], strict=True):
        chosen = np.eye(len(s.columns))[s.scores.argmax(axis=1)]
        shown = np.flatnonzero(s.labels.any(axis=0) | chosen[s.labels.any(axis=1)].any(axis=0))
        wrong = (s.labels.T @ chosen) * (1 - np.eye(len(s.columns)))
        by_wrong = shown[np.argsort(-(wrong.sum(0) + wrong.sum(1))[shown], kind="stable")]
        picked = np.sort(by_wrong[:MOST_CLASSES])
        matrix = co_activation(s.labels, chosen)[np.ix_(picked, picked)]
        _draw_matrix(axes, matrix, [str(s.columns[c]) for c in picked])
        few = f", the {len(picked)} most confused of {len(shown)}" if len(picked) < len(shown) else ""
        text = f"{group} activities{few}: percent of the row's clips\nthat are predicted as the column's"
        axes.set_title(text, fontsize=10, color=INK, loc="left")
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def _draw_matrix(axes: Axes, shares: np.ndarray, names: Sequence[str]) -> Any:
    from matplotlib import colormaps

    colours = colormaps["Blues"].with_extremes(bad="#F0F0F0")
    image = axes.imshow(100 * np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=100)
    for row, column in zip(*np.nonzero(np.nan_to_num(shares) >= 0.005), strict=True):
        value = shares[row, column]
        ink = "white" if value > 0.6 else INK
        text = axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
        text.set_in_layout(False)  # measuring each would take seconds
    texts = [_words(name)[:28] for name in names]
    axes.set_xticks(range(len(names)), texts, rotation=90)
    axes.set_yticks(range(len(names)), texts)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.spines[:].set_visible(False)
    return image


def contact_sheet(mistakes: Sequence[Mistake], root: Path, path: Path, title: str) -> None:
    """Frames of each clip with its name, and what was missed and wrongly predicted."""
    rows = -(-len(mistakes) // TILES_PER_ROW)
    figure = new_figure(5.2 * TILES_PER_ROW, 2.15 * rows + 0.7)
    every = figure.subplots(rows, TILES_PER_ROW, squeeze=False).ravel()
    for axes in every:
        axes.set_axis_off()
    for axes, mistake in zip(every, mistakes, strict=False):
        axes.imshow(_strip(root / mistake.clip))
        name = mistake.clip if len(mistake.clip) <= NAME_LENGTH else f"...{mistake.clip[3 - NAME_LENGTH :]}"
        head = f"{name}\n{mistake.split}, cross-entropy {mistake.loss:.2f}".replace("$", r"\$")
        axes.set_title(head, fontsize=9, color=INK, loc="left")
        lines = ((f"missed: {_listed(mistake.missed)}", NEW), (f"false: {_listed(mistake.false)}", KNOWN))
        for number, (text, colour) in enumerate(lines):
            axes.text(0, -0.04 - 0.11 * number, text, transform=axes.transAxes, va="top", fontsize=8, color=colour)
    figure.suptitle(f"{title}: clips with the largest errors", fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def _strip(video: Path) -> np.ndarray:
    """FRAMES evenly spaced frames side by side, (FRAME_HEIGHT, W, 3); grey where the video cannot be read."""
    try:
        with closing(open_source(video)) as source:
            numbers = ((np.arange(FRAMES) + 0.5) / FRAMES * source.num_frames).astype(int)
            images = source.frames(numbers.tolist())
    except DecodeError:
        return np.full((FRAME_HEIGHT, FRAMES * FRAME_HEIGHT, 3), 235, np.uint8)
    width = max(1, round(images.shape[2] * FRAME_HEIGHT / images.shape[1]))
    return np.hstack([cv2.resize(i, (width, FRAME_HEIGHT), interpolation=cv2.INTER_AREA) for i in images])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (", ".join(_words(name) for name in names[:NAMED]) or "none") + more


def _words(name: str) -> str:
    return name.replace("_", " ").replace("$", r"\$")
