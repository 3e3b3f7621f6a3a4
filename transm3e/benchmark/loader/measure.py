"""Measure loaders side by side: `tools/benchmark.py loader`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import cv2
import torch

from transm3e.benchmark.loader.files import FileSet, made_files, resized_files, source_files
from transm3e.benchmark.loader.pipelines import BATCH_SIZE, PASSES, SHAPE, LoadingJob, Ours, Plain, check_plain
from transm3e.benchmark.loader.stopwatch import DECODE, SEEK, STAGES, Stopwatch
from transm3e.benchmark.machine import describe
from transm3e.benchmark.markdown import where
from transm3e.benchmark.results import LoaderResults, Stages, Throughput
from transm3e.benchmark.timing import no_garbage_collection, time_rounds
from transm3e.errors import UserError
from transm3e.progress import track

CPU = torch.device("cpu")
WARMUP = 1
# Most epochs that are watched; few suffice, since shares of the time vary less than the time itself.
WATCHED = 3


@dataclass(frozen=True)
class LoaderSettings:
    """What to measure.

    Attributes:
        sizes: (width, height) of the files to make.
        source: folder of own files to measure on, or None.
        videos: files of each kind, at least 1.
        views: clips per video.
        workers: numbers of data-loading workers, besides one core alone.
        against: names of plain pipelines, see pipelines.check_plain.
        repeats: timed epochs.
        resize: also measure on the files re-encoded as datasets/resize_videos.py does.
    """

    sizes: tuple[tuple[int, int], ...]
    source: Path | None
    videos: int
    views: int
    workers: tuple[int, ...]
    against: tuple[str, ...]
    repeats: int
    resize: bool


def measure_loaders(
    settings: LoaderSettings, folder: Path, command: Sequence[str], keep: Callable[[LoaderResults], None]
) -> LoaderResults:
    """Make the files that are missing and measure; the files stay for the next time.

    Args:
        settings: what to measure.
        folder: for the files.
        command: words of the command line, for the record.
        keep: called with all results so far after every kind of files.

    Raises:
        UserError: an unknown pipeline, or a file that cannot be read or written.
    """
    for name in settings.against:
        check_plain(name)
    kinds = list(_file_sets(settings, folder))
    results = LoaderResults(list(command), _machine(), _record(settings), [files for kind in kinds for files in kind])
    for kind in kinds:
        pairs = [one for files in kind for one in _pairs(files, settings)]
        for workers in (0, *settings.workers):
            results.throughputs.extend(_throughputs(pairs, workers, settings.repeats))
        results.stages.extend(_stages(pairs, min(WATCHED, settings.repeats)))
        keep(results)
    return results


@dataclass(frozen=True)
class _Pair:
    """A pipeline on a set of files; clips: per epoch."""

    files: str
    pipeline: Ours | Plain
    clips: int

    @property
    def name(self) -> str:
        return f"{self.pipeline.name}, {self.files}"


class _Epochs:
    """Runs one epoch after the other."""

    def __init__(self, pair: _Pair, workers: int, first: int = 0) -> None:
        self.pair, self.loader, self.number = pair, pair.pipeline.loader(workers), first

    def __call__(self) -> None:
        """The next epoch.

        Raises:
            UserError: a file could not be read.
        """
        clips = 0
        for batch in self.loader.epoch(self.number):
            clips += len(batch.rows)
            for one in batch.failed:
                raise UserError(f"{one.path}: {one.reason}; remove it, or measure on other files")
        self.number += 1
        assert clips == self.pair.clips, f"{self.pair.name}: {clips} of {self.pair.clips} clips"


def _file_sets(settings: LoaderSettings, folder: Path) -> Iterator[list[FileSet]]:
    """Kinds of files, each with its re-encoded ones."""
    kinds = [made_files(folder, *size, settings.videos) for size in settings.sizes]
    if settings.source:
        kinds.append(source_files(settings.source, settings.videos))
    for files in kinds:
        yield [files, resized_files(files, folder)] if settings.resize else [files]


def _pairs(files: FileSet, settings: LoaderSettings) -> list[_Pair]:
    job = LoadingJob(files.films, settings.views)
    pipelines: list[Ours | Plain] = [Ours(job), *(Plain(job, name) for name in settings.against)]
    return [_Pair(files.name, pipeline, job.clips) for pipeline in pipelines]


def _throughputs(pairs: Sequence[_Pair], workers: int, repeats: int) -> list[Throughput]:
    """Time all pairs in turn, epoch by epoch."""
    with _one_thread(one_core=not workers), ExitStack() as stack:
        calls = {one.name: _Epochs(one, workers) for one in pairs}
        for epochs in calls.values():
            stack.callback(epochs.loader.close)
        seconds = time_rounds(calls, repeats, WARMUP, CPU, f"{pairs[0].files}, {where(workers)}")
    return [Throughput(one.pipeline.name, one.clips, tuple(seconds[one.name]), one.files, workers) for one in pairs]


def _stages(pairs: Sequence[_Pair], repeats: int) -> list[Stages]:
    """Time the stages of all pairs in turn, epoch by epoch, on one core."""
    title = f"{pairs[0].files}, stages"
    with _one_thread(one_core=True), no_garbage_collection():
        watched = [[_watched(one, n) for one in pairs] for n in track(range(repeats), title, repeats, "round")]
    found = []
    for one, epochs in zip(pairs, zip(*watched, strict=True), strict=True):
        stages = {name: tuple(seconds.get(name, 0.0) for _, seconds in epochs) for name in STAGES}
        found.append(Stages(one.pipeline.name, one.clips, tuple(whole for whole, _ in epochs), one.files, stages))
    return found


def _watched(pair: _Pair, epoch: int) -> tuple[float, dict[str, float]]:
    """One epoch: seconds of the whole, and by stage."""
    clock, pipeline = Stopwatch(), pair.pipeline
    with clock.watching(pipeline.calls, pipeline.reads):
        run = _Epochs(pair, 0, epoch)
        begin = time.perf_counter()
        run()
        whole = time.perf_counter() - begin
        run.loader.close()
    if seek_seconds := pipeline.seek_seconds(epoch):
        clock.seconds[SEEK] += seek_seconds
        clock.seconds[DECODE] -= seek_seconds
    return whole, dict(clock.seconds)


@contextmanager
def _one_thread(one_core: bool) -> Iterator[None]:
    """One thread for torch and OpenCV, here and in processes started within; with one_core nothing leaves this core."""
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    pinned = one_core and hasattr(os, "sched_setaffinity")  # Linux
    cores = os.sched_getaffinity(0) if pinned else set()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if pinned:
        os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        if pinned:
            os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def _machine() -> dict[str, Any]:
    names = {"av": av.__version__, "opencv": cv2.__version__}
    return {**describe(CPU), **names, **{name: _version(name) for name in ("pytorchvideo", "torchcodec")}}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _record(settings: LoaderSettings) -> dict[str, Any]:
    return {
        **{"views": settings.views, "repeats": settings.repeats, "videos": settings.videos},
        "frames_stride_size": (SHAPE.length, SHAPE.stride, SHAPE.size),
        **{"batch_videos": BATCH_SIZE, "passes": PASSES, "pinned": hasattr(os, "sched_setaffinity")},
    }
