"""Ensembles: the scores of several runs, averaged per clip and reported like those of a run.

Members may be checkpoints of one model, streams of a graph model (late fusion of joints, bones and their motion) or
different models. No model is run: the scores come from each run's predictions/<split>.npz.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transm3e.config.schema import KEYS
from transm3e.config.targets import MUSCLE_TARGET
from transm3e.data.annotations import SPLITS
from transm3e.errors import UserError
from transm3e.files import atomic_write_text, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.report.decisions import Scored, draw_decisions
from transm3e.report.run import METRIC_NAMES, MISSING, SCORE_FIGURES, draw_scores, score_split
from transm3e.report.scores import Predictions, read_predictions, write_predictions
from transm3e.report.table import results_table
from transm3e.runs.folder import RESULTS
from transm3e.runs.record import OWNER
from transm3e.runs.results import METRICS, read_results, summarise, write_results

MODEL = "Ensemble"  # in run.json it marks a folder that an ensemble may replace
PREDICTIONS = "predictions"
THRESHOLD = KEYS["TEST.THRESHOLD"].default
SHOWN = 3  # clips named in a message


@dataclass(frozen=True)
class Member:
    """An evaluated run.

    Attributes:
        folder: as given.
        results: its results.json.
        predictions: split -> scores (N, C), labels (N, C) and clips (N,), for every split of the results.
    """

    folder: Path
    results: dict[str, Any]
    predictions: dict[str, Predictions]

    @property
    def facts(self) -> dict[str, Any]:
        """The entry "run" of results.json."""
        return {"name": self.folder.name, "target": MUSCLE_TARGET, **self.results["run"]}


@dataclass(frozen=True)
class Ensemble:
    """Runs, their weights (sum 1), and the results and predictions of their weighted mean."""

    members: tuple[Member, ...]
    weights: tuple[float, ...]
    results: dict[str, Any]
    predictions: dict[str, Predictions]

    @property
    def left_out(self) -> list[str]:
        """Splits that only some members have."""
        return [s for s in SPLITS if s not in self.predictions and any(s in m.predictions for m in self.members)]


def read_member(folder: str | Path) -> Member:
    """Read an evaluated run.

    Raises:
        UserError: no run, an incomplete evaluation, or files that are damaged or do not belong together.
    """
    folder = Path(folder)
    if not (folder / RESULTS).is_file():
        raise UserError(_why_no_results(folder))
    results = read_results(folder / RESULTS)
    predictions = {split: read_predictions(folder / PREDICTIONS / f"{split}.npz") for split in results["splits"]}
    for split, found in predictions.items():
        count = results["splits"][split].get("num_clips")
        if found.split != split or len(found.clips) != count:
            raise UserError(
                f"{folder}: {RESULTS} has {count} clips of {split}, {PREDICTIONS}/{split}.npz {len(found.clips)} of "
                f"{found.split}; delete {RESULTS} and run its test again"
            )
    return Member(folder, results, predictions)


def build_ensemble(members: Sequence[Member], name: str, weights: Sequence[float] | None = None) -> Ensemble:
    """Average the members' scores in every split that all of them have.

    Clips are matched by path, repeated paths in their order.

    Args:
        members: two or more.
        name: of the ensemble.
        weights: of the members, positive; None = equal. Only their ratios matter.

    Raises:
        UserError: wrong weights, a run named twice, or runs that differ in dataset, target, clips or labels.
    """
    shares = _shares(members, weights)
    _check_alike(members)
    splits = [split for split in SPLITS if all(split in member.predictions for member in members)]
    if not splits:
        raise UserError(
            f"{_folders(members)} have no split in common (the first has {_listed(members[0].predictions)}); "
            "test all of them with the same TEST.SPLITS"
        )
    predictions = {split: _average(members, shares, split) for split in splits}
    target = members[0].facts["target"]
    scored = {
        split: score_split(target, p.scores, p.labels, p.columns, _failed(members, split), THRESHOLD)
        for split, p in predictions.items()
    }
    results = {"run": _facts(members, shares, name), **summarise(scored, METRICS[target])}
    return Ensemble(tuple(members), shares, results, predictions)


def check_folder(folder: str | Path, runs: Iterable[str | Path]) -> None:
    """Check that an ensemble may be written there: the folder is new, empty, or an earlier ensemble's.

    Raises:
        UserError: it is one of the runs, is not a folder, or holds files that no ensemble writes.
    """
    folder = Path(folder)
    if folder.resolve() in {Path(run).resolve() for run in runs}:
        raise UserError(f"--out {folder} is one of the runs; choose another folder")
    try:
        found = {str(file.relative_to(folder)) for file in folder.rglob("*")} if folder.exists() else set()
        made = {OWNER, RESULTS, *SCORE_FIGURES, PREDICTIONS, *(f"{PREDICTIONS}/{split}.npz" for split in SPLITS)}
        foreign = sorted(found - made if _is_marked(folder) else found)
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out {folder} is a file; choose a folder")
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; choose another --out") from error
    if foreign:
        raise UserError(
            f"--out {folder} holds files that no ensemble wrote ({foreign[0]}); choose a new or empty folder"
        )


def write_ensemble(ensemble: Ensemble, folder: str | Path) -> None:
    """Write run.json, predictions, the figure, and last results.json; an earlier ensemble is deleted first.

    Raises:
        UserError: the folder holds other files (see check_folder), or a file cannot be written.
    """
    folder = Path(folder)
    check_folder(folder, (member.folder for member in ensemble.members))
    _clear(folder)
    facts = {key: ensemble.results["run"][key] for key in ("name", "id", "table", "model")}
    atomic_write_text(folder / OWNER, json.dumps(facts, indent=2) + "\n")
    for split, p in ensemble.predictions.items():
        file = folder / PREDICTIONS / f"{split}.npz"
        write_predictions(file, p.scores, p.labels, list(p.clips), split, p.columns)
    draw_scores(ensemble.results, folder)
    scored = {
        split: Scored(p.scores, p.labels, p.clips.tolist(), p.columns) for split, p in ensemble.predictions.items()
    }
    draw_decisions(ensemble.results, scored, folder, THRESHOLD)
    write_results(folder / RESULTS, ensemble.results)


def ensemble_table(ensemble: Ensemble) -> str:
    """Table of the members with their shares and of the ensemble; runs with equal names are named by folder."""
    names = [str(member.facts["name"]) for member in ensemble.members]
    rows = []
    for name, member, share in zip(names, ensemble.members, ensemble.weights, strict=True):
        label = name if names.count(name) == 1 else member.folder
        rows.append((f"{label} ({100 * share:.1f}%)", member.results))
    rows.append((ensemble.results["run"]["name"], ensemble.results))
    dataset, splits = ensemble.results["run"]["dataset"], ensemble.results["splits"].values()
    shown = [metric for metric in METRIC_NAMES if all(metric in split for split in splits)]
    return "\n".join(
        f"{dataset}, {METRIC_NAMES[metric]} in percent\n{results_table(rows, metric=metric)}" for metric in shown
    )


def _why_no_results(folder: Path) -> str:
    if (folder / MISSING).is_file():
        return (
            f"{folder}: the evaluation is incomplete, clips could not be read ({folder / MISSING}); fix them and "
            "evaluate again, or leave them out with TEST.ALLOW_MISSING True"
        )
    return (
        f"{folder} is not the folder of an evaluated run: it has no {RESULTS}; name a folder that tools/run_net.py made"
    )


def _shares(members: Sequence[Member], weights: Sequence[float] | None) -> tuple[float, ...]:
    if len(members) < 2:
        raise UserError(f"an ensemble takes two runs or more, not {len(members)}; name another run")
    weights = [1.0] * len(members) if weights is None else list(weights)
    if len(weights) != len(members):
        raise UserError(f"--weights has {len(weights)} numbers for {len(members)} runs; give one for each, in order")
    wrong = next((w for w in weights if not 0 < w < math.inf), None)
    if wrong is not None:
        raise UserError(
            f"--weights {wrong:g} is not allowed; weights are finite and above 0: leave out a run that should not count"
        )
    # Divided by the largest first, so that no sum overflows.
    scaled = [weight / max(weights) for weight in weights]
    return tuple(weight / math.fsum(scaled) for weight in scaled)


def _check_alike(members: Sequence[Member]) -> None:
    first, *others = members
    for number, other in enumerate(others, 1):
        if other.folder.resolve() in {member.folder.resolve() for member in members[:number]}:
            raise UserError(f"{other.folder} is named twice; name it once, with a larger --weights")
        for key in ("target", "dataset"):
            ours, theirs = str(first.facts.get(key)), str(other.facts.get(key))
            if ours.casefold() != theirs.casefold():
                raise UserError(
                    f"{first.folder} and {other.folder} differ in {key} ({ours}, {theirs}); "
                    "an ensemble takes runs with the same target on the same clips"
                )


def _average(members: Sequence[Member], shares: Sequence[float], split: str) -> Predictions:
    """Weighted mean in float64, in the first member's order of clips."""
    first = members[0].predictions[split]
    total = np.zeros(first.scores.shape)
    for member, share in zip(members, shares, strict=True):
        rows = _rows(members[0], member, split)
        total += share * member.predictions[split].scores[rows].astype(np.float64)
    return replace(first, scores=total.astype(np.float32))


