"""Failures during training: a loss or gradient that is NaN or infinite, and running out of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transm3e.data.types import Batch
from transm3e.engine.processes.distributed import gather, is_main, world_size
from transm3e.errors import UserError, first_line, is_out_of_memory
from transm3e.files import atomic_path
from transm3e.models.weights.files import save_torch

PATHS_SHOWN = 8
# Part of the error that torch's anomaly detection raises.
ANOMALY = " returned nan values"
# Of the error that torch raises with use_deterministic_algorithms.
NOT_DETERMINISTIC = " does not have a deterministic implementation"
# In the run's folder, not in checkpoints/, as nothing resumes from them; of the last failure only.
BAD_WEIGHTS, BAD_BATCH = "bad_weights.pyth", "bad_batch_rank_{}.pt"
POSITION = "bad_step"


@dataclass(frozen=True)
class BadStep:
    """A step of one process whose loss or gradient is not finite.

    Attributes:
        what, value: "loss" or "gradient", and its value here.
        epoch, step: numbers completed before this step.
        seed, rank: of its random numbers (see seed_step).
        accum_steps: batches per step.
        batches: of this step, up to the last one that was computed, on any device, before mixup.
    """

    what: str
    value: float
    epoch: int
    step: int
    seed: int
    rank: int
    accum_steps: int
    batches: list[Batch]

    @property
    def where(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step + 1}"

    @property
    def paths(self) -> list[str]:
        return [path for batch in self.batches for path in batch.paths]

    def as_plain(self) -> dict[str, Any]:
        """Tensors on the CPU, numbers and text."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "batches": [_plain(batch.to("cpu")) for batch in self.batches]}


def refuse_non_finite(bad: BadStep, folder: Path, state: Mapping[str, Any], newest: Path | None) -> None:
    """End the training of all processes, which call this together, and save what is needed to replay the step.

    Each process whose value is not finite saves its batches; the main process saves the common state.

    Args:
        folder: of the run.
        state: model, optimiser, scaler, task and config, as in a checkpoint.
        newest: the checkpoint to resume from.

    Raises:
        UserError: always; it names the clips and the files.
    """
    if is_main():
        # So that no batch of an earlier failure is replayed with these weights.
        for old in (*folder.glob(BAD_BATCH.format("*")), *folder.glob(f".{Path(BAD_WEIGHTS).stem}.*")):
            old.unlink(missing_ok=True)
    fault = gather(_save({**state, POSITION: [bad.epoch, bad.step]}, folder / BAD_WEIGHTS) if is_main() else "")[0]
    file = folder / BAD_BATCH.format(bad.rank)
    mine = not math.isfinite(bad.value)
    told = gather((bad.value, bad.paths, file, _save(bad.as_plain(), file)) if mine else None)
    (value, _, file, fault_here), *others = [entry for entry in told if entry]
    names = [path for entry in told if entry for path in entry[1]]
    more = f", and by {len(others)} more" if others else ""
    fault = fault or fault_here
    replay = f"not saved, {fault}" if fault else f"replayed by python tools/show_batch.py --bad {file}{more}"
    raise UserError(
        f"the {bad.what} is {value} in {bad.where}, with the clips {clip_names(names)}; lower SOLVER.BASE_LR or check "
        f"these clips ({replay}; newest checkpoint: {newest or 'none'})"
    )


@contextmanager
def anomalies(
    loss: Tensor, bad_step: Callable[[str], BadStep], refuse: Callable[[str], None], on: bool
) -> Iterator[None]:
    """With TRAIN.DETECT_ANOMALY (`on`), end at what torch finds in a backward pass, or at a loss without one.

    Args:
        bad_step, refuse: called with what is not finite; `refuse` saves the step and ends the training.
    """
    try:
        if on and not loss.isfinite():
            raise RuntimeError(f"the forward pass{ANOMALY}")
        yield
    except RuntimeError as error:
        if ANOMALY not in str(error):
            raise
        what = "gradient" if loss.isfinite() else "loss"
        # Of several processes the others wait for this one's gradients, and cannot save their weights with it.
        if world_size() == 1:
            refuse(f"{what} ({first_line(error)})")
        bad = bad_step(what)
        raise UserError(f"{first_line(error)} in {bad.where}, with the clips {clip_names(bad.paths)}") from error


def clip_names(paths: Iterable[str]) -> str:
    """The first PATHS_SHOWN different paths, as text."""
    names = list(dict.fromkeys(paths))
    more = f" and {len(names) - PATHS_SHOWN} more" if len(names) > PATHS_SHOWN else ""
    return ", ".join(names[:PATHS_SHOWN]) + more


def _save(state: dict[str, Any], file: Path) -> str:
    """Write a file whole or not at all; returns why it could not be written, or ""."""
    try:
        with atomic_path(file) as partial:
            save_torch(state, partial)
    except UserError as error:
        return first_line(error)
    return ""


def _plain(batch: Batch) -> dict[str, Any]:
    tensors = ("clips", "labels", "rows", "views", "paths", "samples")
    return {name: getattr(batch, name) for name in tensors} | {"mix": asdict(batch.mix) if batch.mix else None}


@contextmanager
def memory_advice(settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn running out of memory into a message.

    Args:
        settings: keys that reduce memory, with their present values.

    Raises:
        UserError: memory has run out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        helpful = ", ".join(f"{key} (now {value})" for key, value in settings.items())
        raise UserError(f"out of memory: {first_line(error)}; settings that would help: {helpful}") from error


@contextmanager
def determinism_advice(model: str) -> Iterator[None]:
    """Turn torch's refusal of an operation, which the first step meets before it changes a weight, into a message.

    torch decides by operation, size and device (adaptive pooling to 1x1x1 is a mean, and allowed), so no list is kept here.

    Args:
        model: MODEL.MODEL_NAME.

    Raises:
        UserError: with DETERMINISTIC, an operation has no deterministic version.
    """
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(NOT_DETERMINISTIC)
        if not found:
            raise
        raise UserError(
            f"DETERMINISTIC True: MODEL.MODEL_NAME {model} uses {operation.strip().split()[-1]}, which{NOT_DETERMINISTIC} in torch "
            f"{torch.__version__}; set DETERMINISTIC False (random numbers stay the same, sums differ in their last bits), "
            "choose another model, or the CPU with NUM_GPUS 0"
        ) from error
