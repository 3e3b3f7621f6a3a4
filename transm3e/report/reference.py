"""An execution of an activity against its expected muscles (the paper's figure 5): which deviate, and when."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transm3e.data.annotations import MUSCLES, ClipTable
from transm3e.errors import UserError
from transm3e.files import atomic_path
from transm3e.report.body import DIFFERENCE, body_figure
from transm3e.report.overlay import ScoresOverTime
from transm3e.report.video_views import VideoViews, with_text, write

UNEXPECTED, MISSING, EXPECTED, INACTIVE = "unexpected", "missing", "as expected", "inactive"
MOST = 0.5


@dataclass(frozen=True)
class Deviation:
    """Of one muscle.

    Attributes:
        expected, score: of the reference, and the execution's mean over its windows, in [0, 1].
        active: whether it should be active.
        verdict: UNEXPECTED, MISSING, EXPECTED or INACTIVE.
        when: seconds (start, end) in which single windows deviate.
    """

    muscle: str
    expected: float
    score: float
    active: bool
    verdict: str
    when: tuple[tuple[float, float], ...]

    @property
    def difference(self) -> float:
        return self.score - self.expected


def expected_of(table: ClipTable, activity: str, where: str) -> dict[str, float]:
    """Share of an activity's clips that have each muscle.

    Raises:
        UserError: the table has no such activity, or no muscles.
    """
    rows = np.array([str(name) == activity for name in table.activities], bool)
    if not rows.any() or not table.labels.shape[1]:
        known = ", ".join(sorted(set(map(str, table.activities))))
        what = "no muscles" if rows.any() else f"no activity {activity}; allowed: {known}"
        raise UserError(f"{where} has {what}")
    return dict(zip(MUSCLES, table.labels[rows].mean(axis=0).tolist(), strict=True))


def mean_of(executions: Sequence[ScoresOverTime]) -> dict[str, float]:
    """Mean scores of good executions, each counted once."""
    means = np.mean([execution.scores.mean(axis=0) for execution in executions], axis=0)
    return dict(zip(executions[0].columns, means.tolist(), strict=True))


def compare(
    execution: ScoresOverTime, expected: Mapping[str, float], threshold: float, expected_from: float
) -> list[Deviation]:
    """Every muscle, the largest deviations first: unexpected and missing ones, then the others.

    Args:
        expected: of each of its muscles, see expected_of and mean_of.
        threshold: scores from which a muscle is active.
        expected_from: values of `expected` from which it should be: MOST of an activity's clips, or the threshold.
    """
    found = []
    for column, muscle in enumerate(execution.columns):
        scores, wanted = execution.scores[:, column], expected[muscle]
        mean, active = float(scores.mean()), wanted >= expected_from
        verdict = {
            (True, False): UNEXPECTED,
            (False, True): MISSING,
            (True, True): EXPECTED,
            (False, False): INACTIVE,
        }[mean >= threshold, active]
        spans = _spans(execution.edges, (scores >= threshold) != active)
        found.append(Deviation(muscle, wanted, mean, active, verdict, spans))
    return sorted(found, key=lambda d: (d.verdict not in (UNEXPECTED, MISSING), -abs(d.difference)))


def _spans(edges: np.ndarray, off: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Seconds of the runs of windows that are off."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], off, [False]]).astype(int)))
    return tuple((float(edges[a]), float(edges[b])) for a, b in zip(ends[::2], ends[1::2], strict=True))


def write_comparison(
    views: VideoViews, found: Sequence[Deviation], folder: Path, title: str, threshold: float
) -> list[Path]:
    """Write deviations.csv, the body map of differences, and the overlay whose frames name what deviates at that time.

    Raises:
        UserError: a file cannot be written.
    """
    files = [folder / "deviations.csv", folder / "difference.png", folder / f"{views.file.stem}.mp4"]
    with atomic_path(files[0]) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(("muscle", "verdict", "expected", "score", "difference", "deviates_from_to_seconds"))
        for d in found:
            when = ";".join(f"{start:.2f}-{end:.2f}" for start, end in d.when)
            writer.writerow((d.muscle, d.verdict, f"{d.expected:.4f}", f"{d.score:.4f}", f"{d.difference:.4f}", when))
    note = f"orange: more than expected; violet: less. {summary(found)}. Threshold {threshold:g}"
    body_figure({views.file.name: {d.muscle: d.difference for d in found}}, files[1], title, DIFFERENCE, note)

    def paint(number: int, image: np.ndarray, second: float) -> np.ndarray:
        lines = []
        for verdict in (UNEXPECTED, MISSING):
            off = [d for d in found if any(start <= second < end for start, end in d.when)]
            now = [d.muscle for d in off if d.active == (verdict == MISSING)]
            lines += [f"{verdict}: {', '.join(now[:3])}{' ...' if len(now) > 3 else ''}"] if now else []
        return with_text(image.copy(), lines)

    write(views, files[2], paint)
    return files


def summary(found: Sequence[Deviation]) -> str:
    """ "unexpected: biceps; missing: none"."""
    parts = []
    for verdict in (UNEXPECTED, MISSING):
        names = [d.muscle.replace("_", " ") for d in found if d.verdict == verdict]
        parts.append(f"{verdict}: {', '.join(names) or 'none'}")
    return "; ".join(parts)
