"""Settings of a training, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.config.schema import get
from transm3e.engine.optim import Schedule
from transm3e.engine.processes.distributed import num_hosts
from transm3e.engine.writers import backends_of

# Settings that help when memory runs out.
MEMORY_SETTINGS = (
    *("TRAIN.BATCH_SIZE", "TRAIN.ACCUM_STEPS", "TRAIN.MIXED_PRECISION", "MODEL.ACT_CHECKPOINT", "TRAIN.FSDP"),
    "DATA.NUM_FRAMES",
)


@dataclass(frozen=True)
class TrainSettings:
    """How a Trainer trains, and when it writes what.

    Attributes:
        folder: of the run, for checkpoints, logs, and the batch of a loss that is NaN.
        schedule: the learning rate.
        max_epoch, accum_steps, clip_norm: number of epochs; batches per step; limit of the gradient's L2 norm (0 = none).
        clip_value: limit of each number of the gradient, instead of the norm's (0 = none).
        frozen_norms: modules whose batch norms normalise by their running statistics in training, too, as MODEL.FREEZE names
            them; [""] = all.
        precise_batches: of which batch norms take their running statistics at the end of an epoch (0 = off).
        eval_period, checkpoint_period, checkpoint_steps, log_period: in epochs, epochs, steps, steps; 0 = never.
        keep_checkpoints: of past epochs; 0 = all.
        backends: of logs, keys of transm3e.engine.writers.WRITERS.
        histograms: beginnings of names of the weights that they get histograms of, [""] = all; none = no histograms.
        average: decay of the weights' moving average (0 = off).
        patience: validations in a row without a new best score that end training (0 = off).
        resume: from the newest checkpoint.
        seed: of dropout and drop path.
        most_skipped: fp16 steps in a row that the scaler may skip because the gradient is not finite.
        detect_anomaly: torch looks for NaN in every function of the backward pass.
        memory_settings: keys and values that the message of an out-of-memory error names.
    """

    folder: Path
    schedule: Schedule
    max_epoch: int
    accum_steps: int = 1
    clip_norm: float = 0.0
    clip_value: float = 0.0
    frozen_norms: Sequence[str] = ()
    precise_batches: int = 0
    eval_period: int = 1
    checkpoint_period: int = 1
    checkpoint_steps: int = 0
    log_period: int = 10
    keep_checkpoints: int = 1
    backends: Sequence[str] = ()
    histograms: Sequence[str] = ()
    average: float = 0.0
    patience: int = 0
    resume: bool = True
    seed: int = 0
    most_skipped: int = 25
    detect_anomaly: bool = False
    memory_settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> TrainSettings:
        """As configured, for the number of hosts of this run."""
        visual = cfg.TENSORBOARD.MODEL_VIS
        return cls(
            Path(cfg.OUTPUT_DIR),
            Schedule.from_cfg(cfg, num_hosts()),
            max_epoch=cfg.SOLVER.MAX_EPOCH,
            accum_steps=cfg.TRAIN.ACCUM_STEPS,
            clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
            clip_value=cfg.SOLVER.CLIP_GRAD_VAL,
            frozen_norms=[""] if cfg.MODEL.FROZEN_BN else cfg.MODEL.FREEZE,
            precise_batches=cfg.BN.NUM_BATCHES_PRECISE if cfg.BN.USE_PRECISE_STATS else 0,
            eval_period=cfg.TRAIN.EVAL_PERIOD,
            checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
            checkpoint_steps=cfg.TRAIN.CHECKPOINT_STEPS,
            log_period=cfg.LOG_PERIOD,
            keep_checkpoints=cfg.TRAIN.KEEP_CHECKPOINTS,
            backends=backends_of(cfg),
            histograms=(visual.LAYER_LIST or [""]) if visual.ENABLE and visual.MODEL_WEIGHTS else [],
            average=cfg.SOLVER.EMA_DECAY,
            patience=cfg.SOLVER.EARLY_STOP,
            resume=cfg.TRAIN.AUTO_RESUME,
            seed=cfg.RNG_SEED,
            most_skipped=cfg.TRAIN.MOST_SKIPPED,
            detect_anomaly=cfg.TRAIN.DETECT_ANOMALY,
            memory_settings={key: get(cfg, key) for key in MEMORY_SETTINGS},
        )
