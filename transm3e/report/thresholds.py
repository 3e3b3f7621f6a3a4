"""Thresholds of muscles, tuned on the validation splits and applied to the test splits; thresholds.json of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.config.targets import MUSCLE_TARGET, VALIDATION
from transm3e.engine.evaluate import ScoredSplit
from transm3e.files import atomic_write_text
from transm3e.metrics.decisions import decisions
from transm3e.metrics.thresholds import best_thresholds

THRESHOLDS = "thresholds.json"


def write_thresholds(predictions: Mapping[str, ScoredSplit], file: Path) -> None:
    """Tune the thresholds of muscles on all clips of the validation splits, apply them to the test splits, and write `file`.

    It holds {"tuned_on": splits, "thresholds": {muscle: score}, "validation", and each test split: {"precision", "recall",
    "F1": {muscle: in [0, 1]}, "mean_F1": over the muscles that have one}}; null is what is not defined. If no validation clip
    has a muscle, an earlier file is removed.
    """
    tuned_on = [predictions[s] for s in VALIDATION if s in predictions and len(predictions[s].rows)]
    if not any(p.target == MUSCLE_TARGET and p.labels.any() for p in tuned_on):
        file.unlink(missing_ok=True)
        return
    scores, labels = (np.concatenate([getattr(p, name) for p in tuned_on]) for name in ("scores", "labels"))
    thresholds, muscles = best_thresholds(scores, labels), tuned_on[0].columns
    saved = {
        "tuned_on": [s for s in VALIDATION if s in predictions],
        "thresholds": _by_muscle(muscles, thresholds),
        "validation": _applied(muscles, scores, labels, thresholds),
    }
    for split, p in predictions.items():
        if split not in VALIDATION and len(p.rows):
            saved[split] = _applied(muscles, p.scores, p.labels, thresholds)
    atomic_write_text(file, json.dumps(saved, indent=2, allow_nan=False) + "\n")


def _applied(
    muscles: tuple[str, ...], scores: np.ndarray, labels: np.ndarray, thresholds: np.ndarray
) -> dict[str, Any]:
    precision, recall, f1 = decisions(scores, labels, thresholds)
    defined = f1[~np.isnan(f1)]
    found = {"precision": precision, "recall": recall, "F1": f1}
    named = {name: _by_muscle(muscles, values) for name, values in found.items()}
    return {**named, "mean_F1": float(defined.mean()) if len(defined) else None}


def _by_muscle(muscles: tuple[str, ...], values: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(muscles, values, strict=True)}
