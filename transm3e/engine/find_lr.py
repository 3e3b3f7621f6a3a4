"""Learning-rate finder (Smith, WACV 2017, section 3.3): a short training whose learning rate rises at every step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from transm3e.data.loader import ClipLoader
from transm3e.data.types import Batch
from transm3e.engine.norms import freeze_norms
from transm3e.engine.optim import clip_gradient, set_rate
from transm3e.engine.precision import Precision
from transm3e.engine.seed import seed_step
from transm3e.engine.settings import TrainSettings
from transm3e.progress import track
from transm3e.tasks import Classify

# Weight of the loss so far in the smoothed loss; the sweep ends where this exceeds its lowest value by so much.
SMOOTHING, DIVERGED = 0.9, 4.0
# Of all steps, those that the smoothed loss needs to settle.
SETTLING = 0.1


@dataclass
class Sweep:
    """The loss at rising learning rates.

    Attributes:
        rates: learning rates, as many as steps were done.
        losses: of each step, before its update.
        smoothed: their exponential mean, without the bias of its start.
    """

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)

    def add(self, rate: float, loss: float) -> bool:
        """Note a step; returns whether the loss has diverged."""
        if not math.isfinite(loss):
            return True
        self.rates.append(rate)
        self.losses.append(loss)
        n = np.arange(len(self.losses))[::-1]
        self.smoothed.append(float(np.average(self.losses, weights=SMOOTHING**n)))
        return self.smoothed[-1] > DIVERGED * min(self.smoothed)

    def suggestion(self) -> float | None:
        """The learning rate at which the smoothed loss falls fastest over the logarithm of the rate; None: it never falls."""
        first, lowest = int(SETTLING * len(self.rates)), int(np.argmin(self.smoothed)) if self.smoothed else 0
        if lowest - first < 2:
            return None
        slopes = np.gradient(self.smoothed, np.log(self.rates))[first : lowest + 1]
        best = int(np.argmin(slopes))
        return self.rates[first + best] if slopes[best] < 0 else None


def rising(lowest: float, highest: float, steps: int) -> list[float]:
    """Learning rates from lowest to highest, in equal steps of their logarithm."""
    return [float(rate) for rate in np.geomspace(lowest, highest, steps)]


def sweep(
    task: Classify,
    loader: ClipLoader,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    settings: TrainSettings,
    rates: Sequence[float],
) -> Sweep:
    """Train a step at each rate, as a Trainer does, until the loss diverges; one process.

    Args:
        task, loader, optimizer, precision, settings: as of a Trainer.
    """
    found, batches = Sweep(), _endless(loader)
    for step, rate in enumerate(track(list(rates), "learning rates", len(rates), "steps")):
        set_rate(optimizer, rate)
        task.train()
        freeze_norms(task.model, settings.frozen_norms)
        loss = 0.0
        for part in range(settings.accum_steps):
            seed_step(settings.seed, 0, step * settings.accum_steps + part, 0)
            with precision.autocast():
                share = task(next(batches).to(precision.device))["loss"] / settings.accum_steps
            precision.scaler.scale(share).backward()
            loss += share.item()
        if found.add(rate, loss):
            break
        precision.scaler.unscale_(optimizer)
        clip_gradient(task.model, settings.clip_norm, settings.clip_value)
        precision.scaler.step(optimizer)
        precision.scaler.update()
        optimizer.zero_grad(set_to_none=True)
    return found


def _endless(loader: ClipLoader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1
