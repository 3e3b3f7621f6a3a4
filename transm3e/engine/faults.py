"""What ends a training although nobody has made a mistake yet: numbers that are none, and memory that is full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from transm3e.data.types import Batch
from transm3e.engine.processes.distributed import gather, rank
from transm3e.errors import UserError, first_line, is_out_of_memory
from transm3e.files import atomic_path

PATHS_SHOWN = 8


def refuse_non_finite(
    what: str, value: float, mine: bool, where: str, batches: Sequence[Batch], folder: Path, newest: Path | None
) -> None:
    """End the training of all processes, which call this together; each saves its own batch if it is one of the culprits.

    Args:
        what: "loss" or "gradient".
        value: of this process.
        mine: whether it is not finite here.
        where: epoch and step.
        batches: of the step, on any device.
        folder: of the run.
        newest: the checkpoint to go on from.

    Raises:
        UserError: always; names the clips and the file.
    """
    paths = [path for batch in batches for path in batch.paths] if mine else []
    saved = _save(batches, folder / f"bad_batch_rank_{rank()}.pt", what, where) if mine else ""
    told = [entry for entry in gather((value, paths, saved) if mine else None) if entry]
    names = list(dict.fromkeys(path for _, share, _ in told for path in share))
    more = f" and {len(names) - PATHS_SHOWN} more" if len(names) > PATHS_SHOWN else ""
    raise UserError(
        f"the {what} is {told[0][0]} in {where}, with the clips {', '.join(names[:PATHS_SHOWN])}{more}; lower "
        f"SOLVER.BASE_LR or look at these clips (saved batch: {', '.join(file for _, _, file in told)}; "
        f"newest checkpoint: {newest or 'none'})"
    )


def _save(batches: Sequence[Batch], file: Path, what: str, where: str) -> str:
    """Write a step's batches as plain tensors and text; returns the file's name, or why it is not there."""
    state = {"what": what, "where": where, "batches": [_plain(batch.to("cpu")) for batch in batches]}
    try:
        with atomic_path(file) as partial:
            torch.save(state, partial)
    except (UserError, RuntimeError) as error:
        return f"none, {first_line(error)}"
    return str(file)


def _plain(batch: Batch) -> dict[str, Any]:
    fields = ("clips", "labels", "rows", "views", "paths", "samples")
    return {name: getattr(batch, name) for name in fields} | {"mix": asdict(batch.mix) if batch.mix else None}


@contextmanager
def memory_advice(settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn running out of memory into a message.

    Args:
        settings: those that would help, with their values.

    Raises:
        UserError: memory has run out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        helpful = ", ".join(f"{key} (now {value})" for key, value in settings.items())
        raise UserError(f"out of memory: {first_line(error)}; what would help: {helpful}") from error
