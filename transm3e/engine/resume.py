"""The state that a training needs to resume: saved in checkpoints, loaded from the newest one that can be read."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from transm3e.config.targets import VALIDATION
from transm3e.data.types import Batch
from transm3e.engine.average import WeightAverage
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.engine.processes.distributed import barrier, gather, is_main, rank
from transm3e.engine.processes.sharding import shard_state, whole_state
from transm3e.errors import UserError, first_line
from transm3e.models.weights import load_weights, read_checkpoint
from transm3e.tasks import Classify

# Key in checkpoints of the weights themselves, where the model's are their average.
TRAINED = "trained_state"
logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Position and history of a training.

    Attributes:
        epoch: epochs completed.
        step: optimiser steps done in the current epoch.
        loss_sum: of those steps on this process, for the epoch's mean.
        sums: likewise of the loss's parts over "steps", which older checkpoints do not count, and of the gradient's norm
            over "updates", where it is finite.
        best: highest mean validation score so far.
        best_epoch: the epoch that reached it, from 1; 0 = none.
        history: statistics and scores of each epoch.
        failed: path of each training clip that could not be decoded -> reason.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best: float = -1.0
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, losses: Mapping[str, float], norm: float) -> None:
        """Count a step with these losses and this norm of the gradient."""
        self.step += 1
        self.loss_sum += losses["loss"]
        parts = {"steps": 1.0, **{name: value for name, value in losses.items() if name != "loss"}}
        update = {"grad_norm": norm, "updates": 1.0} if math.isfinite(norm) else {}
        for name, value in {**parts, **update}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def note_failed(self, batch: Batch) -> None:
        for clip in batch.failed:
            if clip.path not in self.failed:
                logger.warning("left out of training: %s: %s", clip.path, clip.reason)
                self.failed[clip.path] = clip.reason

    def end_epoch(self, steps: int) -> dict[str, float]:
        """Means over the steps of the epoch, and the number of failed clips; all processes call this."""
        shares = gather((self.loss_sum, self.failed, self.sums))
        self.failed = merged([failed for _, failed, _ in shares])
        loss = sum(share for share, *_ in shares) / len(shares) / steps
        sums = {name: sum(each[name] for *_, each in shares) / len(shares) for name in self.sums}
        # An older checkpoint of the end of an epoch has none.
        counted, updates = sums.pop("steps", 0.0), sums.pop("updates", 0.0)
        parts = {name: value / (updates if name == "grad_norm" else counted) for name, value in sums.items()}
        return {"loss": loss, **parts, "failed_clips": len(self.failed)}

    def next_epoch(self) -> None:
        self.epoch, self.step, self.loss_sum, self.sums = self.epoch + 1, 0, 0.0, {}

    def waits(self) -> int:
        """Number of validations since the best one."""
        later = [entry for entry in self.history if entry["epoch"] > self.best_epoch]
        return sum(not set(VALIDATION).isdisjoint(entry) for entry in later)

    def shared(self, step_size: int) -> dict[str, Any]:
        """The progress of all processes, as it is saved; all call this.

        Args:
            step_size: videos of one step, all processes together.
        """
        shares = gather((self.loss_sum, self.failed, self.sums))
        return {
            "epoch": self.epoch,
            "step": self.step,
            # A position that does not depend on the number of processes.
            "samples": self.step * step_size,
            "loss_sums": [loss_sum for loss_sum, *_ in shares],
            "sums": [sums for *_, sums in shares],
            "best": self.best,
            "best_epoch": self.best_epoch,
            "history": self.history,
            "failed": merged([failed for _, failed, _ in shares]),
        }

    @classmethod
    def from_shared(cls, saved: Mapping[str, Any], step_size: int) -> Progress:
        """This process's progress, also if the step size has changed since.

        Raises:
            KeyError, TypeError: saved by another version.
        """
        plain = {key: saved[key] for key in ("epoch", "best", "best_epoch", "history", "failed")}
        # Before positions were saved in samples there was one sum, and steps of one size.
        samples = saved.get("samples", saved["step"] * step_size)
        sums = saved["loss_sums"] if "loss_sums" in saved else [saved["loss_sum"]]
        parts = saved.get("sums", [{}] * len(sums))
        step = samples // step_size
        if step == saved["step"] and len(sums) == len(gather(None)):
            return cls(step=step, loss_sum=sums[rank()], sums=parts[rank()], **plain)
        if samples % step_size:
            logger.warning(
                "steps had %d videos and now have %d: %d videos of this epoch are seen twice",
                samples // saved["step"],
                step_size,
                samples % step_size,
            )
        mean = sum(sums) / len(sums) / max(1, saved["step"])
        share = step / max(1, saved["step"]) / len(parts)
        means = {name: sum(each[name] for each in parts) * share for name in parts[0]}
        return cls(step=step, loss_sum=mean * step, sums=means, **plain)


def merged(shares: list[dict[str, str]]) -> dict[str, str]:
    """Failed clips of all processes, sorted, so that interruptions do not change the order."""
    return dict(sorted({path: reason for failed in shares for path, reason in failed.items()}.items()))


class Resume:
    """Saves and loads the state of a training.

    Args:
        store: where checkpoints go.
        task, optimizer, scaler: saved in addition to the progress.
        origin: saved in every checkpoint: config and identity of the run. The task's activities are saved, too.
        step_size: videos of one optimiser step, all processes together.
        average: of the weights. Then it is what checkpoints hold as the model, and TRAINED the weights to resume with.
    """

    def __init__(
        self,
        store: CheckpointStore,
        task: Classify,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        origin: dict[str, Any],
        step_size: int,
        average: WeightAverage | None = None,
    ) -> None:
        self.store, self.task, self.optimizer, self.scaler = store, task, optimizer, scaler
        self.origin, self.step_size, self.average = origin, step_size, average

    def save(self, progress: Progress, step: int | None = None, best: bool = False) -> None:
        """Write a checkpoint; all processes call this, the main one writes.

        Args:
            step: optimiser steps done in the current epoch; None: the epoch is complete.
            best: also mark it as the best.

        Raises:
            UserError: it cannot be written; older ones are untouched.
        """
        epoch = progress.epoch + (step is not None)
        # As in PySlowFast: number of the last epoch begun, from 0.
        state = {**self.state(), "epoch": epoch - 1, "progress": progress.shared(self.step_size)}
        if is_main():
            path = self.store.save(state, epoch, step)
            if best:
                self.store.mark_best(path)
        barrier()

    def finish(self, progress: Progress, max_epoch: int) -> None:
        """After training; if it has ended early, its checkpoint also gets the name of the last epoch."""
        if progress.epoch < max_epoch and is_main():
            logger.info("SOLVER.EARLY_STOP: epoch %d was the last, %d the best", progress.epoch, progress.best_epoch)
            self.store.mark_last(max_epoch)
        barrier()

    def model_state(self) -> dict[str, Any]:
        """The weights that are evaluated, whole as in state()."""
        return whole_state((self.average or self.task.model).state_dict())

    def state(self) -> dict[str, Any]:
        """The training state and `origin`; all processes call this, only the main one gets sharded tensors whole."""
        return {
            "model_state": self.model_state(),
            **({TRAINED: whole_state(self.task.model.state_dict())} if self.average else {}),
            "optimizer_state": whole_state(self.optimizer.state_dict()),
            "scaler_state": self.scaler.state_dict(),
            "activities": self._activities(),
            "task_state": self.task.state(),
            **self.origin,
        }

    def load(self) -> Progress:
        """Resume from the newest checkpoint that can be read; damaged ones are renamed. All processes call this.

        Raises:
            UserError: it belongs to another run, model, version or clip table.
        """
        newest, state = self._newest()
        if newest is None or state is None:
            return Progress()
        if "progress" not in state:
            raise UserError(
                f"{newest} was not written by this training loop; move it away, or set TRAIN.AUTO_RESUME False"
            )
        if state.get("activities") != self._activities():
            raise UserError(
                f"{newest} was trained on other activities, or on these in another order, than the clip table has now; "
                "choose another OUTPUT_DIR, or restore the table"
            )
        load_weights(self.task.model, state["model_state"], name=str(newest), source="transm3e")
        try:
            if self.average:
                self.average.restart()
                load_weights(self.task.model, state[TRAINED], name=str(newest), source="transm3e")
            self.optimizer.load_state_dict(shard_state(state["optimizer_state"], self.optimizer))
            if bool(state["scaler_state"]) == self.scaler.is_enabled():
                self.scaler.load_state_dict(state["scaler_state"])
            else:
                logger.warning(
                    "%s was trained with another AMP type: from here on results differ from an uninterrupted run's",
                    newest,
                )
            self.task.load_state(state.get("task_state", {}))
            progress = Progress.from_shared(state["progress"], self.step_size)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{newest} was written by another version of this program, or with another optimiser ({first_line(error)}); "
                "resume with that version, or choose another OUTPUT_DIR"
            ) from error
        # The process may have been killed between saving the best epoch's checkpoint and marking it.
        if is_main() and progress.best_epoch == progress.epoch > 0 == progress.step:
            self.store.mark_best(newest)
        logger.info("resuming from %s", newest)
        return progress

    def _newest(self) -> tuple[Path | None, dict[str, Any] | None]:
        """The newest checkpoint that can be read, the same on every process, and its content."""
        newest, state = self.store.newest_whole(read_checkpoint) if is_main() else (None, None)
        newest = gather(newest)[0]
        if newest and state is None:
            state = read_checkpoint(newest)
        return newest, state

    def _activities(self) -> dict[str, Any] | None:
        return self.task.activities.as_plain() if self.task.activities else None
