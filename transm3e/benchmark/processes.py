"""The cost of distributed training: `tools/benchmark.py processes`.

The same processes run a training step in turn alone (each trains its own model), with DDP, and sharded (FSDP2), so the
ratios show the cost of the collectives, whatever else the machine does.
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

from transm3e.benchmark.candidate import Candidate, Entry, build_candidate
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
STRATEGIES = (ALONE, DDP, FSDP)
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
TIMEOUT_S = 600.0
SECONDS = "seconds.json"


@dataclass(frozen=True)
class ProcessSettings:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda".
        precision: "float32", "bf16" or "fp16" (autocast).
        world_sizes: numbers of processes; on GPUs one process per GPU.
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
class StrategyTimes:
    """Times of one strategy with one number of processes.

    Attributes:
        world_size, strategy: number of processes, and one of STRATEGIES.
        seconds: of each round, in the slowest process.
    """

    world_size: int
    strategy: str
    seconds: tuple[float, ...]


def measure_processes(entry: Entry, settings: ProcessSettings, folder: Path) -> str:
    """Time training steps of a config's model in each number of processes; returns the table, also in processes.md.

    Raises:
        UserError: more GPUs are asked for than there are, the model cannot train with the batch size, or the table cannot be
            written.
    """
    make_folder(folder, "--out")
    table_of_all = processes_markdown(time_processes(entry, settings), settings)
    atomic_write_text(folder / "processes.md", table_of_all)
    return table_of_all


def time_processes(entry: Entry, settings: ProcessSettings) -> list[StrategyTimes]:
    """Measure as measure_processes does; returns the times."""
    samples = build_candidate(entry, torch.device("meta")).samples
    if settings.batch_size % samples:
        raise UserError(
            f"--batch-size {settings.batch_size}: a training step of {entry.name} takes {samples} clips of each video "
            f"(AUG.NUM_SAMPLE); use a multiple of {samples}"
        )
    if settings.device == "cuda":
        select_device(max(settings.world_sizes))
    found: list[StrategyTimes] = []
    for size in settings.world_sizes:
        with tempfile.TemporaryDirectory() as folder:
            # Rendezvous by a file, since a port might be taken by another program.
            mp.spawn(time_process, (size, f"file://{folder}/rendezvous", entry, settings, folder), nprocs=size)
            seconds = json.loads((Path(folder) / SECONDS).read_text(encoding="utf-8"))
        found += [StrategyTimes(size, strategy, tuple(seconds[strategy])) for strategy in STRATEGIES]
    return found


def processes_markdown(found: Sequence[StrategyTimes], settings: ProcessSettings) -> str:
    """The table and how to read it."""
    machine = describe(torch.device(settings.device))
    where = machine.get("gpu") or f"{machine['cpu']}, {machine['cores']} cores"
    alone = {shared.world_size: shared.seconds for shared in found if shared.strategy == ALONE}
    rows = []
    for shared in found:
        seconds = statistics.median(shared.seconds)
        clips = shared.world_size * settings.batch_size / seconds
        ratio = "" if shared.strategy == ALONE else f"{1 / times_faster(alone[shared.world_size], shared.seconds):.3f}"
        rows.append([str(shared.world_size), shared.strategy, f"{1000 * seconds:.1f} ms", f"{clips:.2f}", ratio])
    return (
        f"{where}, {settings.precision}, torch {machine['torch']}, {BACKENDS[settings.device]}, {settings.batch_size} clips per "
        f"process; median of {settings.repeats} rounds in turn, of the slowest process\n\n"
        + table(["processes", "gradients", "training step", "clips/s, all", "x the time of alone"], rows)
        + "\n"
    )


def time_process(
    rank: int, world_size: int, init_method: str, entry: Entry, settings: ProcessSettings, folder: str
) -> None:
    """One of the processes; rank 0 writes the seconds of the slowest process."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = select_device(world_size if settings.device == "cuda" else 0, rank)
    with joined(ProcessInfo(rank, world_size, rank, world_size, init_method), device, BACKENDS[device.type], TIMEOUT_S):
        calls = {}
        for strategy in STRATEGIES:
            candidate = build_candidate(entry, device)
            _share(candidate, strategy, device)
            precision = Precision(device, DTYPES[settings.precision])
            calls[strategy] = training_call(candidate, candidate.batch(settings.batch_size, device), precision)
        seconds = time_rounds(calls, settings.repeats, settings.warmup, device, f"{world_size} process(es)")
        shares = gather(seconds)
        if is_main():
            slowest = {
                strategy: [max(times) for times in zip(*(one[strategy] for one in shares), strict=True)]
                for strategy in STRATEGIES
            }
            (Path(folder) / SECONDS).write_text(json.dumps(slowest), encoding="utf-8")


def _share(candidate: Candidate, strategy: str, device: torch.device) -> None:
    task = candidate.task
    if strategy == DDP:
        task.replica = wrap(task.model, device)
    elif strategy == FSDP:
        shard(task, device, lambda: None)
