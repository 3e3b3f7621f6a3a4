"""The report of one run: results.json, predictions, pictures; and the table of several."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.config.targets import MUSCLE_TARGET, scored_target
from transm3e.data.annotations import SPLITS
from transm3e.engine.evaluate import ScoredSplit
from transm3e.engine.processes.distributed import gather
from transm3e.errors import UserError
from transm3e.files import atomic_path, atomic_write_text, make_folder
from transm3e.metrics import mean_average_precision, top_k_accuracy
from transm3e.modalities import model_class
from transm3e.models.weights import read_checkpoint
from transm3e.report.activity_picture import activity_bars, activity_result
from transm3e.report.pictures import muscle_bars, run_title, training_curves
from transm3e.report.scores import write_predictions
from transm3e.report.table import results_table
from transm3e.runs.folder import RESULTS, is_evaluated, is_trained
from transm3e.runs.plan import Run
from transm3e.runs.record import TEST_CONFIG, check_owner, data_text
from transm3e.runs.results import (
    DRAWS,
    METRICS,
    metric_of,
    read_results,
    split_result,
    summarise,
    with_draws,
    write_results,
)

logger = logging.getLogger(__name__)
MUSCLE_PICTURE = "muscles.png"
TRAINING_PICTURE = "training.png"
# Clips that could not be read, all of them.
MISSING, MISSING_SHOWN = "missing_clips.csv", 3
ACTIVITY_PICTURE = "activities.png"
PICTURES = (MUSCLE_PICTURE, ACTIVITY_PICTURE, TRAINING_PICTURE)
METRIC_NAMES = {"mAP": "mAP", "top1": "top-1 accuracy", "top5": "top-5 accuracy"}


def split_scores(predictions: Mapping[str, ScoredSplit]) -> dict[str, float]:
    """mAP, or top-1 accuracy of activities, in [0, 1] of each split that has one: for validation while training."""
    return {split: _score(p) for split, p in predictions.items() if p.labels.any()}


def _score(predictions: ScoredSplit) -> float:
    if predictions.target == MUSCLE_TARGET:
        return mean_average_precision(predictions.scores, predictions.labels)
    known = predictions.labels.any(axis=1)
    return top_k_accuracy(predictions.scores[known], predictions.labels[known], 1)


def score_split(
    target: str, scores: np.ndarray, labels: np.ndarray, columns: Sequence[str], failed: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """A split's part of results.json, by what is predicted."""
    if target == MUSCLE_TARGET:
        return split_result(scores, labels, failed)
    return activity_result(scores, labels, columns, failed)


def draw_scores(results: Mapping[str, Any], folder: Path) -> None:
    """A figure of what is predicted, where a split could be scored."""
    if any(split[metric_of(results)] is not None for split in results["splits"].values()):
        if results["run"]["target"] == MUSCLE_TARGET:
            muscle_bars(results, folder / MUSCLE_PICTURE)
        else:
            activity_bars(results, folder / ACTIVITY_PICTURE)


def _result(run: Run, split: str, p: ScoredSplit) -> dict[str, Any]:
    result = score_split(p.target, p.scores, p.labels, p.columns, _failed(p))
    if p.target == MUSCLE_TARGET and model_class(run.cfg).draws:
        return with_draws(result, p.labels, (run.cfg.RNG_SEED, SPLITS.index(split)))
    return result


def write_report(
    run: Run, owner: Mapping[str, Any], checkpoint: Path | None, predictions: Mapping[str, ScoredSplit]
) -> None:
    """Write settings, predictions per split, pictures, and last results.json: where it stands, the evaluation is complete.

    With clips that could not be read, and TEST.ALLOW_MISSING False, it is not: MISSING names them, and there is no
    results.json.
    """
    atomic_write_text(run.folder / TEST_CONFIG, run.cfg.dump())
    make_folder(run.folder / "predictions", "OUTPUT_DIR")
    for split, p in predictions.items():
        write_predictions(run.folder / "predictions" / f"{split}.npz", p.scores, p.labels, p.paths, split, p.columns)
    missing = [(split, *clip) for split, p in predictions.items() for clip in _failed(p)]
    _write_missing(run.folder / MISSING, missing)
    if missing and not run.cfg.TEST.ALLOW_MISSING:
        for name in (RESULTS, *PICTURES):  # of an evaluation that was allowed to miss clips
            (run.folder / name).unlink(missing_ok=True)
        return
    target = scored_target(run.cfg)
    metric = METRICS[target]
    state = read_checkpoint(checkpoint) if checkpoint else {}
    progress = state.get("progress", {})
    results = {
        "run": {
            **owner,
            "eval_id": run.eval_id,
            "model": run.cfg.MODEL.MODEL_NAME,
            "dataset": run.cfg.TEST.DATASET or run.cfg.TRAIN.DATASET,
            "seed": run.cfg.RNG_SEED,
            "target": target,
            "checkpoint": str(checkpoint) if checkpoint else None,
            "epoch": progress.get("epoch"),
            "failed_training_clips": [{"path": p, "reason": r} for p, r in progress.get("failed", {}).items()],
        },
        **summarise({s: _result(run, s, p) for s, p in predictions.items()}, metric),
    }
    draw_scores(results, run.folder)
    if progress.get("history"):
        score_name, title = f"{METRIC_NAMES[metric]} (%)", run_title(results)
        training_curves(progress["history"], run.folder / TRAINING_PICTURE, score_name, title)
    write_results(run.folder / RESULTS, results)
    for split, result in results["splits"].items():
        logger.info(
            "%s: %s %s on %d clips, %d failed",
            split,
            METRIC_NAMES[metric],
            _percent(result[metric]),
            result["num_clips"],
            len(result["failed_clips"]),
        )


