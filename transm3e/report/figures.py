"""Figures of a run: average precision per muscle, and training curves of loss and mAP.

Figures are drawn without pyplot, so the backend and style of a calling program do not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transm3e.data.annotations import MUSCLES
from transm3e.errors import UserError
from transm3e.files import atomic_path
from transm3e.runs.results import MEANS, draws_std

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from transm3e.engine.find_lr import Sweep

# Okabe and Ito's palette: distinct with every common colour blindness, and in grey.
KNOWN, NEW, MEAN, INK, PALE = "#0072B2", "#E69F00", "#009E73", "#222222", "#888888"
COLOURS = {"known_val": KNOWN, "new_val": NEW, "known_test": KNOWN, "new_test": NEW, "mean_val": MEAN}
BARS_HEIGHT = 0.78  # of the bars of one muscle together; 1 is the distance between muscles
CHANCE = "constant scores (All Ones)"


def muscle_bars(results: Mapping[str, Any], path: str | Path) -> None:
    """Draw AP per muscle, known against new activities, validation and test side by side.

    A diamond on each bar is the share of the split's clips with the muscle: the AP of a model that
    gives all clips one score. A muscle without clips in a split is written as "no clip".

    Args:
        results: as read_results gives them; pairs of splits without any clip are left out.
        path: the file to write; .png, .pdf or .svg decides the format.

    Raises:
        UserError: no split has an mAP, the suffix is unknown, or the file cannot be written.
    """
    panels = [pair for pair in MEANS.items() if any(_scored(results, name) for name in pair[1])]
    if not panels:
        raise UserError(f"no figure {path}: no split of the results has an mAP; see the reasons in results.json")
    figure = new_figure(4.4 * len(panels) + 1.8, 8.2)
    for axes, (mean, names) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        _draw_pair(axes, results, mean, names)
    _draw_legend(figure)
    figure.suptitle(run_title(results), fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def training_curves(
    history: Iterable[Mapping[str, Any]], path: str | Path, score_name: str = "mAP (%)", title: str = ""
) -> None:
    """Draw losses, validation scores and the learning rate, as far as there are any, over the epochs.

    Args:
        history: records {"epoch": int, "loss": float, its parts "loss_...", "val_loss", "known_val": fraction or None,
            "new_val": likewise, "lr", ...}.
        path: the file to write; .png, .pdf or .svg decides the format.
        score_name: name of the validation score.
        title: first line of the figure.

    Raises:
        UserError: there is no epoch, or the figure cannot be written.
    """
    records = sorted(history, key=lambda record: record["epoch"])
    if not records:
        raise UserError(f"no figure {path}: no epoch is finished; train for one epoch first")
    known = {name for record in records for name in record if _points(records, name)}
    losses = ["loss", *sorted(name for name in known if name.startswith(("loss_", "val_loss")))]
    curves: list[str] = [name for name in ("known_val", "new_val", "mean_val") if name in known]
    panels: list[tuple[list[str], str, int]] = [
        (losses, "loss", 1),
        (curves, score_name, 100),
        (["lr"] if "lr" in known else [], "learning rate", 1),
    ]
    panels = [panel for panel in panels if panel[0]]
    figure = new_figure(7.5, 0.8 + 2.8 * len(panels))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (names, label, scale) in zip(rows, panels, strict=True):
        _draw_curves(axes, records, names, label, scale)
    rows[-1].set_xlabel("epoch")
    rows[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def learning_rates(found: Sweep, path: str | Path, title: str, base: float) -> None:
    """Draw the loss over rising learning rates, with the suggested and the configured one (`base`).

    Raises:
        UserError: the figure cannot be written.
    """
    figure = new_figure(7.5, 4)
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color=PALE, linewidth=0.8, label="loss")
    axes.plot(found.rates, found.smoothed, color=INK, linewidth=2, label="smoothed")
    if best := found.suggestion():
        axes.axvline(best, color=NEW, linewidth=2, label=f"suggested {best:.2g}")
    axes.axvline(base, color=KNOWN, linestyle=":", label=f"SOLVER.BASE_LR {base:.2g}")
    axes.set_xscale("log")
    axes.set_ylim(min(found.losses) * 0.95, max(found.smoothed[: len(found.smoothed) // 2 + 1]) * 1.3)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False, fontsize=9)
    dress(axes, "y")
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def _draw_pair(axes: Axes, results: Mapping[str, Any], mean: str, names: Sequence[str]) -> None:
    present = [name for name in names if _scored(results, name)]
    height = BARS_HEIGHT / len(present)
    for i, name in enumerate(present):
        offset = (i - (len(present) - 1) / 2) * height
        _draw_split(axes, results["splits"][name], offset, height, COLOURS[name], _activities(name))
    axes.set_yticks(range(len(MUSCLES)), [muscle.replace("_", " ") for muscle in MUSCLES])
    axes.set_ylim(len(MUSCLES) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    draws = results["splits"][present[0]].get("draws")
    axes.set_xlabel("average precision (%)" + (f", mean of {draws['number']} draws" if draws else ""))
    scores = [_score_text(results, name, results["splits"][name]["mAP"]) for name in present]
    if results.get(mean) is not None:
        scores.append(_score_text(results, mean, results[mean]))
    kind = {"mean_val": "Validation", "mean_test": "Test"}[mean]
    axes.set_title(f"{kind}: mAP {', '.join(scores)}", fontsize=9 if draws else 11, color=INK)
    dress(axes, "x")


def _score_text(results: Mapping[str, Any], column: str, value: float) -> str:
    std = draws_std(results["splits"], column)
    return f"{_activities(column)} {100 * value:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def _draw_split(
    axes: Axes, split: Mapping[str, Any], offset: float, height: float, colour: str, activities: str
) -> None:
    aps = [split["per_muscle"].get(muscle) for muscle in MUSCLES]
    rows = [i for i, ap in enumerate(aps) if ap is not None]
    ys, widths = [i + offset for i in rows], [100 * aps[i] for i in rows]
    bars = axes.barh(ys, widths, height, color=colour, label=f"{activities} activities")
    axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7, color=INK)
    shares = [100 * split["positives"][MUSCLES[i]] / split["num_clips"] for i in rows]
    diamonds = {"marker": "D", "markersize": 4, "markerfacecolor": "white", "markeredgecolor": INK}
    axes.plot(shares, ys, linestyle="", label=CHANCE, clip_on=False, **diamonds)  # type: ignore[arg-type]
    for i in set(range(len(aps))) - set(rows):
        axes.text(1, i + offset, "no clip", va="center", fontsize=7, fontstyle="italic", color=PALE)


def _draw_legend(figure: Figure) -> None:
    # Both panels have the same entries: one of each, the diamond last.
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries.update(zip(labels, handles, strict=True))
    labels = sorted(entries, key=lambda label: (label == CHANCE, label))
    figure.legend(
        [entries[label] for label in labels], labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )


def _draw_curves(
    axes: Axes, records: Sequence[Mapping[str, Any]], names: Sequence[str], label: str, scale: int
) -> None:
    for name, colour in zip(names, cycle((INK, NEW, KNOWN, MEAN, PALE, "#CC79A7", "#56B4E9")), strict=False):
        points = _points(records, name)
        xs, ys = [x for x, _ in points], [scale * y for _, y in points]
        best_x, best_y = max(zip(xs, ys, strict=True), key=lambda point: point[1])
        note = name.replace("_", " ") + (f" (best {best_y:.1f} at {best_x})" if name in COLOURS else "")
        colour = COLOURS.get(name, colour)
        axes.plot(xs, ys, color=colour, linewidth=2, marker="o", markersize=3.5, label=note)
    axes.set_ylabel(label)
    dress(axes, "y")
    if len(names) > 1 or names[0] in COLOURS:
        axes.legend(frameon=False, fontsize=9)


def _points(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(record["epoch"], record[name]) for record in records if record.get(name) is not None]


def _scored(results: Mapping[str, Any], name: str) -> bool:
    return results["splits"].get(name, {}).get("mAP") is not None


def _activities(split: str) -> str:
    return split.partition("_")[0]


def run_title(results: Mapping[str, Any]) -> str:
    """The run's name, or its model's, and the dataset."""
    run = results.get("run", {})
    words = (run.get("name") or run.get("model"), run.get("dataset"))
    return " on ".join(str(word) for word in words if word) or "average precision per muscle"


def dress(axes: Axes, grid_axis: Literal["x", "y"]) -> None:
    """Thin grid lines across one axis, no frame and no ticks."""
    axes.grid(axis=grid_axis, color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    # Imported here, as training and scoring must not need matplotlib or wait for its import.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as .png (150 dots per inch), .pdf or .svg; the file appears whole or not at all.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    suffix = Path(path).suffix.lower().lstrip(".")
    if suffix not in ("png", "pdf", "svg"):
        raise UserError(f"cannot draw {path}: unknown suffix; allowed: .png, .pdf, .svg")
    with atomic_path(path) as partial:
        canvas.print_figure(partial, format=suffix, dpi=150)
