"""Scores per clip: a CSV file to read, and an npz file for computations (ensembles of runs)."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from transm3e.data.annotations import MUSCLES, SPLITS
from transm3e.errors import UserError, shown
from transm3e.files import atomic_path
from transm3e.foreign.npz import Archive, ArchiveError
from transm3e.runs.results import clip_rows

REMEDY = "delete it and run the test again"
# Of one array, unpacked: a million clips of a thousand classes.
MAX_BYTES = 1 << 32


@dataclass(frozen=True)
class Predictions:
    """What a run predicted for one split.

    Attributes:
        scores: (N, C) float32, as the metric sees them (views averaged).
        labels: (N, C) uint8 of 0 and 1.
        clips: (N,) str array, the clips' paths in the clip table.
        split: one of SPLITS.
        columns: C names, muscles or activities.
    """

    scores: np.ndarray
    labels: np.ndarray
    clips: np.ndarray
    split: str
    columns: tuple[str, ...] = MUSCLES


def write_scores(
    path: str | Path,
    clip_names: Sequence[str],
    scores: ArrayLike,
    columns: Sequence[str] = MUSCLES,
    failed: Sequence[tuple[str, str]] = (),
    unknown: Collection[str] = (),
    more: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> None:
    """Write a CSV table: clip, one column per muscle (or activity) with 6 decimals, error; it appears whole or not at all.

    An empty score in a row without an error is not known.

    Args:
        path: the file to write.
        clip_names: N names.
        scores: (N, M) finite numbers, array or tensor.
        columns: M names.
        failed: (clip, reason) of clips without scores: rows at the end with empty scores and the reason
            under error, which is empty for all others.
        unknown: those of `columns` whose scores are meaningless: their cells stay empty.
        more: columns after error: name -> clip -> cell.

    Raises:
        ValueError: lengths differ, or a score is NaN or infinite.
        UserError: the file cannot be written.
    """
    scores_NM = clip_rows(scores, len(columns))
    if scores_NM.shape != (len(clip_names), len(columns)):
        raise ValueError(f"scores have shape {scores_NM.shape}; allowed: {(len(clip_names), len(columns))}")
    if not np.isfinite(scores_NM).all():
        raise ValueError("scores hold NaN or infinite values; list such clips under failed")
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(("clip", *columns, "error", *more))
        shown = [name not in unknown for name in columns]
        cells = [[f"{score:.6f}" * known for score, known in zip(row, shown, strict=True)] for row in scores_NM]
        rows = [(clip, *row, "") for clip, row in zip(clip_names, cells, strict=True)]
        rows += [(clip, *[""] * len(columns), " ".join(reason.split())) for clip, reason in failed]
        writer.writerows((*row, *(column.get(row[0], "") for column in more.values())) for row in rows)


def write_predictions(
    path: str | Path,
    scores: ArrayLike,
    labels: ArrayLike,
    clips: Sequence[str],
    split: str,
    columns: Sequence[str] = MUSCLES,
) -> None:
    """Write Predictions as an npz file that appears whole or not at all.

    Args:
        path: the file to write, ending in .npz.
        scores: (N, C) real numbers, array or tensor; stored as float32.
        labels: (N, C) of 0 and 1.
        clips: N paths.
        split: one of SPLITS.
        columns: C names.

    Raises:
        ValueError: a shape, a label or the split is not as described above.
        UserError: the file cannot be written.
    """
    scores_NM, labels_NM = clip_rows(scores, len(columns)), clip_rows(labels, len(columns))
    problem = _format_problem(scores_NM, labels_NM, np.array(clips, dtype=np.str_), split, len(columns))
    if problem:
        raise ValueError(f"predictions: {problem}")
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            scores=scores_NM.astype(np.float32),
            labels=labels_NM.astype(np.uint8),
            clips=np.array(clips, dtype=np.str_),
            split=np.array(split),
            columns=np.array(columns, dtype=np.str_),
        )


def read_predictions(path: str | Path) -> Predictions:
    """Read what write_predictions wrote; nothing is unpickled.

    Raises:
        UserError: the file is missing, damaged, or holds arrays of another kind.
    """
    try:
        with Archive(path, MAX_BYTES) as arrays:
            scores, labels, clips, split = (arrays[name] for name in ("scores", "labels", "clips", "split"))
            names = arrays["columns"] if "columns" in arrays else np.array(MUSCLES)
    except FileNotFoundError as error:
        raise UserError(f"no predictions at {path}; run the test of that model first") from error
    except (OSError, ArchiveError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} is not a predictions file or is damaged ({reason}); {REMEDY}") from error
    if names.ndim != 1 or names.dtype.kind != "U":
        raise UserError(f"{path}: columns are {names.dtype} of shape {names.shape}; allowed: (C,) str; {REMEDY}")
    columns = tuple(map(str, names))
    problem = _format_problem(scores, labels, clips, str(split), len(columns))
    if problem:
        raise UserError(f"{path}: {problem}; {REMEDY}")
    return Predictions(scores.astype(np.float32), labels.astype(np.uint8), clips, str(split), columns)


def _format_problem(scores: np.ndarray, labels: np.ndarray, clips: np.ndarray, split: str, width: int) -> str | None:
    expected = (len(clips), width) if clips.ndim == 1 else None
    if scores.shape != expected or labels.shape != expected:
        return (
            f"shapes scores {scores.shape}, labels {labels.shape}, clips {clips.shape}; "
            f"allowed: (N, {width}), (N, {width}), (N,)"
        )
    if scores.dtype.kind != "f" or clips.dtype.kind != "U" or labels.dtype.kind not in "biuf":
        return f"types scores {scores.dtype}, labels {labels.dtype}, clips {clips.dtype}; allowed: float, numbers, str"
    if not (np.abs(scores) <= np.finfo(np.float32).max).all():
        return "scores hold NaN or infinite values"
    if not np.isin(labels, (0, 1)).all():
        return "labels hold values other than 0 and 1"
    return None if split in SPLITS else f"unknown split {shown(split)}, allowed: {', '.join(SPLITS)}"
