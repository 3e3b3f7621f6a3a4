"""`results.json`: the scores of one run, per split and muscle.

    {"run": {"id", "name", "model", "dataset", ...},
     "splits": {"known_val": {"mAP", "num_clips", "per_muscle", "positives", "failed_clips"[, "reason"]}, ...},
     "mean_val": ..., "mean_test": ...}

Where "run" has the "target" "activity", splits hold the result of transm3e.report.activity_figure.activity_result: "top1", "top5", ...;
where it has "activities", that of activities_result: "mAP", "per_activity", ...
Those of the model Random hold means over many draws, and "draws", see with_draws.
Scores are fractions in [0, 1]; null means "could not be computed", never 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from transm3e.config.targets import ACTIVITY_TARGET, MULTI_TARGET, MUSCLE_TARGET
from transm3e.data.annotations import MUSCLES, SPLITS
from transm3e.errors import UserError, disk_fault, shown
from transm3e.files import atomic_write_text, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.metrics import average_precision, mean_average_precision
from transm3e.metrics.average_precision import to_float64
from transm3e.metrics.bootstrap import percentile_interval
from transm3e.metrics.random_scores import random_average_precision

# What a run predicts -> the name of a split's headline score.
METRICS = {MUSCLE_TARGET: "mAP", ACTIVITY_TARGET: "top1", MULTI_TARGET: "mAP"}
MEANS = {"mean_val": ("known_val", "new_val"), "mean_test": ("known_test", "new_test")}
# Draws of random scores; the standard error of their mean is 1/14 of their standard deviation.
DRAWS = 200
DRAWS_KEYS = ("std", "low", "high", "predictions")


def split_result(
    scores: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    failed_clips: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Score one split; the result is ready for JSON.

    Args:
        scores: (N, 20) real numbers, array or tensor; N may be 0, with any width.
        labels: (N, 20) of 0 and 1.
        failed_clips: (path, reason) of every clip without scores; these are not among the N.

    Returns:
        {"mAP": in [0, 1] or None, "num_clips": N, "per_muscle": {muscle: AP in [0, 1] or None},
        "positives": {muscle: how many of the N clips have it}, "failed_clips": [{"path", "reason"}]},
        and a "reason" if mAP is None.

    Raises:
        ValueError: shapes are not (N, 20), or labels hold values other than 0 and 1.
        UserError: a score is NaN or infinite.
    """
    scores_NM, labels_NM = clip_rows(scores), clip_rows(labels)
    for name, values in (("scores", scores_NM), ("labels", labels_NM)):
        if values.shape != (len(labels_NM), len(MUSCLES)):
            raise ValueError(f"{name} have shape {values.shape}; allowed: ({len(labels_NM)} clips, {len(MUSCLES)})")
    ap_M = average_precision(scores_NM, labels_NM) if len(scores_NM) else np.full(len(MUSCLES), np.nan)
    any_positive = bool(labels_NM.any())
    result: dict[str, Any] = {
        "mAP": mean_average_precision(scores_NM, labels_NM) if any_positive else None,
        "num_clips": len(scores_NM),
        "per_muscle": {m: None if np.isnan(ap) else float(ap) for m, ap in zip(MUSCLES, ap_M, strict=True)},
        "positives": {m: int(n) for m, n in zip(MUSCLES, labels_NM.sum(axis=0), strict=True)},
        "failed_clips": [{"path": path, "reason": reason} for path, reason in failed_clips],
    }
    if not any_positive:
        result["reason"] = _why_no_score(len(scores_NM), len(failed_clips))
    return result


def with_draws(result: Mapping[str, Any], labels: ArrayLike | torch.Tensor, key: Sequence[int]) -> dict[str, Any]:
    """A result of split_result for one draw of random scores, with its scores replaced by means over DRAWS draws.

    One draw can be far off if a muscle has few clips: if its only clip of 80 ranks first, AP is 100%, where 6% is
    expected.

    Args:
        labels: (N, 20) of 0 and 1.
        key: seed of the generator, non-negative integers.

    Returns:
        The result with means over draws as "mAP" and "per_muscle", and "draws": {"number", "std" (n - 1), "low" and
        "high" (95% of the draws are between), "predictions": mAP of the one draw whose scores are stored};
        unchanged if there is no mAP.
    """
    if result["mAP"] is None:
        return dict(result)
    ap_RM = random_average_precision(clip_rows(labels), DRAWS, key)
    mAP_R = np.nanmean(ap_RM, axis=1)
    low, high = percentile_interval(mAP_R)
    per_muscle = {m: None if np.isnan(ap) else float(ap) for m, ap in zip(MUSCLES, ap_RM.mean(axis=0), strict=True)}
    draws = {"number": DRAWS, "std": float(mAP_R.std(ddof=1)), "low": low, "high": high, "predictions": result["mAP"]}
    return {**result, "mAP": float(mAP_R.mean()), "per_muscle": per_muscle, "draws": draws}