def _rows(first: Member, other: Member, split: str) -> np.ndarray:
    """(N,) int64: the rows of `other` with the first member's clips; checks that labels are equal."""
    ours, theirs = first.predictions[split], other.predictions[split]
    counts, other_counts = Counter(ours.clips.tolist()), Counter(theirs.clips.tolist())
    where = f"{first.folder} and {other.folder}"
    if counts != other_counts:
        unmatched = sorted((counts - other_counts) + (other_counts - counts))
        raise UserError(
            f"{where} scored different clips of {split}: {_listed(unmatched)} in one only; evaluate both on one clip "
            f"table ({MISSING} names clips that a run could not read)"
        )
    # Stable, so that the nth row of a path is matched with its nth row in the other run.
    rows = np.empty(len(ours.clips), dtype=np.int64)
    rows[np.argsort(ours.clips, kind="stable")] = np.argsort(theirs.clips, kind="stable")
    if ours.columns != theirs.columns:
        other_names = sorted(set(ours.columns) ^ set(theirs.columns)) or ["the same ones in another order"]
        raise UserError(
            f"{where} score different classes in {split}: {_listed(other_names)}; train both on one clip table"
        )
    different = ours.clips[(ours.labels != theirs.labels[rows]).any(axis=1)]
    if len(different):
        raise UserError(
            f"{where} have different labels for clips of {split}: {_listed(different)}; evaluate both on one clip table"
        )
    return rows


