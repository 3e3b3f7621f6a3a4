"""Picture of a run that predicts activities: its accuracy for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transm3e.data.annotations import EVAL_SPLITS
from transm3e.errors import UserError
from transm3e.report.pictures import COLOURS, INK, dress, new_figure, run_title, save

# Bars of one panel that can still be read; of more activities the worst are shown.
MOST = 40
NAME_LENGTH = 32


def activity_bars(results: Mapping[str, Any], path: str | Path) -> None:
    """Draw the top-1 accuracy of each activity, best first, a panel per split; of more than MOST the worst.

    Args:
        results: as read_results gives them, of a run whose target is "activity".
        path: the file to write; .png, .pdf or .svg decides the format.

    Raises:
        UserError: no split could be scored, the suffix is unknown, or the file cannot be written.
    """
    splits = [name for name in EVAL_SPLITS if results["splits"].get(name, {}).get("top1") is not None]
    if not splits:
        raise UserError(f"no picture {path}: no split of the results has an accuracy; see the reasons in results.json")
    scored = [_scored(results["splits"][name]) for name in splits]
    rows = max(len(bars) for bars in scored)
    figure = new_figure(5.4 * len(splits) + 0.8, 0.24 * rows + 1.8)
    for axes, name, bars in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, scored, strict=True):
        places = range(len(bars))
        axes.barh(places, [100 * value for _, value in bars], color=COLOURS[name], height=0.7)
        axes.set_yticks(places, [label[:NAME_LENGTH] for label, _ in bars])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("top-1 accuracy (%)")
        axes.set_title(_title(name, results["splits"][name], len(bars)), loc="left", fontsize=11, color=INK)
        dress(axes, "x")
    figure.suptitle(run_title(results), fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def _scored(split: Mapping[str, Any]) -> list[tuple[str, float]]:
    values = [(name, value) for name, value in split["per_activity"].items() if value is not None]
    return sorted(values, key=lambda bar: (-bar[1], bar[0]))[-MOST:]


def _title(name: str, split: Mapping[str, Any], shown: int) -> str:
    known = split["num_clips"] - split["unknown_activity"]
    total = sum(value is not None for value in split["per_activity"].values())
    which = f"\nthe {shown} worst of {total} activities" if shown < total else ""
    return f"{name}: {100 * split['top1']:.1f} on {known} clips{which}"
