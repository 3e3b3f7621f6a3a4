"""Which clips make up a data set: sizes, splits, and how often each activity occurs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transm3e.data.annotations import EVAL_SPLITS, Clip
from transm3e.errors import UserError
from transm3e.prepare.musclesynth.activities import CORE, KNOWN, NEW, Activity


@dataclass(frozen=True)
class SetSize:
    """Clips in train and in each of the four evaluation splits, and the activities they show, by key; empty: all."""

    train: int
    evaluation: int
    shown: frozenset[str] = frozenset()

    @property
    def activities(self) -> tuple[tuple[Activity, ...], tuple[Activity, ...]]:
        """The known and the new ones."""
        known, new = (tuple(a for a in every if not self.shown or a.key in self.shown) for every in (KNOWN, NEW))
        return known, new

    @property
    def total(self) -> int:
        return self.train + len(EVAL_SPLITS) * self.evaluation


SIZES = {"tiny": SetSize(320, 64, CORE), "small": SetSize(800, 120, CORE), "full": SetSize(6400, 900)}


@dataclass(frozen=True)
class PlannedClip:
    """A clip still to be made; `number` keys its random generator and is unique in the data set."""

    number: int
    split: str
    activity: Activity

    @property
    def clip(self) -> Clip:
        """Its row of the clip table."""
        name = f"{self.split}/{self.activity.key}_{self.number:05d}"
        video, skeleton = f"clips/{name}.mp4", f"skeletons/{name}.npz"
        return Clip(video, self.split, self.activity.name, self.activity.muscles, skeleton)


def plan(size: str, seed: int) -> list[PlannedClip]:
    """All clips of a data set, in the order of its clip table.

    Every split has nearly equally many clips of each of its activities; the clips of a new activity
    go to new_val and new_test at random, half each.

    Raises:
        UserError: unknown size.
    """
    if size not in SIZES:
        raise UserError(f"unknown MuscleSynth size {size!r}; allowed: {', '.join(SIZES)}")
    counts = SIZES[size]
    rng = np.random.default_rng((seed, counts.total))
    known, new = counts.activities
    rows = [("train", activity) for activity in _quota(known, counts.train)]
    for split in ("known_val", "known_test"):
        rows += [(split, activity) for activity in _quota(known, counts.evaluation)]
    for activity in new:
        halves = _quota(new, counts.evaluation).count(activity) * ["new_val", "new_test"]
        rows += [(split, activity) for split in rng.permutation(halves).tolist()]
    return [PlannedClip(number, split, activity) for number, (split, activity) in enumerate(rows)]


def _quota(activities: tuple[Activity, ...], total: int) -> list[Activity]:
    # `total` activities in equal shares, spread over all where there are more of these.
    return [activities[i * len(activities) // total] for i in range(total)]
