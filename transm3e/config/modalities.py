"""Which modalities a config reads: the one place that says so to data, tasks, pictures and measurements."""

from __future__ import annotations

from typing import Any

from fvcore.common.config import CfgNode

from transm3e.registry import component


def model_class(cfg: CfgNode) -> Any:
    """The class of its model, which says what it is (transm3e.models.registry.Model)."""
    return component("MODEL.MODEL_NAME", cfg.MODEL.MODEL_NAME)


def model_modalities(cfg: CfgNode) -> list[str]:
    """What the model reads, in training and at test time; the first is the major modality."""
    return model_class(cfg).modalities_of(cfg)


def read_modalities(cfg: CfgNode, training: bool) -> list[str]:
    """What a run reads: for the model, and in training for its teacher, too."""
    teacher = [cfg.DISTILL.MODALITY] if training and cfg.TASK == "distill" else []
    return [*model_modalities(cfg), *teacher]


def file_columns(cfg: CfgNode, training: bool) -> list[str]:
    """The clip table's columns whose files may be read for a clip: the video's also for its clock, and for its size
    where joints do not say it."""
    names = read_modalities(cfg, training)
    skeleton = any(name.startswith("skeleton") for name in names)
    flow = "flow" in names
    video = skeleton or cfg.DATA.TARGET_FPS or any(name.startswith("rgb") for name in names)
    return [name for name, read in (("path", video), ("flow", flow), ("skeleton", skeleton)) if read]
