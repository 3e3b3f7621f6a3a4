"""The calls that are measured: inference, forward with backward, and a whole training step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from transm3e.benchmark.candidate import Candidate
from transm3e.data.types import Batch
from transm3e.engine.optim import read_numbers
from transm3e.engine.precision import Precision
from transm3e.engine.processes.sharding import whole
from transm3e.engine.seed import seed_step

FORWARD, TRAIN = "forward", "train"
MODES = (FORWARD, TRAIN)
Call = Callable[[], None]


def forward_call(candidate: Candidate, batch: Batch, precision: Precision) -> Call:
    """Inference on clips that are floats on the device already; with TASK distill the student alone."""
    model, clips = candidate.task.model, candidate.task.inputs(batch.clips)

    def call() -> None:
        model.eval()
        with torch.inference_mode(), precision.autocast():
            model(clips)

    return call


def backward_call(candidate: Candidate, batch: Batch, precision: Precision) -> Call:
    """Task and backward: what a training step needs besides the optimiser. The gradients stay."""

    def call() -> None:
        _loss_and_gradients(candidate, batch, precision)

    return call


def training_call(candidate: Candidate, batch: Batch, precision: Precision) -> Call:
    """A step as the training loop does it on a batch that is on the device, from uint8 clips to new weights."""
    step = 0

    def call() -> None:
        nonlocal step
        seed_step(0, 0, step, 0)
        step += 1
        _update(candidate, precision, _loss_and_gradients(candidate, batch, precision))

    return call


def _loss_and_gradients(candidate: Candidate, batch: Batch, precision: Precision) -> dict[str, Tensor]:
    candidate.task.train()
    with precision.autocast():
        out = candidate.task(batch)
    precision.scaler.scale(out["loss"]).backward()
    return {name: value.detach() for name, value in out.items() if value.dim() == 0}


def _update(candidate: Candidate, precision: Precision, losses: dict[str, Tensor]) -> None:
    optimizer, scaler = candidate.optimizer, precision.scaler
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(candidate.task.model.parameters(), candidate.clip_norm or math.inf)
    read_numbers([*losses.values(), whole(norm)])
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
