"""The training loop: it knows tasks, batches and time, and nothing of what is trained."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn
from tqdm import tqdm

from transm3e.config.targets import ACTIVITY_TARGET, MUSCLE_TARGET
from transm3e.data.loader import ClipLoader
from transm3e.data.types import Batch
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.engine.distributed import any_process, barrier, gather, is_main, rank, wrap
from transm3e.engine.logging import Recorder, memory_stats
from transm3e.engine.meters import Timer
from transm3e.engine.optim import Schedule, build_optimizer, set_rate
from transm3e.engine.precision import Precision
from transm3e.engine.seed import seed_step
from transm3e.engine.signals import StopRequest, stop_request
from transm3e.errors import ExitRequest, UserError
from transm3e.models.weights import load_weights, read_checkpoint
from transm3e.progress import on_terminal
from transm3e.tasks import Classify

logger = logging.getLogger(__name__)
# fp16 steps in a row that the scaler may skip: from its first scale, 2^16, it has then reached 2^-9.
MOST_SKIPPED = 25


@dataclass
class Progress:
    """Where training stands; saved in every checkpoint.

    Attributes:
        epoch: epochs completed.
        step: optimiser steps done in the current epoch.
        loss_sum: of those steps, for the epoch's mean.
        best: highest mean validation score so far.
        best_epoch: the epoch that reached it, from 1; 0 = none.
        history: what each epoch came to.
        failed: training clips that could not be decoded -> why.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best: float = -1.0
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class Trainer:
    """Trains a task to its last epoch, from wherever its newest checkpoint stands.

    Args:
        task: called with a batch, returns {"loss", "logits", ...}.
        loader: its `epoch(number, start_step)` yields the same batches every time.
        validate: called after an epoch; returns split -> score of the splits that have one: mAP, or top-1 accuracy.
        store, recorder: where checkpoints and statistics go.
        optimizer, schedule, precision, device: as built from the config.
        max_epoch, accum_steps, clip_norm: length; batches per step; limit of the gradient's L2 norm (0 = none).
        eval_period, checkpoint_period, checkpoint_steps, log_period: in epochs, epochs, steps, steps; 0 = never.
        resume: go on from the newest checkpoint.
        seed: of dropout and drop path.
        origin: saved in every checkpoint: what it takes to rebuild the model and to tell this run from another.
            The task's activities are saved beside it.
    """

    def __init__(
        self,
        *,
        task: Classify,
        loader: ClipLoader,
        validate: Callable[[], dict[str, float]],
        store: CheckpointStore,
        recorder: Recorder,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        precision: Precision,
        device: torch.device,
        max_epoch: int,
        accum_steps: int,
        clip_norm: float,
        eval_period: int,
        checkpoint_period: int,
        checkpoint_steps: int,
        log_period: int,
        resume: bool,
        seed: int,
        origin: dict[str, str],
    ) -> None:
        self.task, self.loader, self.validate = task, loader, validate
        self.store, self.recorder = store, recorder
        self.optimizer, self.schedule, self.precision, self.device = optimizer, schedule, precision, device
        self.max_epoch, self.accum_steps, self.clip_norm = max_epoch, accum_steps, clip_norm
        self.eval_period, self.log_period = eval_period, log_period
        self.checkpoint_period, self.checkpoint_steps = checkpoint_period, checkpoint_steps
        self.resume, self.seed, self.origin = resume, seed, origin
        self.steps_per_epoch = len(loader) // accum_steps
        if not self.steps_per_epoch:
            raise UserError(
                f"an epoch has {len(loader)} batches, fewer than TRAIN.ACCUM_STEPS {accum_steps}; "
                "lower TRAIN.ACCUM_STEPS or TRAIN.BATCH_SIZE"
            )
        self.progress, self.timer, self.skipped = Progress(), Timer(), 0
        self.metric = {MUSCLE_TARGET: "map", ACTIVITY_TARGET: "top1"}[task.target]

    @classmethod
    def from_cfg(cls, cfg: CfgNode, **parts: Any) -> Trainer:
        """Plain settings from the config; `parts` are the objects the caller has built."""
        device, task = parts["device"], parts["task"]
        task.replica = wrap(task.model, device)
        if cfg.TRAIN.COMPILE:
            # DDP's own bookkeeping is no part of a graph; without it nothing may break the graph unnoticed.
            task.compile(fullgraph=task.replica is task.model)
        return cls(
            optimizer=build_optimizer(cfg, task.model),
            schedule=Schedule.from_cfg(cfg),
            precision=Precision.from_cfg(cfg, device),
            store=CheckpointStore(Path(cfg.OUTPUT_DIR), cfg.TRAIN.KEEP_CHECKPOINTS),
            recorder=Recorder(Path(cfg.OUTPUT_DIR), cfg.TENSORBOARD.ENABLE, is_main()),
            max_epoch=cfg.SOLVER.MAX_EPOCH,
            accum_steps=cfg.TRAIN.ACCUM_STEPS,
            clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
            eval_period=cfg.TRAIN.EVAL_PERIOD,
            checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
            checkpoint_steps=cfg.TRAIN.CHECKPOINT_STEPS,
            log_period=cfg.LOG_PERIOD,
            resume=cfg.TRAIN.AUTO_RESUME,
            seed=cfg.RNG_SEED,
            **parts,
        )

    def run(self) -> None:
        """Train to the end.

        Raises:
            UserError: the loss is no number, or a checkpoint belongs to another run.
            ExitRequest: on SIGINT or SIGTERM, after a checkpoint.
        """
        if not self.resume and self.store.newest():
            raise UserError(
                f"TRAIN.AUTO_RESUME is False, but {self.store.folder} holds checkpoints that would be overwritten; "
                "choose another OUTPUT_DIR, delete them, or set TRAIN.AUTO_RESUME True"
            )
        if self.resume:
            self._load_newest()
        with stop_request() as request, closing(self.recorder):
            while self.progress.epoch < self.max_epoch:
                self._train_epoch(request)
                self._end_epoch(request)

    def _train_epoch(self, request: StopRequest) -> None:
        progress = self.progress
        batches = self.loader.epoch(progress.epoch, progress.step * self.accum_steps)
        title = f"epoch {progress.epoch + 1}/{self.max_epoch}"
        hidden = not (is_main() and on_terminal())
        with tqdm(total=self.steps_per_epoch, initial=progress.step, desc=title, disable=hidden, leave=False) as bar:
            while progress.step < self.steps_per_epoch:
                self._step(batches)
                bar.set_postfix_str(f"loss {progress.loss_sum / progress.step:.4f}")
                bar.update()
                if any_process(bool(request.signal_number), self.device):
                    self._stop(request)
                if self.checkpoint_steps and progress.step % self.checkpoint_steps == 0:
                    self._save(progress.step)

    def _step(self, batches: Iterator[Batch]) -> None:
        """One optimiser step over `accum_steps` batches."""
        progress = self.progress
        rate = self.schedule.rate(progress.epoch + progress.step / self.steps_per_epoch)
        set_rate(self.optimizer, rate)
        self.timer.start()
        self.task.train()
        sums: dict[str, float] = {}
        for part in range(self.accum_steps):
            asked = time.perf_counter()
            batch = next(batches).to(self.device)
            self.timer.loaded(asked)
            self._note_failed(batch)
            seed_step(self.seed, progress.epoch, progress.step * self.accum_steps + part, rank())
            with self.precision.autocast():
                out = self.task(batch)
            self._check(out["loss"], "loss", batch)
            self.precision.scaler.scale(out["loss"] / self.accum_steps).backward()
            for name, value in out.items():
                if value.dim() == 0:
                    sums[name] = sums.get(name, 0.0) + value.item() / self.accum_steps
        norm = self._update(batch)
        progress.step += 1
        progress.loss_sum += sums["loss"]
        self.timer.stop()
        if progress.step % self.log_period == 0:
            self._log_step({**sums, "lr": rate, "grad_norm": norm})

    def _note_failed(self, batch: Batch) -> None:
        for clip in batch.failed:
            if clip.path not in self.progress.failed:
                logger.warning("left out of training: %s: %s", clip.path, clip.reason)
                self.progress.failed[clip.path] = clip.reason

    def _update(self, batch: Batch) -> float:
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        limit = self.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.task.model.parameters(), limit)
        # With fp16 the scaler skips a step whose gradient is not finite and lowers its scale; but not for ever.
        self.skipped = self.skipped + 1 if scaler.is_enabled() and not torch.isfinite(norm) else 0
        if not scaler.is_enabled() or self.skipped == MOST_SKIPPED:
            self._check(norm, "gradient", batch)
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def _check(self, value: torch.Tensor, what: str, batch: Batch) -> None:
        # All processes end together: one that waits for the others' gradients would hang.
        if any_process(not torch.isfinite(value), self.device):
            raise UserError(
                f"the {what} is {value.item()} in epoch {self.progress.epoch + 1}, step {self.progress.step + 1}, "
                f"with the clips {', '.join(dict.fromkeys(batch.paths))}; lower SOLVER.BASE_LR or look at these clips "
                f"(newest checkpoint: {self.store.newest() or 'none'})"
            )

    def _end_epoch(self, request: StopRequest) -> None:
        progress = self.progress
        shares = gather((progress.loss_sum, progress.failed))
        progress.failed = {path: reason for _, failed in shares for path, reason in failed.items()}
        loss = sum(share for share, _ in shares) / len(shares) / self.steps_per_epoch
        stats = {"loss": loss, "failed_clips": len(progress.failed)}
        epoch = progress.epoch + 1
        self.recorder.record(
            {"_type": "train_epoch", "epoch": f"{epoch}/{self.max_epoch}", **stats, **memory_stats(self.device)}, epoch
        )
        last, improved = epoch == self.max_epoch, False
        validated = self.eval_period and (epoch % self.eval_period == 0 or last)
        scores = self._validate(request) if validated else {}
        # Without a split that can be scored no epoch is the best.
        if scores:
            mean = sum(scores.values()) / len(scores)
            self.recorder.record(
                {"_type": "val_epoch", "epoch": f"{epoch}/{self.max_epoch}", self.metric: mean, **scores}, epoch
            )
            improved = mean > progress.best
            if improved:
                progress.best, progress.best_epoch = mean, epoch
            stats.update(scores)
        progress.history.append({"epoch": epoch, **stats})
        progress.epoch, progress.step, progress.loss_sum = epoch, 0, 0.0
        due = self.checkpoint_period and epoch % self.checkpoint_period == 0
        if due or last or improved:
            self._save(best=improved)

    def _validate(self, request: StopRequest) -> dict[str, float]:
        try:
            return self.validate()
        except UserError:
            # A signal to the whole group ends the loading processes, too: stop where training stands.
            if request.signal_number:
                self._stop(request)
            raise

    def _save(self, step: int | None = None, best: bool = False) -> None:
        epoch = self.progress.epoch + (step is not None)
        if is_main():
            state = {
                "model_state": self.task.model.state_dict(),
                "optimizer_state": self.optimizer.state_dict(),
                "scaler_state": self.precision.scaler.state_dict(),
                # As PySlowFast: the number, from 0, of the last epoch begun.
                "epoch": epoch - 1,
                "progress": asdict(self.progress),
                "activities": self._activities(),
                **self.origin,
            }
            path = self.store.save(state, epoch, step)
            if best:
                self.store.mark_best(path)
        barrier()

    def _activities(self) -> dict[str, Any] | None:
        return self.task.activities.as_plain() if self.task.activities else None

    def _load_newest(self) -> None:
        newest = self.store.newest()
        if newest is None:
            return
        state = read_checkpoint(newest)
        if "progress" not in state:
            raise UserError(
                f"{newest} was not written by this training loop; move it away, or set TRAIN.AUTO_RESUME False"
            )
        if state.get("activities") != self._activities():
            raise UserError(
                f"{newest} was trained on other activities, or on these in another order, than the clip table has now; "
                "choose another OUTPUT_DIR, or put the table back"
            )
        load_weights(self.task.model, state["model_state"], name=str(newest), source="transm3e")
        self.optimizer.load_state_dict(state["optimizer_state"])
        if bool(state["scaler_state"]) == self.precision.scaler.is_enabled():
            self.precision.scaler.load_state_dict(state["scaler_state"])
        else:
            logger.warning("%s was trained with another AMP type: from here on the numbers differ from its", newest)
        self.progress = Progress(**state["progress"])
        # A kill may have come between the best epoch's checkpoint and its mark.
        if is_main() and self.progress.best_epoch == self.progress.epoch > 0 == self.progress.step:
            self.store.mark_best(newest)
        logger.info("going on from %s", newest)

    def _stop(self, request: StopRequest) -> None:
        self._save(self.progress.step)
        raise ExitRequest(
            f"stopped in epoch {self.progress.epoch + 1} after step {self.progress.step}; "
            f"checkpoint {self.store.newest()}; the same command goes on from there",
            # As shells report a signal; another process may have been the one to get it.
            128 + (request.signal_number or signal.SIGTERM),
        )

    def _log_step(self, stats: dict[str, float]) -> None:
        progress = self.progress
        left = (self.max_epoch - progress.epoch) * self.steps_per_epoch - progress.step
        self.recorder.record(
            {
                "_type": "train_iter_",
                "epoch": f"{progress.epoch + 1}/{self.max_epoch}",
                "iter": f"{progress.step}/{self.steps_per_epoch}",
                **stats,
                **self.timer.stats(left),
                **memory_stats(self.device),
            },
            progress.epoch * self.steps_per_epoch + progress.step,
        )
