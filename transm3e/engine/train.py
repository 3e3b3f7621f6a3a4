"""The training loop: it knows tasks, batches and time, and nothing of what is trained."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from transm3e.config.schema import get
from transm3e.config.targets import ACTIVITY_TARGET, MUSCLE_TARGET
from transm3e.data.loader import ClipLoader
from transm3e.data.types import Batch
from transm3e.engine.ahead import Ahead
from transm3e.engine.checkpoint import CheckpointStore
from transm3e.engine.distributed import gather, highest_of, is_main, machines, meeting, note, rank, world_size
from transm3e.engine.faults import memory_advice, refuse_non_finite
from transm3e.engine.logging import Recorder, memory_stats
from transm3e.engine.meters import Timer
from transm3e.engine.optim import Schedule, build_optimizer, read_numbers, set_rate
from transm3e.engine.parallel import exchanging, share_buffers, summing, synchronise_norms, wrap
from transm3e.engine.precision import Precision
from transm3e.engine.resume import Progress, Resume, merged
from transm3e.engine.seed import seed_step
from transm3e.engine.sharding import shard, whole
from transm3e.engine.signals import StopRequest, stop_request
from transm3e.errors import RESUMES, ExitRequest, UserError
from transm3e.progress import on_terminal
from transm3e.tasks import Classify

logger = logging.getLogger(__name__)
# Settings that help where memory runs out.
MEMORY_SETTINGS = (
    *("TRAIN.BATCH_SIZE", "TRAIN.ACCUM_STEPS", "TRAIN.MIXED_PRECISION", "MODEL.ACT_CHECKPOINT", "TRAIN.FSDP"),
    "DATA.NUM_FRAMES",
)


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
        most_skipped: fp16 steps in a row that the scaler may skip because the gradient is not finite.
        origin: saved in every checkpoint: what it takes to rebuild the model and to tell this run from another.
        memory_settings: named, with their values, where memory runs out.
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
        most_skipped: int,
        origin: dict[str, Any],
        memory_settings: Mapping[str, Any],
    ) -> None:
        self.task, self.loader, self.validate = task, loader, validate
        self.store, self.recorder, self.memory_settings = store, recorder, memory_settings
        self.optimizer, self.schedule, self.precision, self.device = optimizer, schedule, precision, device
        self.max_epoch, self.accum_steps, self.clip_norm = max_epoch, accum_steps, clip_norm
        self.eval_period, self.log_period = eval_period, log_period
        self.checkpoint_period, self.checkpoint_steps = checkpoint_period, checkpoint_steps
        self.resumes, self.seed, self.most_skipped = resume, seed, most_skipped
        self.steps_per_epoch = len(loader) // accum_steps
        if not self.steps_per_epoch:
            raise UserError(
                f"an epoch has {len(loader)} batches, fewer than TRAIN.ACCUM_STEPS {accum_steps}; "
                "lower TRAIN.ACCUM_STEPS or TRAIN.BATCH_SIZE"
            )
        self.step_size = loader.batch_size * accum_steps * world_size()
        self.resume = Resume(store, task, optimizer, precision.scaler, origin, self.step_size)
        self.progress, self.timer, self.skipped = Progress(), Timer(), 0
        self.metric = {MUSCLE_TARGET: "map", ACTIVITY_TARGET: "top1"}[task.target]

    @classmethod
    def from_cfg(cls, cfg: CfgNode, **parts: Any) -> Trainer:
        """Plain settings from the config; `parts` are the objects the caller has built."""
        device, task = parts["device"], parts["task"]
        if cfg.BN.NORM_TYPE == "sync_batchnorm":
            task.model = synchronise_norms(task.model)
        if cfg.TRAIN.FSDP:
            parts["validate"] = shard(task, device, parts["validate"])
        else:
            task.replica = wrap(task.model, device)
        if cfg.TRAIN.COMPILE:
            # DDP's own bookkeeping is no part of a graph; without it nothing may break the graph unnoticed.
            task.compile(fullgraph=task.replica is task.model)
        return cls(
            optimizer=build_optimizer(cfg, task.model),
            schedule=Schedule.from_cfg(cfg, machines()),
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
            most_skipped=cfg.TRAIN.MOST_SKIPPED,
            memory_settings={key: get(cfg, key) for key in MEMORY_SETTINGS},
            **parts,
        )

    def run(self) -> None:
        """Train to the end.

        Raises:
            UserError: the loss is no number, memory runs out, or a checkpoint belongs to another run.
            ExitRequest: on SIGINT, SIGTERM or a scheduler's signal to any process, after a checkpoint.
        """
        if not self.resumes and self.store.newest():
            raise UserError(
                f"TRAIN.AUTO_RESUME is False, but {self.store.folder} holds checkpoints that would be overwritten; "
                "choose another OUTPUT_DIR, delete them, or set TRAIN.AUTO_RESUME True"
            )
        if self.resumes:
            self.progress = self.resume.load()
        logger.info(
            "%d videos per step (global batch), on %d processes of %d machines in %d parts; %d steps per epoch",
            *(self.step_size, world_size(), machines(), self.accum_steps, self.steps_per_epoch),
        )
        with stop_request() as request, closing(self.recorder), memory_advice(self.memory_settings):
            while self.progress.epoch < self.max_epoch:
                self._train_epoch(request)
                self._end_epoch(request)

    def _train_epoch(self, request: StopRequest) -> None:
        progress = self.progress
        batches = Ahead(self.loader.epoch(progress.epoch, progress.step * self.accum_steps), self.device)
        title = f"epoch {progress.epoch + 1}/{self.max_epoch}"
        hidden = not (is_main() and on_terminal())
        with tqdm(total=self.steps_per_epoch, initial=progress.step, desc=title, disable=hidden, leave=False) as bar:
            while progress.step < self.steps_per_epoch:
                note(f"epoch {progress.epoch + 1}, step {progress.step + 1}")
                self._step(batches, request)
                bar.set_postfix_str(f"loss {progress.loss_sum / progress.step:.4f}")
                bar.update()
                if request.agreed:
                    self._stop(request)
                if self.checkpoint_steps and progress.step % self.checkpoint_steps == 0:
                    self.resume.save(progress, progress.step)

    def _step(self, batches: Ahead, request: StopRequest) -> None:
        """One optimiser step over `accum_steps` batches; afterwards all processes know of a request to stop."""
        progress = self.progress
        rate = self.schedule.rate(progress.epoch + progress.step / self.steps_per_epoch)
        set_rate(self.optimizer, rate)
        self.timer.start()
        self.task.train()
        losses: list[Tensor] = []
        seen: list[Batch] = []
        for part in range(self.accum_steps):
            asked = time.perf_counter()
            batch, on_device = next(batches)
            seen.append(batch)
            self.timer.loaded(asked)
            self._note_failed(batch)
            seed_step(self.seed, progress.epoch, progress.step * self.accum_steps + part, rank())
            with summing(self.task.replica, last=part == self.accum_steps - 1):
                with exchanging(self.task.replica), self.precision.autocast():
                    out = self.task(on_device)
                with meeting("the sum of gradients"):
                    self.precision.scaler.scale(out["loss"] / self.accum_steps).backward()
            scalars = {name: value.detach() for name, value in out.items() if value.dim() == 0}
            losses += scalars.values()
        norm = self._clip()
        # Nothing has waited for a GPU yet: the next batch goes to it meanwhile.
        asked = time.perf_counter()
        batches.load()
        self.timer.loaded(asked)
        with meeting("the sum of gradients"):
            of_loss = torch.stack(losses[list(scalars).index("loss") :: len(scalars)])
            # One exchange tells of both.
            flags = torch.stack([torch.full_like(norm, request.signal_number), (~of_loss.isfinite()).any().to(norm)])
            *values, total, told, bad = read_numbers([*losses, norm, *highest_of(flags)])
        sums = {
            name: sum(value / self.accum_steps for value in values[number :: len(scalars)])
            for number, name in enumerate(scalars)
        }
        request.agree(int(told))
        if bad:
            self._refuse("loss", sums["loss"], seen)
        self._update(total, seen)
        progress.step += 1
        progress.loss_sum += sums["loss"]
        self.timer.stop()
        if progress.step % self.log_period == 0:
            self._log_step({**sums, "lr": rate, "grad_norm": total})

    def _note_failed(self, batch: Batch) -> None:
        for clip in batch.failed:
            if clip.path not in self.progress.failed:
                logger.warning("left out of training: %s: %s", clip.path, clip.reason)
                self.progress.failed[clip.path] = clip.reason

    def _clip(self) -> Tensor:
        """The gradient's L2 norm, to which it is cut where it is above clip_norm; nothing waits for it."""
        limit = self.clip_norm or math.inf
        # The same on every process: their gradients have been summed, or the norm is over all shards.
        with meeting("the norm of gradients"):
            self.precision.scaler.unscale_(self.optimizer)
            return whole(nn.utils.clip_grad_norm_(self.task.model.parameters(), limit))

    def _update(self, norm: float, seen: list[Batch]) -> None:
        scaler = self.precision.scaler
        # With fp16 the scaler skips a step whose gradient is not finite and lowers its scale; but not for ever.
        self.skipped = self.skipped + 1 if scaler.is_enabled() and not math.isfinite(norm) else 0
        if not math.isfinite(norm) and (not scaler.is_enabled() or self.skipped >= self.most_skipped):
            self._refuse("gradient", norm, seen)
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _refuse(self, what: str, value: float, seen: list[Batch]) -> None:
        """End the training of all processes because of a number that is none, before the weights change."""
        where = f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
        mine = not math.isfinite(value)
        refuse_non_finite(what, value, mine, where, seen, self.store.folder.parent, self.store.newest())

    def _end_epoch(self, request: StopRequest) -> None:
        progress = self.progress
        shares = gather((progress.loss_sum, progress.failed))
        progress.failed = merged([failed for _, failed in shares])
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
            self.resume.save(progress, best=improved)

    def _validate(self, request: StopRequest) -> dict[str, float]:
        share_buffers(self.task.replica)
        try:
            return self.validate()
        except (UserError, ExitRequest):
            # Stopped between two batches; or a signal to the whole group has ended the loading processes, too. Training
            # stands at the end of the epoch, which is validated next time.
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
