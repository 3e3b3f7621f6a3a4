"""The report of one run: results.json, predictions, figures; and the table of several runs."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.config.targets import ACTIVITY_TARGET, MULTI_TARGET, MUSCLE_TARGET, scored_target
from transm3e.data.annotations import SPLITS
from transm3e.engine.evaluate import ScoredSplit
from transm3e.engine.logging import Recorder
from transm3e.engine.processes.distributed import gather
from transm3e.engine.writers import backends_of
from transm3e.errors import UserError
from transm3e.files import atomic_path, atomic_write_text, clip_table_file, make_folder
from transm3e.metrics import average_precision, mean_average_precision, top_k_accuracy
from transm3e.modalities import model_class
from transm3e.models.weights import read_checkpoint
from transm3e.report.activity_figure import activities_result, activity_bars, activity_result
from transm3e.report.body import PERCENT, body_figure
from transm3e.report.decisions import DECISION_FILES, Scored, at_threshold, draw_decisions
from transm3e.report.figures import muscle_bars, run_title, training_curves
from transm3e.report.scores import write_predictions
from transm3e.report.table import results_table
from transm3e.report.thresholds import THRESHOLDS, write_thresholds
from transm3e.runs.folder import RESULTS, is_evaluated, is_trained
from transm3e.runs.plan import Run
from transm3e.runs.record import TEST_CONFIG, check_owner, data_text
from transm3e.runs.results import (
    DRAWS,
    METRICS,
    clip_rows,
    metric_of,
    read_results,
    split_result,
    summarise,
    with_draws,
    write_results,
)

logger = logging.getLogger(__name__)
MUSCLE_FIGURE = "muscles.png"
TRAINING_FIGURE = "training.png"
# Lists all clips that could not be read.
MISSING, MISSING_SHOWN = "missing_clips.csv", 3
ACTIVITY_FIGURE = "activities.png"
BODY_FIGURE = "body.png"
SCORE_FIGURES = (MUSCLE_FIGURE, BODY_FIGURE, ACTIVITY_FIGURE, *DECISION_FILES)  # written by draw_scores
FIGURES = (*SCORE_FIGURES, TRAINING_FIGURE)
METRIC_NAMES = {"mAP": "mAP", "top1": "top-1 accuracy", "top5": "top-5 accuracy"}


def split_scores(predictions: Mapping[str, ScoredSplit]) -> dict[str, float]:
    """mAP, or top-1 accuracy of activities, in [0, 1] of each split that has one, for validation during training."""
    return {split: _score(p) for split, p in predictions.items() if p.labels.any()}


def validation(predictions: Mapping[str, ScoredSplit]) -> dict[str, float]:
    """split_scores, and of each of these splits "SPLIT/loss" and, of muscles, "SPLIT/AP/MUSCLE"."""
    found = split_scores(predictions)
    for split in tuple(found):
        p = predictions[split]
        if p.loss is not None:
            found[f"{split}/loss"] = p.loss
        if p.target == MUSCLE_TARGET:
            aps = average_precision(p.scores, p.labels)
            found |= {f"{split}/AP/{name}": float(ap) for name, ap in zip(p.columns, aps, strict=True) if ap == ap}
    return found


def _score(predictions: ScoredSplit) -> float:
    if predictions.target != ACTIVITY_TARGET:
        return mean_average_precision(predictions.scores, predictions.labels)
    known = predictions.labels.any(axis=1)
    return top_k_accuracy(predictions.scores[known], predictions.labels[known], 1)


def score_split(
    target: str,
    scores: np.ndarray,
    labels: np.ndarray,
    columns: Sequence[str],
    failed: Sequence[tuple[str, str]],
    threshold: float,
) -> dict[str, Any]:
    """A split's entry in results.json, for muscles (decided by the threshold) or activities."""
    if target == MUSCLE_TARGET:
        ours = split_result(scores, labels, failed)
        return {**ours, **at_threshold(clip_rows(scores), clip_rows(labels), columns, threshold)}
    if target == MULTI_TARGET:
        return activities_result(scores, labels, columns, failed)
    return activity_result(scores, labels, columns, failed)