def refuse_missing(run: Run, predictions: Mapping[str, ScoredSplit]) -> None:
    """End the program if clips could not be read and TEST.ALLOW_MISSING is False; called on every process.

    Raises:
        UserError: says how many, names some, and where all of them stand.
    """
    failed = [clip for p in predictions.values() for clip in p.failed]
    if failed and not run.cfg.TEST.ALLOW_MISSING:
        shown = "; ".join(f"{clip.path}: {clip.reason}" for clip in failed[:MISSING_SHOWN])
        raise UserError(
            f"{run.name}: {len(failed)} clip(s) could not be read, so there is no score: {shown}"
            f"{'; ...' if len(failed) > MISSING_SHOWN else ''}; all of them stand in {run.folder / MISSING}; fix them "
            "and evaluate again, or leave them out with TEST.ALLOW_MISSING True"
        )


def _write_missing(file: Path, missing: Sequence[tuple[str, str, str]]) -> None:
    if not missing:
        file.unlink(missing_ok=True)
        return
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("split", "path", "reason"), *missing])


def already_done(run: Run, owner: Mapping[str, Any]) -> str:
    """A line that says where the results of a run are with which nothing is left to do, of which data they are, and what
    they miss; else "".

    Raises:
        UserError: the folder is another run's, or results.json is damaged.
    """
    check_owner(run, owner)
    if not (is_trained(run) and is_evaluated(run)) or run.cfg.DEMO.ENABLE:
        return ""
    results = read_results(run.folder / RESULTS) if (run.folder / RESULTS).is_file() else {"splits": {}, "run": owner}
    missing = sum(len(split.get("failed_clips", ())) for split in results["splits"].values())
    note = (
        f", without {missing} clip(s) that could not be read; delete {RESULTS} there to score anew" if missing else ""
    )
    return f"{run.name}: done already, in {run.folder} ({data_text(results['run'])}){note}"


def final_table(runs: Sequence[Run]) -> str:
    """The table of the runs that were asked for, each below those that it starts from, and where their pictures lie.

    A run that is not evaluated has no row.
    """
    asked = [step for run in runs if run.asked for step in _steps(run)]
    shown = [run for run in {run.folder.resolve(): run for run in asked}.values() if (run.folder / RESULTS).is_file()]
    if not shown:
        return ""
    names = Counter(run.name for run in shown)
    # One config with several settings: the folder tells them apart.
    labels = [run.name if names[run.name] == 1 else run.folder.name for run in shown]
    rows = [(label, read_results(run.folder / RESULTS)) for label, run in zip(labels, shown, strict=True)]
    dataset = ", ".join(dict.fromkeys(str(results["run"]["dataset"]) for _, results in rows))
    tables = ""
    for metric, name in METRIC_NAMES.items():
        have = [row for row in rows if metric_of(row[1]) == metric.replace("top5", "top1")]
        if have:
            tables += f"\n{dataset}, {name} in percent{_of_draws(have)}\n{results_table(have, metric=metric)}"
    pictures = [str(run.folder / name) for run in shown for name in PICTURES if (run.folder / name).is_file()]
    return f"{tables}\npictures:\n" + "".join(f"  {p}\n" for p in pictures)


def _steps(run: Run) -> list[Run]:
    """The runs that a run starts from, the first ones first, and itself."""
    return [*(step for start in run.starts for step in _steps(start)), run]


def _of_draws(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    drawn = [label for label, results in rows if any("draws" in split for split in results["splits"].values())]
    return f" ({', '.join(drawn)}: mean ± standard deviation of {DRAWS} draws)" if drawn else ""


def _failed(predictions: ScoredSplit) -> list[tuple[str, str]]:
    return [(clip.path, clip.reason) for clip in predictions.failed]


def _percent(value: Any) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"


def agreed(run: Run, owner: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    """A run as the main process has planned it: what another host sees of the data may be older."""
    places = run.cfg.OUTPUT_DIR, run.cfg.INIT.STUDENT_FROM, run.cfg.INIT.TEACHER_FROM
    (planned, its_places, owner), *_ = gather((replace(run, cfg=None, starts=()), places, owner))
    if its_places == places:
        return replace(planned, cfg=run.cfg, starts=run.starts), owner
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.INIT.STUDENT_FROM, cfg.INIT.TEACHER_FROM = its_places
    cfg.freeze()
    return replace(planned, cfg=cfg, starts=run.starts), owner
