"""The only place that joins model, loss and teacher."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from transm3e.config.check import check_teacher
from transm3e.config.load import cfg_from_text
from transm3e.data.modalities import build_modalities
from transm3e.distill import build_distiller
from transm3e.losses import LOSSES
from transm3e.models import build_model, count_parameters
from transm3e.models.weights import load_weights, read_checkpoint
from transm3e.tasks.classify import Classify
from transm3e.tasks.distill import Distill

logger = logging.getLogger(__name__)

# What a student has and its stage-1 run has not.
NEW_IN_STAGE_2 = ("receivers", "fusion.")


def build_task(cfg: CfgNode, device: torch.device) -> Classify:
    """What a config trains, with its starting weights, on `device`.

    Args:
        cfg: INIT names checkpoints by now (transm3e.config.plan puts them in the place of configs).

    Raises:
        UserError: a checkpoint is missing or belongs to another model, or the teacher does not fit the student.
    """
    model = build_model(cfg)
    start = cfg.INIT.STUDENT_FROM or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if start:
        allowed = (*NEW_IN_STAGE_2, *cfg.TRAIN.CHECKPOINT_ALLOW)
        report = load_weights(model, start, allowed, source=cfg.TRAIN.CHECKPOINT_SOURCE)
        logger.info("starting weights %s: %s", start, report)
    loss = LOSSES[cfg.MODEL.LOSS_FUNC]
    inputs = build_modalities(cfg, [cfg.DATA.MODALITY])
    if cfg.TASK == "classify":
        task = Classify(model, loss, inputs)
    else:
        task = Distill(
            model,
            _build_teacher(cfg),
            loss,
            inputs,
            build_modalities(cfg, [cfg.DISTILL.MODALITY]),
            build_distiller(cfg),
            cfg.DISTILL.WEIGHT,
            cfg.DISTILL.PAIR_CASE,
            cfg.DISTILL.TEACHER_DROP_PATH,
        )
    if cfg.LOG_MODEL_INFO:
        _log_parameters(cfg.MODEL.MODEL_NAME, task)
    task.to(device)
    return task


def build_trained_task(cfg: CfgNode, checkpoint: Path | None, device: torch.device) -> Classify:
    """A model that only predicts, on `device`: neither a teacher nor starting weights are needed or read.

    Args:
        checkpoint: its weights; None for models without.

    Raises:
        UserError: the checkpoint is missing, or belongs to another model.
    """
    model = build_model(cfg)
    if checkpoint:
        source = cfg.TEST.CHECKPOINT_SOURCE if cfg.TEST.CHECKPOINT_FILE_PATH else "transm3e"
        logger.info("weights %s: %s", checkpoint, load_weights(model, checkpoint, source=source))
    task = Classify(model, LOSSES[cfg.MODEL.LOSS_FUNC], build_modalities(cfg, [cfg.DATA.MODALITY]))
    task.to(device)
    return task


def _build_teacher(cfg: CfgNode) -> nn.Module:
    path = cfg.INIT.TEACHER_FROM
    state = read_checkpoint(path)
    teacher_cfg = cfg_from_text(state.get("cfg", ""), where=f"the config inside {path}")
    check_teacher(cfg, teacher_cfg, path)
    teacher = build_model(teacher_cfg)
    logger.info("teacher %s: %s", path, load_weights(teacher, state["model_state"], source="transm3e"))
    return teacher


def _log_parameters(name: str, task: Classify) -> None:
    counts = f"{count_parameters(task.model, trainable_only=True)} trainable parameters"
    if isinstance(task, Distill):
        counts += f", its frozen teacher {count_parameters(task.teacher)}; inference runs the student alone"
    logger.info("%s with %s", name, counts)
