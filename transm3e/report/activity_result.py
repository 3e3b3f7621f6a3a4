"""What a run that predicts activities reached on one split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike

from transm3e.metrics import top_k_accuracy
from transm3e.runs.results import clip_rows

TOP = (1, 5)


def activity_result(
    scores: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    activities: Sequence[str],
    failed_clips: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Score one split; what comes back is ready for JSON.

    Args:
        scores: (N, A) finite real numbers, array or tensor; N may be 0.
        labels: (N, A) one-hot; a row of zeros is a clip of an activity that is none of the classes: it is counted and
            left out of the scores.
        activities: A names.
        failed_clips: (path, reason) of every clip that gave no scores; they are not among the N.

    Returns:
        {"top1", "top5": in [0, 1] or None, "num_clips": N, "unknown_activity": how many of them are of no class,
        "per_activity": {name: its top-1 accuracy, or None without clips}, "failed_clips": [{"path", "reason"}]},
        and a "reason" where top1 is None.

    Raises:
        ValueError: shapes are not (N, A), or a row of labels holds something besides one 1 and 0.
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