def _failed(members: Sequence[Member], split: str) -> list[tuple[str, str]]:
    """Clips that no member could read; clips that only some could not read are refused by _rows."""
    reasons: dict[str, str] = {}
    for member in members:
        try:
            for clip in member.results["splits"][split].get("failed_clips", ()):
                reasons.setdefault(str(clip["path"]), str(clip["reason"]))
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{member.folder / RESULTS}: splits.{split}.failed_clips is not a list of path and reason; "
                "delete the file and run the test again"
            ) from error
    return sorted(reasons.items())


def _facts(members: Sequence[Member], shares: Sequence[float], name: str) -> dict[str, Any]:
    parts = [
        {**{key: member.facts.get(key) for key in ("name", "id", "eval_id", "model")}, "folder": str(member.folder)}
        for member in members
    ]
    known = sorted([str(part["id"]), str(part["eval_id"]), share] for part, share in zip(parts, shares, strict=True))
    identity = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:10]
    tables = {str(member.facts.get("table", "")) for member in members}
    return {
        "name": name,
        "id": identity,
        "eval_id": identity,
        "table": tables.pop() if len(tables) == 1 else "",
        "model": MODEL,
        "dataset": members[0].facts.get("dataset"),
        "target": members[0].facts["target"],
        "members": [{**part, "weight": share} for part, share in zip(parts, shares, strict=True)],
    }


def _is_marked(folder: Path) -> bool:
    try:
        return parse_json(read_text(folder / OWNER))["model"] == MODEL
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False


def _clear(folder: Path) -> None:
    """Make the folder, without the files of an earlier ensemble; results.json is deleted first, as it marks a complete one."""
    try:
        (folder / PREDICTIONS).mkdir(parents=True, exist_ok=True)
        for file in (RESULTS, *SCORE_FIGURES, *(f"{PREDICTIONS}/{split}.npz" for split in SPLITS)):
            (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}; choose another --out") from error


def _folders(members: Sequence[Member]) -> str:
    return " and ".join(str(member.folder) for member in members)


def _listed(names: Iterable[str]) -> str:
    shown = [str(name) for name in names]
    more = len(shown) - SHOWN
    return ", ".join(shown[:SHOWN]) + (f" and {more} more" if more > 0 else "")
