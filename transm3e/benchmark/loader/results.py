"""The figures of a loader benchmark, and what follows from them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from transm3e.benchmark.loader.files import FileSet
from transm3e.benchmark.loader.ours import NAME
from transm3e.benchmark.loader.stopwatch import STAGES
from transm3e.benchmark.timing import times_faster

OTHER = "other"


def where(workers: int) -> str:
    """What a number of workers is called."""
    return f"{workers} process{'es' * (workers > 1)}" if workers else "one core"


@dataclass(frozen=True)
class Throughput:
    """One loader on one set of files.

    Attributes:
        files: name of the set.
        name: of the loader.
        workers: processes; 0 = one core of this process, all else on it.
        clips: per epoch.
        seconds: of each epoch.
    """

    files: str
    name: str
    workers: int
    clips: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds per clip."""
        return statistics.median(self.seconds) / self.clips

    @property
    def spread(self) -> float:
        """The slowest epoch as a multiple of the median."""
        return max(self.seconds) / statistics.median(self.seconds)


@dataclass(frozen=True)
class Stages:
    """Where the time of one loader goes on one core, stage by stage.

    Attributes:
        files, name: as in Throughput.
        clips: per epoch.
        whole: seconds of each epoch that was watched.
        seconds: stage -> seconds of each of these epochs.
    """

    files: str
    name: str
    clips: int
    whole: tuple[float, ...]
    seconds: dict[str, tuple[float, ...]]

    @property
    def per_clip(self) -> dict[str, float]:
        """Stage -> seconds per clip, the mean of all epochs so that stages add up; with "other", what is in none."""
        total = self.clips * len(self.whole)
        stages = {name: sum(self.seconds[name]) / total for name in STAGES if any(self.seconds.get(name, ()))}
        return {**stages, OTHER: sum(self.whole) / total - sum(stages.values())}

    @property
    def covered(self) -> float:
        """Share of the whole that lies in a stage."""
        return 1 - self.per_clip[OTHER] * self.clips * len(self.whole) / sum(self.whole)


@dataclass(frozen=True)
class LoaderResults:
    """All figures of a run.

    Attributes:
        command: words of the command line.
        machine: see machine.describe, and versions of what decodes.
        settings: repeats, views, clip and so on.
        file_sets: what was measured on.
        throughputs, stages: the figures.
    """

    command: list[str]
    machine: dict[str, Any]
    settings: dict[str, Any]
    file_sets: list[FileSet]
    throughputs: list[Throughput] = field(default_factory=list)
    stages: list[Stages] = field(default_factory=list)

    def slower(self, one: Throughput) -> float | None:
        """How many times as long as ours on the same files; None for ours."""
        ours = self._find(lambda other: (other.files, other.name, other.workers) == (one.files, NAME, one.workers))
        return times_faster(one.seconds, ours.seconds) if ours and one.name != NAME else None

    def gained(self, one: Throughput) -> float | None:
        """How many times faster than the same loader on the files that these were re-encoded from; None for others."""
        original = next(files.original for files in self.file_sets if files.name == one.files)
        other = self._find(lambda other: (other.files, other.name, other.workers) == (original, one.name, one.workers))
        return times_faster(other.seconds, one.seconds) if other else None

    def agreement(self, one: Stages) -> float | None:
        """The watched epochs' time as a share of the unwatched ones': near 1 if watching costs nothing."""
        plain = self._find(lambda other: (other.files, other.name, other.workers) == (one.files, one.name, 0))
        return statistics.median(one.whole) / one.clips / plain.median if plain else None

    def as_json(self) -> str:
        """Everything, with what follows from it; paths and frame rates as text."""
        values = asdict(self)
        for row, one in zip(values["throughputs"], self.throughputs, strict=True):
            row |= {"median_s_per_clip": one.median, "clips_per_s": 1 / one.median}
            row |= {"times_slower_than_ours": self.slower(one), "times_faster_than_original": self.gained(one)}
        for row, stages in zip(values["stages"], self.stages, strict=True):
            row |= {"s_per_clip": stages.per_clip, "covered": stages.covered, "of_unwatched": self.agreement(stages)}
        return json.dumps(values, indent=1, default=str) + "\n"

    def _find(self, fits: Callable[[Throughput], bool]) -> Throughput | None:
        return next((one for one in self.throughputs if fits(one)), None)