def draw_scores(results: Mapping[str, Any], folder: Path) -> None:
    """Draw the scores per muscle or activity, if any split could be scored."""
    if any(split[metric_of(results)] is not None for split in results["splits"].values()):
        if results["run"]["target"] == MUSCLE_TARGET:
            muscle_bars(results, folder / MUSCLE_FIGURE)
            _draw_body(results, folder / BODY_FIGURE)
        else:
            activity_bars(results, folder / ACTIVITY_FIGURE)


def _draw_body(results: Mapping[str, Any], file: Path) -> None:
    """Average precision per muscle on a body, of known and of new activities; of the test if it was scored."""
    scored = [name for name in SPLITS if results["splits"].get(name, {}).get("mAP") is not None]
    shown = [name for name in scored if name.endswith("_test")] or scored
    panels = {
        f"{name.replace('_', ' ')}, mAP {_percent(results['splits'][name]['mAP'])}": {
            muscle: 100 * ap for muscle, ap in results["splits"][name]["per_muscle"].items() if ap is not None
        }
        for name in shown
    }
    body_figure(panels, file, run_title(results), PERCENT)


def _result(run: Run, split: str, p: ScoredSplit) -> dict[str, Any]:
    result = score_split(p.target, p.scores, p.labels, p.columns, _failed(p), run.cfg.TEST.THRESHOLD)
    if p.target == MUSCLE_TARGET and model_class(run.cfg).draws:
        return with_draws(result, p.labels, (run.cfg.RNG_SEED, SPLITS.index(split)))
    return result


def write_report(
    run: Run, owner: Mapping[str, Any], checkpoint: Path | None, predictions: Mapping[str, ScoredSplit]
) -> None:
    """Write settings, predictions per split, figures, and last results.json, which marks a complete evaluation.

    If clips could not be read and TEST.ALLOW_MISSING is False, MISSING lists them and there is no results.json.
    """
    atomic_write_text(run.folder / TEST_CONFIG, run.cfg.dump())
    make_folder(run.folder / "predictions", "OUTPUT_DIR")
    for split, p in predictions.items():
        write_predictions(run.folder / "predictions" / f"{split}.npz", p.scores, p.labels, p.paths, split, p.columns)
    missing = [(split, *clip) for split, p in predictions.items() for clip in _failed(p)]
    _write_missing(run.folder / MISSING, missing)
    if missing and not run.cfg.TEST.ALLOW_MISSING:
        for name in (RESULTS, THRESHOLDS, *FIGURES):  # of an earlier evaluation with TEST.ALLOW_MISSING
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
    if model_class(run.cfg).learns:
        write_thresholds(predictions, run.folder / THRESHOLDS)
    draw_scores(results, run.folder)
    root = Path(run.cfg.DATA.PATH_PREFIX or clip_table_file(run.cfg.DATA.PATH_TO_DATA_DIR).parent)
    scored = {split: Scored(p.scores, p.labels, p.paths, p.columns) for split, p in predictions.items()}
    draw_decisions(results, scored, run.folder, run.cfg.TEST.THRESHOLD, root)
    if progress.get("history"):
        score_name, title = f"{METRIC_NAMES[metric]} (%)", run_title(results)
        training_curves(progress["history"], run.folder / TRAINING_FIGURE, score_name, title)
    write_results(run.folder / RESULTS, results)
    _log(run, results, int(progress.get("epoch", 0)))
    for split, result in results["splits"].items():
        logger.info(
            "%s: %s %s on %d clips, %d failed",
            split,
            METRIC_NAMES[metric],
            _percent(result[metric]),
            result["num_clips"],
            len(result["failed_clips"]),
        )


