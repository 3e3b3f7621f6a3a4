"""Runs the parts, each in a process of its own with a limit of time, and makes the table."""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

from transm3e.benchmark.gpu.agreement import models, parity
from transm3e.benchmark.gpu.cost import compiled, counted, kernels, speed
from transm3e.benchmark.gpu.rows import Row, Scale, failed
from transm3e.benchmark.gpu.training import musclesynth, processes
from transm3e.benchmark.machine import describe
from transm3e.benchmark.markdown import table


def machine(scale: Scale) -> Iterator[Row]:
    """Device and versions."""
    facts = describe(scale.where)
    versions = ", ".join(f"{name} {facts[name]}" for name in ("torch", "torchvision", "transm3e"))
    yield Row(
        facts.get("gpu") or facts["cpu"],
        versions,
        f"CUDA {facts['cuda']}, cuDNN {facts['cudnn']}" if "cuda" in facts else "",
    )


# Part -> what makes its rows, and its seconds; what one leaves over the later ones may use. Under 8 minutes together.
PARTS: dict[str, tuple[Callable[[Scale], Iterator[Row]], float]] = {
    "machine": (machine, 10),
    "models against the CPU": (models, 60),
    "parity with torchvision": (parity, 30),
    "speed": (speed, 110),
    "measured against counted": (counted, 50),
    "longest kernels": (kernels, 20),
    "one process": (processes, 40),
    "MuscleSynth": (musclesynth, 60),
    "compiled": (compiled, 90),
}
HEAD = ("part", "what", "measured", "beside", "verdict")
VERDICTS = {True: "ok", False: "FAILED", None: ""}


def run_parts(scale: Scale, names: Sequence[str]) -> tuple[str, bool]:
    """The table of these parts, and whether all is as it must be; a part that fails or takes too long is a row."""
    lines, sound, left = [], True, 0.0
    context = mp.get_context("fork")  # this process has not touched a GPU, and need not import torch again for each
    for name in names:
        function, budget = PARTS[name]
        begin, left = time.monotonic(), left + budget
        for row in _rows(context, function, scale, left):
            lines.append([name, row.what, row.value, row.beside, VERDICTS[row.ok]])
            sound &= row.ok is not False
        taken = time.monotonic() - begin
        left -= taken
        print(f"{name}: {taken:.0f} s", file=sys.stderr)
    return table(HEAD, [[_cell(text) for text in line] for line in lines]) + "\n", sound


def _rows(context: Any, function: Callable[[Scale], Iterator[Row]], scale: Scale, limit_s: float) -> Iterator[Row]:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, function, scale))
    process.start()
    theirs.close()
    end = time.monotonic() + limit_s
    try:
        while ours.poll(max(0.0, end - time.monotonic())):
            if (row := ours.recv()) is None:
                return
            yield row
        yield Row("", "", f"not done after the {limit_s:.0f} s that were left", False)
    except EOFError:
        process.join(5)
        yield Row("", "", f"its process ended with status {process.exitcode}", False)
    finally:
        with suppress(ProcessLookupError):  # what it has started, too
            os.killpg(process.pid, signal.SIGKILL)
        process.join(5)


def _work(rows: Connection, function: Callable[[Scale], Iterator[Row]], scale: Scale) -> None:
    os.setpgid(0, 0)
    gc.freeze()  # what was imported need not be searched again and again
    if scale.device == "cpu":
        torch.set_num_threads(1)  # for sizes so tiny more only wait for each other
    try:
        for row in function(scale):
            rows.send(row)
    except Exception as error:
        rows.send(failed("", error))
    rows.send(None)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
