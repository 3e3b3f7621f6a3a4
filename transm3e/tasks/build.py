"""Builds tasks: the only module that joins model, loss and teacher."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from transm3e.config.frozen import is_frozen
from transm3e.config.load import cfg_from_text
from transm3e.config.schema import OF_MEANING, get, keys_with
from transm3e.config.targets import ACTIVITY_TARGETS, LOOKUP_TASK, ORDER_FILE, scored_target, trained_target
from transm3e.data.activities import Activities, build_activities
from transm3e.data.modalities import build_modalities
from transm3e.distill import build_centre, build_distiller
from transm3e.errors import UserError
from transm3e.losses import build_loss
from transm3e.modalities import model_class, model_modalities
from transm3e.models import build_model, count_parameters
from transm3e.models.weights import load_weights, read_checkpoint
from transm3e.runs.starts import check_teacher
from transm3e.tasks.classify import Classify
from transm3e.tasks.distill import Distill
from transm3e.tasks.fine_tuning import freeze, pos_weights
from transm3e.tasks.har_lookup import HARLookup

logger = logging.getLogger(__name__)


def build_task(cfg: CfgNode, device: torch.device) -> Classify:
    """The task that a config trains, with its starting weights, on `device`.

    Args:
        cfg: INIT names checkpoints (transm3e.runs.plan has replaced configs by them).

    Raises:
        UserError: a checkpoint is missing or belongs to another model, or the teacher does not fit the student.
    """
    model = build_model(cfg)
    start = cfg.INIT.STUDENT_FROM or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if start:
        _load_start(cfg, model, start)
    if cfg.MODEL.FREEZE:
        freeze(model, cfg.MODEL.FREEZE)
    activities = build_activities(cfg)
    if cfg.TASK == "distill":
        task: Classify = build_distill(cfg, model, _build_teacher(cfg), activities)
    else:
        task = build_classify(cfg, model, activities)
    if cfg.MODEL.POS_WEIGHT:
        task.loss = task.loss.weighted(pos_weights(cfg))
    if cfg.LOG_MODEL_INFO:
        _log_parameters(cfg.MODEL.MODEL_NAME, task)
    task.to(device)
    return task


def build_classify(cfg: CfgNode, model: nn.Module, activities: Activities | None = None) -> Classify:
    """The classification task of a config, with a model that is already built.

    Args:
        activities: the classes, if it classifies activities (build_activities).
    """
    parts = (model, build_loss(cfg), build_modalities(cfg, model_modalities(cfg)))
    if cfg.TASK == LOOKUP_TASK and activities:
        return HARLookup(*parts, activities)
    return Classify(*parts, activities)


def build_distill(
    cfg: CfgNode, student: nn.Module, teacher: nn.Module, activities: Activities | None = None
) -> Distill:
    """The distillation task of a config, with models that are already built; `activities` as in build_classify."""
    return Distill(
        student,
        teacher,
        build_loss(cfg),
        build_modalities(cfg, model_modalities(cfg)),
        build_modalities(cfg, [cfg.DISTILL.MODALITY]),
        build_distiller(cfg),
        cfg.DISTILL.WEIGHT,
        cfg.DISTILL.PAIR_CASE,
        cfg.DISTILL.TEACHER_DROP_PATH,
        activities,
        cfg.DISTILL.CLASS_WEIGHT,
        build_centre(cfg, teacher),
    )


def build_trained_task(cfg: CfgNode, checkpoint: Path | None, device: torch.device) -> Classify:
    """A task that only predicts, on `device`; neither a teacher nor starting weights are read.

    Args:
        checkpoint: its weights; None for models without.

    Raises:
        UserError: the checkpoint is missing, or belongs to another model or to other activities.
    """
    model = build_model(cfg)
    if checkpoint:
        source = cfg.TEST.CHECKPOINT_SOURCE if cfg.TEST.CHECKPOINT_FILE_PATH else "transm3e"
        report = load_weights(model, checkpoint, source=source)
        logger.info("weights %s: %s", checkpoint, report)
        if report.source == "transm3e":
            _warn_of_other_settings(cfg, checkpoint, keys_with(*OF_MEANING))
    task = build_classify(cfg, model, _trained_activities(cfg, checkpoint))
    if isinstance(task, HARLookup):
        task.muscles = cfg.LOOKUP.MUSCLES
    task.to(device)
    return task


def _trained_activities(cfg: CfgNode, checkpoint: Path | None) -> Activities | None:
    """The classes that a checkpoint was trained on; those of the clip table must be equal if activities are scored."""
    if trained_target(cfg) not in ACTIVITY_TARGETS:
        return None
    plain = read_checkpoint(checkpoint).get("activities") if checkpoint else None
    if plain is None:
        return build_activities(cfg)
    trained = Activities.from_plain(plain, str(checkpoint))
    if cfg.TEST.ENABLE and scored_target(cfg) in ACTIVITY_TARGETS:
        _check_same_activities(trained, build_activities(cfg), checkpoint)
    return trained


def _check_same_activities(trained: Activities, ours: Activities | None, checkpoint: Path | None) -> None:
    assert ours is not None, "this config classifies activities"
    pairs = zip_longest(trained.names, ours.names, fillvalue="none")
    different = next(((i, a, b) for i, (a, b) in enumerate(pairs) if a != b), None)
    if different:
        number, theirs, here = different
        raise UserError(
            f"class {number} of {checkpoint} is {theirs}, but {here} in the clip table; score it with the table it was "
            f"trained with, or write its activities into {ORDER_FILE} beside the table"
        )


def _load_start(cfg: CfgNode, model: nn.Module, start: str) -> None:
    new = model_class(cfg).new_in_stage_2
    allowed = (*new, *cfg.TRAIN.CHECKPOINT_ALLOW)
    report = load_weights(model, start, allowed, source=cfg.TRAIN.CHECKPOINT_SOURCE)
    logger.info("starting weights %s: %s", start, report)
    if report.source == "transm3e":
        _warn_of_other_settings(cfg, start, keys_with(*OF_MEANING, may_change=False))
    trained = dict(model.named_parameters())
    if random := [name for name in report.missing if name in trained and is_frozen(name, cfg.MODEL.FREEZE)]:
        raise UserError(
            f"MODEL.FREEZE would keep the random initialisation of {', '.join(random[:3])}, which {start} does not hold; "
            "train these parameters, or start from weights that have them"
        )
    for part in new:
        absent = [name for name in report.missing if name.startswith(part)]
        if absent and any(name.startswith(part) for name in report.loaded):
            raise UserError(
                f"{start} holds only some of {part}: not {', '.join(absent[:3])} in this shape; "
                "set TRANSM3E and MCTF as in the run that it comes from"
            )


def _warn_of_other_settings(cfg: CfgNode, checkpoint: str | Path, keys: Iterable[str]) -> None:
    """Log which of `keys` differ from the checkpoint's config: weights load even if, say, inputs are scaled differently."""
    text = read_checkpoint(checkpoint).get("cfg")
    if not isinstance(text, str) or not text:
        return
    other = cfg_from_text(text, where=f"the config inside {checkpoint}")
    different = [
        f"{key} {get(other, key)} there, {get(cfg, key)} here" for key in keys if get(other, key) != get(cfg, key)
    ]
    if different:
        logger.warning("%s was trained with other settings: %s", checkpoint, "; ".join(different))


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
