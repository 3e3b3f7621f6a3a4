"""Checks of a clip table's activities and muscles: leakage between splits, contradictions, counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transm3e.data.annotations import KNOWN_SPLITS, MUSCLES, NEW_SPLITS, SPLITS, ClipTable
from transm3e.prepare.check.finding import LABELS, LEAKAGE, Finding
from transm3e.prepare.check.finding import MUSCLES as MUSCLE_KIND


@dataclass(frozen=True)
class LabelStatistics:
    """Counts of a clip table; an activity carries the muscles that any of its clips carries.

    Attributes:
        activities: (A,) str array, sorted; case is ignored.
        new: (A,) bool, whether no known split shows the activity.
        labels: (A, 20) bool; (A, 0) of a table without muscles, and so on.
        clips: (A,) int, clips per activity.
        clip_labels: (20, 2) int, clips per region of known and of new activities.
    """

    activities: np.ndarray
    new: np.ndarray
    labels: np.ndarray
    clips: np.ndarray
    clip_labels: np.ndarray

    @property
    def activity_labels(self) -> np.ndarray:
        """(20, 2) int, activities per region: known, new."""
        return np.stack([self.labels[~self.new].sum(0), self.labels[self.new].sum(0)], axis=1)

    @property
    def muscles(self) -> np.ndarray:
        """(21, 2) int, activities with 0, 1, ... 20 muscles: known, new."""
        counts = self.labels.sum(1)
        return np.stack([np.bincount(counts[self.new == new], minlength=len(MUSCLES) + 1) for new in (False, True)], 1)


def label_statistics(table: ClipTable) -> LabelStatistics:
    """Count a clip table's activities and muscles."""
    names, of = _activities(table)
    known = np.zeros(len(names), bool)
    known[of[np.isin(table.splits, KNOWN_SPLITS)]] = True
    labels = np.zeros((len(names), table.labels.shape[1]), bool)
    np.logical_or.at(labels, of, table.labels.astype(bool))
    by_kind = [table.labels[known[of] == side].sum(0, dtype=int) for side in (True, False)]
    return LabelStatistics(names, ~known, labels, np.bincount(of, minlength=len(names)), np.stack(by_kind, axis=1))


def activity_problems(table: ClipTable) -> list[Finding]:
    """New activities that a known split shows too (leakage), and known ones that train never shows; case is ignored."""
    shown = {split: {str(a).casefold() for a in table.select(split).activities} for split in SPLITS}
    known = set().union(*(shown[split] for split in KNOWN_SPLITS))
    problems = []
    for split in NEW_SPLITS:
        for activity in sorted(shown[split] & known):
            where = ", ".join(s for s in KNOWN_SPLITS if activity in shown[s])
            problems.append(Finding(split, "", f"leakage: new activity {activity!r} also occurs in {where}", LEAKAGE))
    for split in KNOWN_SPLITS[1:]:
        for activity in sorted(shown[split] - shown["train"]):
            problems.append(Finding(split, "", f"known activity {activity!r} never occurs in train", LEAKAGE))
    return problems


def label_notes(table: ClipTable) -> list[Finding]:
    """Activities whose clips do not agree on the muscles, and activities without any; none of a table without muscles."""
    if not muscles_of(table):
        return []
    names, of = _activities(table)
    notes = []
    for number, name in enumerate(names):
        sets, counts = np.unique(table.labels[of == number], axis=0, return_counts=True)
        what = f"activity {str(name)!r} (clips: {counts.sum()})"
        if len(sets) > 1:
            differ = ", ".join(MUSCLES[m] for m in np.flatnonzero(sets.any(0) & ~sets.all(0)))
            notes.append(
                Finding(
                    "", "", f"{what} carries {len(sets)} different sets of muscles: they differ in {differ}", LABELS
                )
            )
        if not sets.any():
            notes.append(Finding("", "", f"{what} carries no muscle", LABELS))
    return notes


def muscle_notes(table: ClipTable) -> list[Finding]:
    """Muscles of no clip, of every clip, and of evaluation splits only: for the whole table, then split by split.

    A muscle that train never or always shows cannot be learned; average precision is undefined, or 1, where a split has no
    or only such clips. Notes on the whole table are not repeated for its splits.
    """
    counts = {split: table.select(split).labels.sum(0, dtype=int) for split in SPLITS if split in table.splits}
    total, train = table.labels.sum(0, dtype=int), counts.get("train")
    notes = [("", "no clip carries", total == 0), ("", "every clip carries", total == len(table))]
    for split, found in counts.items():
        clips = int((table.splits == split).sum())
        notes.append((split, "no clip of this split carries", (found == 0) & (total > 0)))
        notes.append((split, "every clip of this split carries", (found == clips) & (total < len(table))))
        if train is not None:
            notes.append((split, "train never shows, but clips here carry", (found > 0) & (train == 0)))
    names = np.array(muscles_of(table), dtype=np.str_)
    return [
        Finding(split, "", f"{what}: {', '.join(names[those])}", MUSCLE_KIND)
        for split, what, those in notes
        if those.any()
    ]


def summary(table: ClipTable) -> str:
    """Clips, activities and positives per muscle of each split, as a text table."""
    rows = split_counts(table)
    lines = [f"{'':16}" + "".join(f"{split:>12}" for split in SPLITS)]
    lines += [f"{name:16}" + "".join(f"{value:12d}" for value in values) for name, values in rows.items()]
    return "\n".join(lines)


def split_counts(table: ClipTable) -> dict[str, list[int]]:
    """Per split of SPLITS: "clips", "activities", and for each of muscles_of(table) the clips that carry it."""
    parts = [table.select(split) for split in SPLITS]
    rows = {
        "clips": [len(part) for part in parts],
        "activities": [len(np.unique(part.activities)) for part in parts],
    }
    positives = np.stack([part.labels.sum(0, dtype=int) for part in parts], axis=1)
    rows.update(zip(muscles_of(table), positives.tolist(), strict=True))
    return rows


def muscles_of(table: ClipTable) -> tuple[str, ...]:
    """The muscles that a table labels: all, or, without the column muscles, none."""
    return MUSCLES[: table.labels.shape[1]]


def _activities(table: ClipTable) -> tuple[np.ndarray, np.ndarray]:
    """Names without case, and which of them each clip shows."""
    return np.unique([str(activity).casefold() for activity in table.activities], return_inverse=True)
