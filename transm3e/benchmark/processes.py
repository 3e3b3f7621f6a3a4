"""What sharing a training among processes costs: `tools/benchmark.py processes`.

In the same processes a training step runs in turn by itself (each process trains a model of its own), in DDP, and in shards
(FSDP2); so the ratio is that of the exchange, whatever else the machine does.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.multiprocessing as mp

from transm3e.benchmark.contestant import Contestant, Entry, build_contestant
from transm3e.benchmark.machine import describe
from transm3e.benchmark.markdown import table
from transm3e.benchmark.memory import DTYPES
from transm3e.benchmark.step import training_call
from transm3e.benchmark.timing import time_rounds, times_faster
from transm3e.engine.precision import Precision
from transm3e.engine.processes.device import ProcessInfo
from transm3e.engine.processes.distributed import gather, is_main, joined, select_device
from transm3e.engine.processes.parallel import wrap
from transm3e.engine.processes.sharding import shard
from transm3e.errors import UserError
from transm3e.files import atomic_write_text, make_folder

ALONE, DDP, FSDP = "alone", "DDP", "FSDP"
WAYS = (ALONE, DDP, FSDP)
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
TIMEOUT_S = 600.0
SECONDS = "seconds.json"


@dataclass(frozen=True)
class ProcessSettings:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda".
        precision: "float32", "bf16" or "fp16" (autocast).
        world_sizes: numbers of processes; on GPUs one each.
        batch_size: clips of each process.
        repeats, warmup: timed and untimed rounds.
        threads: of each process on the CPU; 0 = as torch likes.
    """

    device: str
    precision: str
    world_sizes: tuple[int, ...]
    batch_size: int
    repeats: int
    warmup: int
    threads: int


@dataclass(frozen=True)
class Shared:
    """A way of training in so many processes.

    Attributes:
        world_size, way: how many, and one of WAYS.
        seconds: of each round, those of the slowest process.
    """

    world_size: int
    way: str
    seconds: tuple[float, ...]


def measure_processes(entry: Entry, settings: ProcessSettings, folder: Path) -> str:
    """Time training steps of a config's model in each number of processes; returns the table, also in processes.md.

    Raises:
        UserError: more GPUs are asked for than there are, the batch size is none that it trains with, or the table cannot
            be written.
    """
    make_folder(folder, "--out")
    table_of_all = processes_markdown(time_processes(entry, settings), settings)
    atomic_write_text(folder / "processes.md", table_of_all)
    return table_of_all


def time_processes(entry: Entry, settings: ProcessSettings) -> list[Shared]:
    """The same as figures."""
    samples = build_contestant(entry, torch.device("meta")).samples
    if settings.batch_size % samples:
        raise UserError(
            f"--batch-size {settings.batch_size}: a training step of {entry.name} takes {samples} clips of each video "
            f"(AUG.NUM_SAMPLE); use a multiple of {samples}"
        )
    if settings.device == "cuda":
        select_device(max(settings.world_sizes))
    found: list[Shared] = []
    for size in settings.world_sizes:
        with tempfile.TemporaryDirectory() as folder:
            # They meet at a file: no port that somebody else may take.
            mp.spawn(_work, (size, f"file://{folder}/meeting", entry, settings, folder), nprocs=size)
            seconds = json.loads((Path(folder) / SECONDS).read_text(encoding="utf-8"))
        found += [Shared(size, way, tuple(seconds[way])) for way in WAYS]
    return found


def processes_markdown(found: Sequence[Shared], settings: ProcessSettings) -> str:
    """The table and how to read it."""
    machine = describe(torch.device(settings.device))
    where = machine.get("gpu") or f"{machine['cpu']}, {machine['cores']} cores"
    alone = {shared.world_size: shared.seconds for shared in found if shared.way == ALONE}
    rows = []
    for shared in found:
        seconds = statistics.median(shared.seconds)
        clips = shared.world_size * settings.batch_size / seconds
        ratio = "" if shared.way == ALONE else f"{1 / times_faster(alone[shared.world_size], shared.seconds):.3f}"
        rows.append([str(shared.world_size), shared.way, f"{1000 * seconds:.1f} ms", f"{clips:.2f}", ratio])
    return (
        f"{where}, {settings.precision}, torch {machine['torch']}, {BACKENDS[settings.device]}, {settings.batch_size} clips per "
        f"process; median of {settings.repeats} rounds in turn, of the slowest process\n\n"
        + table(["processes", "gradients", "training step", "clips/s, all", "x the time of alone"], rows)
        + "\n"
    )


def _work(rank: int, world_size: int, meeting: str, entry: Entry, settings: ProcessSettings, folder: str) -> None:
    """One of the processes; the main one writes the slowest one's seconds."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = select_device(world_size if settings.device == "cuda" else 0, rank)
    with joined(ProcessInfo(rank, world_size, rank, world_size, meeting), device, BACKENDS[device.type], TIMEOUT_S):
        calls = {}
        for way in WAYS:
            contestant = build_contestant(entry, device)
            _share(contestant, way, device)
            precision = Precision(device, DTYPES[settings.precision])
            calls[way] = training_call(contestant, contestant.batch(settings.batch_size, device), precision)
        seconds = time_rounds(calls, settings.repeats, settings.warmup, device, f"{world_size} process(es)")
        shares = gather(seconds)
        if is_main():
            slowest = {way: [max(times) for times in zip(*(one[way] for one in shares), strict=True)] for way in WAYS}
            (Path(folder) / SECONDS).write_text(json.dumps(slowest), encoding="utf-8")


def _share(contestant: Contestant, way: str, device: torch.device) -> None:
    task = contestant.task
    if way == DDP:
        task.replica = wrap(task.model, device)
    elif way == FSDP:
        shard(task, device, lambda: None)
