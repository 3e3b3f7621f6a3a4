"""Scores of a run that predicts activities on one split, and their figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from transm3e.data.annotations import EVAL_SPLITS
from transm3e.errors import UserError
from transm3e.metrics import average_precision, mean_average_precision, top_k_accuracy
from transm3e.report.figures import COLOURS, INK, dress, new_figure, run_title, save
from transm3e.runs.results import clip_rows, metric_of

TOP = (1, 5)
# Number of bars that are readable in one panel; of more activities the worst are shown.
MOST = 40
NAME_LENGTH = 32


def activity_result(
    scores: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    activities: Sequence[str],
    failed_clips: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Score one split; the result is ready for JSON.

    Args:
        scores: (N, A) finite real numbers, array or tensor; N may be 0.
        labels: (N, A) one-hot; a row of zeros is a clip whose activity is not among the classes: it is counted, but
            left out of the scores.
        activities: A names.
        failed_clips: (path, reason) of every clip without scores; these are not among the N.

    Returns:
        {"top1", "top5": in [0, 1] or None, "num_clips": N, "unknown_activity": number of clips of no class,
        "per_activity": {name: its top-1 accuracy, or None without clips}, "failed_clips": [{"path", "reason"}]},
        and a "reason" if top1 is None.

    Raises:
        ValueError: shapes are not (N, A), or a row of labels is neither one-hot nor all 0.
    """
    width = len(activities)
    scores_NA, labels_NA = clip_rows(scores, width), clip_rows(labels, width)
    for name, values in (("scores", scores_NA), ("labels", labels_NA)):
        if values.shape != (len(labels_NA), width):
            raise ValueError(f"{name} have shape {values.shape}; allowed: ({len(labels_NA)} clips, {width})")
    known = labels_NA.any(axis=1)
    of_class = {name: labels_NA[:, i] == 1 for i, name in enumerate(activities)}
    result: dict[str, Any] = {
        **{f"top{k}": top_k_accuracy(scores_NA[known], labels_NA[known], k) if known.any() else None for k in TOP},
        "num_clips": len(scores_NA),
        "unknown_activity": int((~known).sum()),
        "per_activity": {
            name: top_k_accuracy(scores_NA[rows], labels_NA[rows], 1) if rows.any() else None
            for name, rows in of_class.items()
        },
        "failed_clips": [{"path": path, "reason": reason} for path, reason in failed_clips],
    }
    if not known.any():
        result["reason"] = (
            f"none of the {len(scores_NA)} clips shows an activity of train"
            if len(scores_NA)
            else f"all {len(failed_clips)} clips failed"
        )
    return result


def activities_result(
    scores: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    activities: Sequence[str],
    failed_clips: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Score one split whose clips may show several activities: as activity_result, with "mAP" and each one's AP.

    Returns:
        {"mAP": in [0, 1] or None, "num_clips": N, "per_activity": {name: AP, or None without clips},
        "positives": {name: how many of the N clips show it}, "failed_clips": [{"path", "reason"}]}, and a "reason" if
        mAP is None.
    """
    scores_NA, labels_NA = clip_rows(scores, len(activities)), clip_rows(labels, len(activities))
    ap_A = average_precision(scores_NA, labels_NA) if len(labels_NA) else np.full(len(activities), np.nan)
    known = bool(labels_NA.any())
    return {
        "mAP": mean_average_precision(scores_NA, labels_NA) if known else None,
        "num_clips": len(scores_NA),
        "per_activity": {a: None if np.isnan(ap) else float(ap) for a, ap in zip(activities, ap_A, strict=True)},
        "positives": {a: int(n) for a, n in zip(activities, labels_NA.sum(axis=0), strict=True)},
        "failed_clips": [{"path": path, "reason": reason} for path, reason in failed_clips],
        **({} if known else {"reason": f"none of the {len(scores_NA)} clips shows an activity of train"}),
    }


def activity_bars(results: Mapping[str, Any], path: str | Path) -> None:
    """Draw the top-1 accuracy or AP of each activity, best first, a panel per split; of more than MOST the worst.

    Args:
        results: as read_results gives them, of a run whose target is "activity" or "activities".
        path: the file to write; .png, .pdf or .svg decides the format.

    Raises:
        UserError: no split could be scored, the suffix is unknown, or the file cannot be written.
    """
    metric = metric_of(results)
    splits = [name for name in EVAL_SPLITS if results["splits"].get(name, {}).get(metric) is not None]
    if not splits:
        raise UserError(f"no figure {path}: no split of the results has a score; see the reasons in results.json")
    scored = [_scored(results["splits"][name]) for name in splits]
    rows = max(len(bars) for bars in scored)
    figure = new_figure(5.4 * len(splits) + 0.8, 0.24 * rows + 1.8)
    for axes, name, bars in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, scored, strict=True):
        positions = range(len(bars))
        axes.barh(positions, [100 * value for _, value in bars], color=COLOURS[name], height=0.7)
        axes.set_yticks(positions, [label[:NAME_LENGTH] for label, _ in bars])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("top-1 accuracy (%)" if metric == "top1" else "average precision (%)")
        axes.set_title(_title(name, results["splits"][name], metric, len(bars)), loc="left", fontsize=11, color=INK)
        dress(axes, "x")
    figure.suptitle(run_title(results), fontsize=14, fontweight="bold", color=INK)
    save(figure, path)


def _scored(split: Mapping[str, Any]) -> list[tuple[str, float]]:
    values = [(name, value) for name, value in split["per_activity"].items() if value is not None]
    return sorted(values, key=lambda bar: (-bar[1], bar[0]))[-MOST:]


def _title(name: str, split: Mapping[str, Any], metric: str, shown: int) -> str:
    known = split["num_clips"] - split.get("unknown_activity", 0)
    total = sum(value is not None for value in split["per_activity"].values())
    which = f"\nthe {shown} worst of {total} activities" if shown < total else ""
    return f"{name}: {100 * split[metric]:.1f} on {known} clips{which}"
