"""The training loop: it knows tasks and batches, but no method or model."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from tqdm import tqdm

from transm3e.config.targets import ACTIVITY_TARGET
from transm3e.data.loader import ClipLoader
from transm3e.data.types import Batch
from transm3e.engine.ahead import Ahead
from transm3e.engine.average import WeightAverage
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.engine.faults import BadStep, anomalies, memory_advice, refuse_non_finite
from transm3e.engine.logging import Recorder, Validation, memory_stats
from transm3e.engine.meters import Timer
from transm3e.engine.norms import freeze_norms, take_statistics
from transm3e.engine.optim import build_optimizer, clip_gradient, read_numbers, set_rate
from transm3e.engine.precision import Precision
from transm3e.engine.processes.distributed import (
    collective,
    highest_of,
    is_main,
    note,
    num_hosts,
    rank,
    world_size,
)
from transm3e.engine.processes.parallel import forward_collective, gradient_sync, share_buffers, synchronise_norms, wrap
from transm3e.engine.processes.sharding import shard, whole
from transm3e.engine.processes.signals import StopRequest, stop_request
from transm3e.engine.resume import Progress, Resume
from transm3e.engine.seed import seed_step
from transm3e.engine.settings import TrainSettings
from transm3e.errors import RESUMES, ExitRequest, UserError
from transm3e.progress import on_terminal
from transm3e.tasks import Classify

logger = logging.getLogger(__name__)


class Trainer:
    """Trains a task to its last epoch, resuming from its newest checkpoint.

    Args:
        task: called with a batch, returns {"loss", "logits", ...}.
        loader: its `epoch(number, start_step)` yields the same batches every time.
        validate: called after an epoch; returns split -> score of the splits that have one: mAP, or top-1 accuracy.
        optimizer: of the task's model.
        precision: device and number type of the computation.
        settings: as configured.
        origin: saved in every checkpoint: config and identity of the run.

    Raises:
        UserError: an epoch has fewer batches than a step takes.
    """

    def __init__(
        self,
        task: Classify,
        loader: ClipLoader,
        validate: Callable[[], dict[str, float]],
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        settings: TrainSettings,
        origin: dict[str, Any],
    ) -> None:
        self.task, self.loader, self.validate, self.settings = task, loader, validate, settings
        self.optimizer, self.precision, self.device = optimizer, precision, precision.device
        self.steps_per_epoch = len(loader) // settings.accum_steps
        if not self.steps_per_epoch:
            raise UserError(
                f"an epoch has {len(loader)} batches, fewer than TRAIN.ACCUM_STEPS {settings.accum_steps}; "
                "lower TRAIN.ACCUM_STEPS or TRAIN.BATCH_SIZE"
            )
        self.store = CheckpointStore(settings.folder, settings.keep_checkpoints)
        self.recorder = Recorder(settings.folder, settings.backends, is_main())
        self.average = WeightAverage(task.model, settings.average) if settings.average else None
        self.step_size = loader.batch_size * settings.accum_steps * world_size()
        self.resume = Resume(self.store, task, optimizer, precision.scaler, origin, self.step_size, self.average)
        self.recorder.text("config", origin.get("cfg", ""))
        if self.average and self.steps_per_epoch * settings.max_epoch * (1 - settings.average) < 1:
            logger.warning("SOLVER.EMA_DECAY %g averages over more steps than there are; lower it", settings.average)
        self.progress, self.timer, self.skipped = Progress(), Timer(), 0
        self.metric = "top1" if task.target == ACTIVITY_TARGET else "map"

    @classmethod
    def from_cfg(
        cls,
        cfg: CfgNode,
        task: Classify,
        loader: ClipLoader,
        validate: Callable[[], dict[str, float]],
        device: torch.device,
        origin: dict[str, Any],
    ) -> Trainer:
        """Put the task's model into DDP or shards, compile it, and build what trains it, as configured."""
        if cfg.BN.NORM_TYPE == "sync_batchnorm":
            task.model = synchronise_norms(task.model)
        if cfg.TRAIN.FSDP:
            validate = shard(task, device, validate)
        else:
            task.replica = wrap(task.model, device)
        if cfg.TRAIN.COMPILE:
            # DDP breaks the graph by itself; without DDP nothing may break it unnoticed.
            task.compile(fullgraph=task.replica is task.model)
        optimizer, precision = build_optimizer(cfg, task.model), Precision.from_cfg(cfg, device)
        return cls(task, loader, validate, optimizer, precision, TrainSettings.from_cfg(cfg), origin)

    def run(self) -> None:
        """Train to the end.

        Raises:
            UserError: the loss or gradient is NaN or infinite, memory runs out, or a checkpoint belongs to another run.
            ExitRequest: on SIGINT, SIGTERM or a scheduler's signal to any process, after a checkpoint.
        """
        if not self.settings.resume and self.store.newest():
            raise UserError(
                f"TRAIN.AUTO_RESUME is False, but {self.store.folder} holds checkpoints that would be overwritten; "
                "choose another OUTPUT_DIR, delete them, or set TRAIN.AUTO_RESUME True"
            )
        if self.settings.resume:
            self.progress = self.resume.load()
        logger.info(
            "%d videos per step (global batch), on %d processes of %d hosts in %d parts; %d steps per epoch",
            *(self.step_size, world_size(), num_hosts(), self.settings.accum_steps, self.steps_per_epoch),
        )
        with (
            stop_request() as request,
            closing(self.recorder),
            memory_advice(self.settings.memory_settings),
            torch.autograd.set_detect_anomaly(self.settings.detect_anomaly),
        ):
            while self.progress.epoch < self.settings.max_epoch and not self._ends_early():
                self._train_epoch(request)
                self._end_epoch(request)
        self.resume.finish(self.progress, self.settings.max_epoch)

    def _ends_early(self) -> bool:
        return 0 < self.settings.patience <= self.progress.waits()

    def _train_epoch(self, request: StopRequest) -> None:
        progress = self.progress
        batches = Ahead(self.loader.epoch(progress.epoch, progress.step * self.settings.accum_steps), self.device)
        title = f"epoch {progress.epoch + 1}/{self.settings.max_epoch}"
        hidden = not (is_main() and on_terminal())
        with tqdm(total=self.steps_per_epoch, initial=progress.step, desc=title, disable=hidden, leave=False) as bar:
            while progress.step < self.steps_per_epoch:
                note(f"epoch {progress.epoch + 1}, step {progress.step + 1}")
                self._step(batches, request)
                bar.set_postfix_str(f"loss {progress.loss_sum / progress.step:.4f}")
                bar.update()
                if request.agreed:
                    self._stop(request)
                if self.settings.checkpoint_steps and progress.step % self.settings.checkpoint_steps == 0:
                    self.resume.save(progress, progress.step)

    def _step(self, batches: Ahead, request: StopRequest) -> None:
        """One optimiser step over `accum_steps` batches; afterwards all processes know of a request to stop."""
        progress = self.progress
        rate = self.settings.schedule.rate(progress.epoch + progress.step / self.steps_per_epoch)
        set_rate(self.optimizer, rate)
        self.timer.start()
        self.task.train()
        if self.settings.frozen_norms:
            freeze_norms(self.task.model, self.settings.frozen_norms)
        losses: list[Tensor] = []
        seen: list[Batch] = []
        for part in range(self.settings.accum_steps):
            asked = time.perf_counter()
            batch, on_device = next(batches)
            seen.append(batch)
            self.timer.loaded(asked)
            progress.note_failed(batch)
            seed_step(self.settings.seed, progress.epoch, progress.step * self.settings.accum_steps + part, rank())
            with gradient_sync(self.task.replica, last=part == self.settings.accum_steps - 1):
                with forward_collective(self.task.replica), self.precision.autocast():
                    out = self.task(on_device)
                with collective("the all-reduce of gradients"), self._anomalies(out["loss"], seen):
                    self.precision.scaler.scale(out["loss"] / self.settings.accum_steps).backward()
            scalars = {name: value.detach() for name, value in out.items() if value.dim() == 0}
            losses += scalars.values()
        norm = self._clip()
        if progress.step + 1 < self.steps_per_epoch and not request.signal_number:
            # Nothing has waited for a GPU yet: the next batch goes to it meanwhile.
            asked = time.perf_counter()
            batches.load()
            self.timer.loaded(asked)
        with collective("the all-reduce of gradients"):
            of_loss = torch.stack(losses[list(scalars).index("loss") :: len(scalars)])
            # One all-reduce tells of both.
            flags = torch.stack([torch.full_like(norm, request.signal_number), (~of_loss.isfinite()).any().to(norm)])
            *values, total, told, bad = read_numbers([*losses, norm, *highest_of(flags)])
        sums = {
            name: sum(value / self.settings.accum_steps for value in values[number :: len(scalars)])
            for number, name in enumerate(scalars)
        }
        request.agree(int(told))
        if bad:
            self._refuse("loss", sums["loss"], seen)
        self._update(total, seen)
        progress.add(sums, total)
        self.timer.stop()
        # Of epochs that are shorter than the period, the last step is logged.
        if progress.step % min(self.settings.log_period, self.steps_per_epoch) == 0:
            self._log_step({**sums, "lr": rate, "grad_norm": total})

    def _clip(self) -> Tensor:
        """The gradient's L2 norm before it is clipped; nothing waits for it."""
        # The same on every process: their gradients have been summed, or the norm is over all shards.
        with collective("the norm of gradients"):
            self.precision.scaler.unscale_(self.optimizer)
            return whole(clip_gradient(self.task.model, self.settings.clip_norm, self.settings.clip_value))

    def _update(self, norm: float, seen: list[Batch]) -> None:
        scaler = self.precision.scaler
        # With fp16 the scaler skips a step whose gradient is not finite and lowers its scale; but not for ever.
        self.skipped = self.skipped + 1 if scaler.is_enabled() and not math.isfinite(norm) else 0
        if not math.isfinite(norm) and (not scaler.is_enabled() or self.skipped >= self.settings.most_skipped):
            self._refuse("gradient", norm, seen)
        scaler.step(self.optimizer)
        scaler.update()
        if self.average:
            self.average.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _bad_step(self, what: str, value: float, seen: list[Batch]) -> BadStep:
        position, settings = self.progress, self.settings
        return BadStep(what, value, position.epoch, position.step, settings.seed, rank(), settings.accum_steps, seen)

    def _anomalies(self, loss: Tensor, seen: list[Batch]) -> AbstractContextManager:
        bad = partial(self._bad_step, value=math.nan, seen=seen)
        return anomalies(loss, bad, partial(self._refuse, value=math.nan, seen=seen), self.settings.detect_anomaly)

    def _averaged(self) -> AbstractContextManager:
        """Meanwhile the model has its average weights, if they are averaged."""
        return self.average.in_place() if self.average else nullcontext()

    def _refuse(self, what: str, value: float, seen: list[Batch]) -> None:
        """End the training of all processes because of a NaN or an infinity, before the weights change."""
        bad = self._bad_step(what, value, seen)
        refuse_non_finite(bad, self.settings.folder, self.resume.state(), self.store.newest())

    def _end_epoch(self, request: StopRequest) -> None:
        progress = self.progress
        rate = self.settings.schedule.rate(progress.epoch + 1 - 1 / self.steps_per_epoch)
        stats = {**progress.end_epoch(self.steps_per_epoch), "lr": rate}
        epoch = progress.epoch + 1
        self.recorder.record(
            {
                "_type": "train_epoch",
                "epoch": f"{epoch}/{self.settings.max_epoch}",
                **stats,
                **memory_stats(self.device),
            },
            epoch,
        )
        last, improved = epoch == self.settings.max_epoch, False
        validated = self.settings.eval_period and (epoch % self.settings.eval_period == 0 or last)
        due = last or bool(self.settings.checkpoint_period and epoch % self.settings.checkpoint_period == 0)
        if (count := self.settings.precise_batches) and (validated or due):
            seed_step(self.settings.seed, progress.epoch, len(self.loader), rank())
            with self._averaged():
                frozen = self.settings.frozen_norms
                take_statistics(self.task, self.loader, progress.epoch, count, self.device, frozen)
        found = Validation(self._validate(request) if validated else {})
        # Without a split that can be scored no epoch is the best.
        if found.scores:
            self.recorder.record(found.line(epoch, self.settings.max_epoch, self.metric), epoch)
            self.recorder.scalars(found.tags, epoch)
            improved = found.mean > progress.best
            if improved:
                progress.best, progress.best_epoch = found.mean, epoch
            stats.update(found.stats)
        if self.settings.histograms:
            self.recorder.weights(self.resume.model_state(), self.settings.histograms, epoch)
        progress.history.append({"epoch": epoch, **stats})
        progress.next_epoch()
        if due or improved or self._ends_early():
            self.resume.save(progress, best=improved)

    def _validate(self, request: StopRequest) -> dict[str, float]:
        share_buffers(self.task.replica)
        try:
            with self._averaged():
                return self.validate()
        except (UserError, ExitRequest):
            # Stopped between two batches, or a signal to the process group has also ended the data-loading workers.
            # The checkpoint is at the end of the epoch, which is validated after resuming.
            if request.agreed or (world_size() == 1 and request.signal_number):
                self._stop(request)
            raise

    def _stop(self, request: StopRequest) -> None:
        self.resume.save(self.progress, self.progress.step)
        raise ExitRequest(
            f"stopped in epoch {self.progress.epoch + 1} after step {self.progress.step}; "
            f"checkpoint {self.store.newest()}; {RESUMES} there",
            request.exit_status,
        )

    def _log_step(self, stats: dict[str, float]) -> None:
        progress = self.progress
        left = (self.settings.max_epoch - progress.epoch) * self.steps_per_epoch - progress.step
        self.recorder.record(
            {
                "_type": "train_iter_",
                "epoch": f"{progress.epoch + 1}/{self.settings.max_epoch}",
                "iter": f"{progress.step}/{self.steps_per_epoch}",
                **stats,
                **self.timer.stats(left),
                **memory_stats(self.device),
            },
            progress.epoch * self.steps_per_epoch + progress.step,
        )
