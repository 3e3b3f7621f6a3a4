"""The results of a benchmark of models or loaders: measurements, values derived from them, and JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from transm3e.benchmark.flops import FLOPS_PER_MAC, TRAINING_FORWARDS, Work
from transm3e.benchmark.loader.files import FileSet
from transm3e.benchmark.loader.pipelines import OURS
from transm3e.benchmark.loader.stopwatch import STAGES
from transm3e.benchmark.memory import Peak
from transm3e.benchmark.step import TRAIN
from transm3e.benchmark.timing import times_faster

OTHER = "other"


@dataclass(frozen=True)
class Timed:
    """Times in one setting.

    Attributes:
        name: of the candidate.
        clips: of a round.
        seconds: of each round; () where it does not fit.
    """

    name: str
    clips: int
    seconds: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Seconds of a round."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The slowest round as a multiple of the median."""
        return max(self.seconds) / self.median

    @property
    def clips_per_second(self) -> float:
        return self.clips / self.median


def faster(ours: Timed, other: Timed | None) -> float | None:
    """How many times faster than another; None without a pair of times."""
    return times_faster(other.seconds, ours.seconds) if other and other.seconds and ours.seconds else None


@dataclass(frozen=True)
class Record:
    """How a benchmark was run: words of the command line, the machine (see machine.describe), settings."""

    command: list[str]
    machine: dict[str, Any]
    settings: dict[str, Any]

    def derived(self) -> dict[str, Sequence[dict[str, Any]]]:
        """Field -> derived values for each of its rows."""
        return {}

    def as_json(self) -> str:
        """All fields and derived values as JSON; paths and frame rates as text."""
        values = asdict(self)
        for name, rows in self.derived().items():
            values[name] = [{**row, **more} for row, more in zip(values[name], rows, strict=True)]
        return json.dumps(values, indent=1, default=str) + "\n"


@dataclass(frozen=True)
class Parameters:
    """Attributes: trainable ones; all that inference uses; those of the frozen teacher (0 without one)."""

    trainable: int
    inference: int
    teacher: int


@dataclass(frozen=True)
class Properties:
    """Those of a candidate that do not depend on the machine.

    Attributes:
        name, source: as in its Entry.
        clip: (T, H, W).
        parameters: numbers of weights.
        work: of one inference on one clip.
        compiled: its training step is (TRAIN.COMPILE).
    """

    name: str
    source: str
    clip: tuple[int, int, int]
    parameters: Parameters
    work: Work
    compiled: bool = False


@dataclass(frozen=True)
class Measurement(Timed):
    """A model in one mode ("forward" or "train") with a batch of `clips`; peak: its memory, None if it does not fit."""

    mode: str = ""
    peak: Peak | None = None


@dataclass(frozen=True)
class Results(Record):
    """The results of models.

    Attributes:
        matrix_rate: floating-point operations per second of a large matrix product in the same precision.
        reference: the candidate the others are compared with.
        candidates, measurements: their properties, and the measurements.
    """

    matrix_rate: float
    reference: str | None
    candidates: list[Properties]
    measurements: list[Measurement] = field(default_factory=list)

    def reference_of(self, one: Measurement) -> Measurement | None:
        """The reference's measurement in the same mode and at the same batch size; None for its own."""
        wanted = (self.reference, one.mode, one.clips)
        same = (other for other in self.measurements if (other.name, other.mode, other.clips) == wanted)
        return next(same, None) if one.name != self.reference else None

    def matrix_share(self, one: Measurement) -> float | None:
        """Work of the model per second as a share of the matrix rate.

        A training step counts as 3 forward passes; the teacher and the optimiser are not counted as work.
        """
        if not one.seconds:
            return None
        macs = next(each.work.macs for each in self.candidates if each.name == one.name)
        passes = TRAINING_FORWARDS if one.mode == TRAIN else 1
        return macs * FLOPS_PER_MAC * passes * one.clips_per_second / self.matrix_rate

    def derived(self) -> dict[str, Sequence[dict[str, Any]]]:
        rows = []
        for one in self.measurements:
            more: dict[str, Any] = {"does_not_fit": one.peak is None or not one.seconds}
            if one.seconds:
                more |= {"median_s": one.median, "min_s": min(one.seconds), "max_s": max(one.seconds)}
                more |= {"clips_per_s": one.clips_per_second, "matrix_share": self.matrix_share(one)}
                more["times_faster"] = faster(one, self.reference_of(one))
            rows.append(more)
        return {"measurements": rows}


@dataclass(frozen=True)
class Throughput(Timed):
    """A loader on one set of files, by name; workers: processes, 0 = one core of this process, all else on it."""

    files: str = ""
    workers: int = 0


@dataclass(frozen=True)
class Stages(Timed):
    """Times of a loader's stages on one core: stage -> seconds of each watched epoch."""

    files: str = ""
    stages: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def per_clip(self) -> dict[str, float]:
        """Stage -> seconds per clip, the mean of all epochs so that stages add up; "other" is the time in no stage."""
        total = self.clips * len(self.seconds)
        stages = {name: sum(self.stages[name]) / total for name in STAGES if any(self.stages.get(name, ()))}
        return {**stages, OTHER: sum(self.seconds) / total - sum(stages.values())}

    @property
    def covered(self) -> float:
        """Share of the time that is in a stage."""
        return 1 - self.per_clip[OTHER] * self.clips * len(self.seconds) / sum(self.seconds)


@dataclass(frozen=True)
class LoaderResults(Record):
    """The results of loaders.

    Attributes:
        file_sets: the files.
        throughputs, stages: the measurements.
    """

    file_sets: list[FileSet]
    throughputs: list[Throughput] = field(default_factory=list)
    stages: list[Stages] = field(default_factory=list)

    def slower(self, one: Throughput) -> float | None:
        """How many times as long as ours on the same files; None for ours."""
        ours = self._find(one.files, OURS, one.workers)
        return faster(ours, one) if ours and one.name != OURS else None

    def gained(self, one: Throughput) -> float | None:
        """How many times faster than the same loader on the files that these were re-encoded from; None for others."""
        original = next(files.original for files in self.file_sets if files.name == one.files)
        return faster(one, self._find(original, one.name, one.workers))

    def agreement(self, one: Stages) -> float | None:
        """The watched epochs' time as a share of the unwatched ones': near 1 if watching costs nothing."""
        plain = self._find(one.files, one.name, 0)
        return one.median / plain.median if plain else None

    def derived(self) -> dict[str, Sequence[dict[str, Any]]]:
        return {
            "throughputs": [
                {
                    **{"median_s_per_clip": 1 / one.clips_per_second, "clips_per_s": one.clips_per_second},
                    **{"times_slower_than_ours": self.slower(one), "times_faster_than_original": self.gained(one)},
                }
                for one in self.throughputs
            ],
            "stages": [
                {"s_per_clip": one.per_clip, "covered": one.covered, "of_unwatched": self.agreement(one)}
                for one in self.stages
            ],
        }

    def _find(self, files: str, name: str, workers: int) -> Throughput | None:
        wanted = (files, name, workers)
        return next((one for one in self.throughputs if (one.files, one.name, one.workers) == wanted), None)