def clip_rows(values: ArrayLike | torch.Tensor, columns: int = len(MUSCLES)) -> np.ndarray:
    """As float64; an array without rows becomes (0, columns): an evaluation without clips does not know the width."""
    rows = np.atleast_1d(to_float64(values))
    return rows if len(rows) else np.zeros((0, columns))


def metric_of(results: Mapping[str, Any]) -> str:
    """The name of a split's headline score: "mAP" or "top1"."""
    return METRICS[results["run"].get("target", MUSCLE_TARGET)]


def mean_of(splits: Mapping[str, Mapping[str, Any]], mean: str, metric: str) -> float | None:
    """(known + new) / 2 of "mean_val" or "mean_test"; None if a part is missing."""
    parts = [splits[name][metric] for name in MEANS[mean] if name in splits]
    return sum(parts) / 2 if len(parts) == 2 and None not in parts else None


def draws_std(splits: Mapping[str, Mapping[str, Any]], column: str) -> float | None:
    """Standard deviation of a split's mAP, or of "mean_val" or "mean_test", over the draws of random scores; else None."""
    parts = MEANS.get(column, (column,))
    stds = [splits[name]["draws"]["std"] for name in parts if "draws" in splits.get(name, {})]
    # The draws of the splits are independent.
    return math.hypot(*stds) / len(parts) if len(stds) == len(parts) else None


def mAP_of_predictions(split: Mapping[str, Any]) -> float:
    """mAP of the scores that a run stores (of random scores: one draw, not the mean), for a split that has an mAP."""
    return float(split.get("draws", {}).get("predictions", split["mAP"]))


def summarise(splits: Mapping[str, Mapping[str, Any]], metric: str = "mAP") -> dict[str, Any]:
    """{"splits": splits, "mean_val": (known_val + new_val) / 2, "mean_test": the same of test}; None if a part is missing."""
    return {"splits": dict(splits), **{mean: mean_of(splits, mean, metric) for mean in MEANS}}


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON with sorted keys; the file appears whole or not at all.

    Raises:
        ValueError: a number is NaN or infinite (write None if a score could not be computed).
        UserError: the file cannot be written.
    """
    atomic_write_text(path, json.dumps(results, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_results(path: str | Path) -> dict[str, Any]:
    """Read what write_results wrote.

    Raises:
        UserError: the file is missing, is not JSON, or does not hold splits with a score in [0, 1] or null.
    """
    file = Path(path)
    remedy = "run tools/run_net.py with TEST.ENABLE True to make it"
    try:
        results = parse_json(read_text(file), constants=False)
    except OSError as error:
        raise UserError(f"cannot read results {file}: {disk_fault(error, remedy)}") from error
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error!s:.200}; delete it and {remedy}") from error
    problem = _format_problem(results)
    if problem:
        raise UserError(f"{file} is not a results file of transm3e: {problem}; delete it and {remedy}")
    return results


def _why_no_score(num_clips: int, num_failed: int) -> str:
    if num_clips:
        return f"none of the {num_clips} clips has a muscle"
    return f"all {num_failed} clips failed" if num_failed else "the split has no clips"


def _format_problem(results: object) -> str | None:
    if not isinstance(results, dict) or not isinstance(results.get("splits"), dict):
        return "no object 'splits' at the top"
    run = results.get("run")
    if not isinstance(run, dict) or run.get("target", MUSCLE_TARGET) not in list(METRICS):
        return "no object 'run' at the top, or its target is neither " + " nor ".join(METRICS)
    metric = metric_of(results)
    for name, split in results["splits"].items():
        if name not in SPLITS:
            return f"unknown split {shown(name)}, allowed: {', '.join(SPLITS)}"
        if not isinstance(split, dict) or not _is_score(split.get(metric, "missing")):
            return f"splits.{name}.{metric} is not null or a number in 0..1"
        if "draws" in split and not _are_draws(split["draws"]):
            return f"splits.{name}.draws needs a whole number, and {', '.join(DRAWS_KEYS)} in 0..1"
    wrong = [mean for mean in MEANS if not _is_score(results.get(mean))]
    return f"{wrong[0]} is not null or a number in 0..1" if wrong else None


def _are_draws(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("number"), int):
        return False
    return all(value.get(key) is not None and _is_score(value[key]) for key in DRAWS_KEYS)


def _is_score(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)
