"""The figures of a benchmark, and how they become files."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transm3e.benchmark.flops import FLOPS_PER_MAC, TRAINING_FORWARDS, Work
from transm3e.benchmark.memory import Peak
from transm3e.benchmark.step import TRAIN
from transm3e.benchmark.timing import times_faster
from transm3e.files import atomic_write_text


@dataclass(frozen=True)
class Parameters:
    """Attributes: trainable ones; all that inference uses; those of the frozen teacher (0 without one)."""

    trainable: int
    inference: int
    teacher: int


@dataclass(frozen=True)
class Figures:
    """What a contestant is, whatever the machine.

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
class Measurement:
    """One contestant in one mode at one batch size.

    Attributes:
        name: of the contestant.
        mode: "forward" or "train".
        batch_size: clips.
        peak: memory; None if it does not fit.
        seconds: of each round; empty if it does not fit.
    """

    name: str
    mode: str
    batch_size: int
    peak: Peak | None
    seconds: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The slowest round as a multiple of the median."""
        return max(self.seconds) / self.median

    @property
    def clips_per_second(self) -> float:
        return self.batch_size / self.median


@dataclass(frozen=True)
class Results:
    """All figures of a run.

    Attributes:
        command: words of the command line.
        machine: see machine.describe.
        settings: device, precision, repeats and so on.
        matrix_rate: floating-point operations per second of a large matrix product in the same precision.
        reference: the contestant the others are compared with.
        contestants, measurements: the figures.
    """

    command: list[str]
    machine: dict[str, Any]
    settings: dict[str, Any]
    matrix_rate: float
    reference: str | None
    contestants: list[Figures]
    measurements: list[Measurement] = field(default_factory=list)

    def partner(self, one: Measurement) -> Measurement | None:
        """The reference's measurement in the same mode and at the same batch size, if both have times."""
        for other in self.measurements:
            same = (other.name, other.mode, other.batch_size) == (self.reference, one.mode, one.batch_size)
            if same and other is not one and other.seconds and one.seconds:
                return other
        return None

    def faster(self, one: Measurement) -> float | None:
        """How many times faster than the reference; None without a pair."""
        other = self.partner(one)
        return times_faster(other.seconds, one.seconds) if other else None

    def matrix_share(self, one: Measurement) -> float | None:
        """Work of the model per second as a share of the matrix rate.

        A training step counts as 3 forward passes; the teacher and the optimiser are not counted as work.
        """
        if not one.seconds:
            return None
        macs = next(figures.work.macs for figures in self.contestants if figures.name == one.name)
        passes = TRAINING_FORWARDS if one.mode == TRAIN else 1
        return macs * FLOPS_PER_MAC * passes * one.clips_per_second / self.matrix_rate

    def as_dict(self) -> dict[str, Any]:
        """Everything, with what follows from it, for JSON."""
        values = asdict(self)
        for row, one in zip(values["measurements"], self.measurements, strict=True):
            row["does_not_fit"] = one.peak is None or not one.seconds
            if one.seconds:
                row |= {"median_s": one.median, "min_s": min(one.seconds), "max_s": max(one.seconds)}
                row |= {"clips_per_s": one.clips_per_second, "matrix_share": self.matrix_share(one)}
                row["times_faster"] = self.faster(one)
        return values


def write_json(results: Results, path: Path) -> None:
    """Raises: UserError: the file cannot be written."""
    atomic_write_text(path, json.dumps(results.as_dict(), indent=1) + "\n")