def _log(run: Run, results: Mapping[str, Any], epoch: int) -> None:
    """Scores and figures of an evaluation to LOG.BACKENDS."""
    with closing(Recorder(run.folder, backends_of(run.cfg))) as recorder:
        for split, result in results["splits"].items():
            names = {metric_of(results): result[metric_of(results)]}
            names |= {f"AP/{name}": ap for name, ap in result.get("per_muscle", {}).items()}
            recorder.scalars({f"Test/{split}/{name}": value for name, value in names.items()}, epoch)
        for name in FIGURES:
            if (run.folder / name).is_file():
                recorder.figure(run.folder / name, epoch)


def refuse_missing(run: Run, predictions: Mapping[str, ScoredSplit]) -> None:
    """End the program if clips could not be read and TEST.ALLOW_MISSING is False; called on every process.

    Raises:
        UserError: their number, some names, and the file that lists all.
    """
    failed = [clip for p in predictions.values() for clip in p.failed]
    if failed and not run.cfg.TEST.ALLOW_MISSING:
        shown = "; ".join(f"{clip.path}: {clip.reason}" for clip in failed[:MISSING_SHOWN])
        raise UserError(
            f"{run.name}: {len(failed)} clip(s) could not be read, so there is no score: {shown}"
            f"{'; ...' if len(failed) > MISSING_SHOWN else ''}; all are listed in {run.folder / MISSING}; fix them "
            "and evaluate again, or leave them out with TEST.ALLOW_MISSING True"
        )


def _write_missing(file: Path, missing: Sequence[tuple[str, str, str]]) -> None:
    if not missing:
        file.unlink(missing_ok=True)
        return
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("split", "path", "reason"), *missing])


def already_done(run: Run, owner: Mapping[str, Any]) -> str:
    """A line with the folder, data and missing clips of a finished run; "" if the run is not finished.

    Raises:
        UserError: the folder is another run's, or results.json is damaged.
    """
    check_owner(run, owner)
    if not (is_trained(run) and is_evaluated(run)) or run.cfg.DEMO.ENABLE:
        return ""
    results = read_results(run.folder / RESULTS) if (run.folder / RESULTS).is_file() else {"splits": {}, "run": owner}
    missing = sum(len(split.get("failed_clips", ())) for split in results["splits"].values())
    note = (
        f", without {missing} clip(s) that could not be read; delete {RESULTS} there to score again" if missing else ""
    )
    return f"{run.name}: done already, in {run.folder} ({data_text(results['run'])}){note}"


def final_table(runs: Sequence[Run]) -> str:
    """The table of the runs that were asked for, each below its starting runs, and the paths of their figures.

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
    figures = [str(run.folder / name) for run in shown for name in FIGURES if (run.folder / name).is_file()]
    return f"{tables}\nfigures:\n" + "".join(f"  {p}\n" for p in figures)


def _steps(run: Run) -> list[Run]:
    """The runs that a run starts from, earliest first, and the run itself."""
    return [*(step for start in run.starts for step in _steps(start)), run]


def _of_draws(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    drawn = [label for label, results in rows if any("draws" in split for split in results["splits"].values())]
    return f" ({', '.join(drawn)}: mean ± standard deviation of {DRAWS} draws)" if drawn else ""


def _failed(predictions: ScoredSplit) -> list[tuple[str, str]]:
    return [(clip.path, clip.reason) for clip in predictions.failed]


def _percent(value: Any) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}"


def agreed(run: Run, owner: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    """The run as the main process planned it, as another host may see an older state of the data."""
    paths = run.cfg.OUTPUT_DIR, run.cfg.INIT.STUDENT_FROM, run.cfg.INIT.TEACHER_FROM
    (planned, planned_paths, owner), *_ = gather((replace(run, cfg=None, starts=()), paths, owner))
    if planned_paths == paths:
        return replace(planned, cfg=run.cfg, starts=run.starts), owner
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.INIT.STUDENT_FROM, cfg.INIT.TEACHER_FROM = planned_paths
    cfg.freeze()
    return replace(planned, cfg=cfg, starts=run.starts), owner
