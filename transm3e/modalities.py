"""The modalities there are, and which of them a config reads: said here to data, tasks, pictures and measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.registry import component


def model_class(cfg: CfgNode) -> Any:
    """The class of its model, which says what it is (transm3e.models.registry.Model)."""
    return component("MODEL.MODEL_NAME", cfg.MODEL.MODEL_NAME)


@dataclass(frozen=True)
class Modality:
    """A kind of clip that a model may be fed with.

    Attributes:
        channels: of its clips, (B, channels, T, ...).
        source: what of the loader it is made of: "rgb", "flow" or "skeleton".
    """

    channels: int
    source: str


# How they are made stands in transm3e.data.modalities, how they are drawn in transm3e.report.batch_picture.
MODALITIES = {
    "rgb": Modality(3, "rgb"),
    "rgb_diff": Modality(3, "rgb"),
    "rgb_motion": Modality(3, "rgb"),
    "flow": Modality(2, "flow"),
    "skeleton": Modality(3, "skeleton"),
    "skeleton_bone": Modality(3, "skeleton"),
    "skeleton_motion": Modality(3, "skeleton"),
    "skeleton_bone_motion": Modality(3, "skeleton"),
}
# Frames of pixels, and joints, which graph models read.
SKELETONS = tuple(name for name, modality in MODALITIES.items() if modality.source == "skeleton")
PIXELS = tuple(name for name in MODALITIES if name not in SKELETONS)


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
    sources = {MODALITIES[name].source for name in read_modalities(cfg, training)}
    video = cfg.DATA.TARGET_FPS or not sources.isdisjoint(("rgb", "skeleton"))
    return [name for name, read in (("path", video), *((s, s in sources) for s in ("flow", "skeleton"))) if read]
