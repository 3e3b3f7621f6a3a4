"""The modalities there are and what each is, said once: to configs, the loader, models, tasks, figures and measurements.

What computes and draws them is named as "module:function" and imported where it is used: configs need no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.errors import UserError
from transm3e.joints import COORDINATES, LAYOUTS
from transm3e.registry import Registry, component

# Kinds of clips: (B, C, T, H, W), as the loader gives them uint8; (B, C, T, V, M), float32.
PIXELS, JOINTS = "pixels", "joints"
# A function, or "module:name" of one.
Function = Callable[..., Any] | str
_MAKERS, _SCREENS = "transm3e.data.modalities", "transm3e.report.screens"


@dataclass(frozen=True)
class Stored:
    """What files hold. transm3e.data.reading.ClipReader reads, crops and flips it; a modality has the same name.

    Attributes:
        column: of the clip table, which names the files; a field of transm3e.data.annotations.Clip.
        kind: PIXELS or JOINTS.
        channels: of PIXELS; those of JOINTS are SKELETON.COORDINATES'.
        of_any_video: it can be had of a video file alone, decoded or detected (DEMO).
        made_by: the script that makes its files.
    """

    column: str
    kind: str = PIXELS
    channels: int = 0
    of_any_video: bool = False
    made_by: str = ""


# In the order in which they are read: crops are drawn for the size of the first.
STORED = {
    "rgb": Stored("path", channels=3, of_any_video=True),
    "flow": Stored("flow", channels=2, made_by="datasets/extract_flow.py"),
    "skeleton": Stored("skeleton", JOINTS, of_any_video=True, made_by="datasets/extract_skeleton.py"),
}


@dataclass(frozen=True)
class Modality:
    """A kind of clip that a model may be fed with.

    Attributes:
        source: key of STORED that it is computed from; its kind is that one's.
        compute: (the loader's clip of its source, ModalityInput) -> (B, channels, T, ...) float32, on the clip's device.
        channels: of the result; 0 = as its source.
        draw: how tools/show_batch.py shows it, a function as those of transm3e.report.screens.
    """

    source: str
    compute: Function
    channels: int = 0
    draw: Function = f"{_SCREENS}:values"

    @property
    def kind(self) -> str:
        """PIXELS or JOINTS."""
        return STORED[self.source].kind


MODALITIES: Registry[Modality] = Registry("DATA.MODALITY")
for _name, _source, _channels, _draw in (
    ("rgb", "rgb", 3, "images"),
    ("rgb_diff", "rgb", 3, "changes"),
    ("rgb_motion", "rgb", 3, "departures"),
    ("flow", "flow", 2, "directions"),
    ("skeleton", "skeleton", 0, "joints"),
    ("skeleton_bone", "skeleton", 0, "bones"),
    ("skeleton_motion", "skeleton", 0, "joint_motion"),
    ("skeleton_bone_motion", "skeleton", 0, "bone_motion"),
):
    MODALITIES.register(_name)(Modality(_source, f"{_MAKERS}:{_name}", _channels, f"{_SCREENS}:{_draw}"))


def function_of(function: Function) -> Callable[..., Any]:
    """What computes or draws a modality, imported if need be."""
    if callable(function):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def names_of(*kinds: str) -> tuple[str, ...]:
    """Modalities of these kinds, in the order of the table."""
    return tuple(name for name in MODALITIES if MODALITIES[name].kind in kinds)


def check_names(names: Sequence[str]) -> None:
    """Refuse names of no modality, and no name.

    Raises:
        UserError: names the first.
    """
    unknown = [name for name in names if name not in set(MODALITIES)]
    if unknown or not names:
        raise UserError(f"unknown modality {unknown[0] if unknown else ''!r}; allowed: {', '.join(MODALITIES)}")


def sources_of(names: Iterable[str]) -> list[str]:
    """Keys of STORED that modalities are computed from, in its order."""
    sources = {MODALITIES[name].source for name in names}
    return [source for source in STORED if source in sources]


def columns_of(sources: Iterable[str], clock: bool, perhaps: bool = False) -> list[str]:
    """The clip table's columns whose files are read for every clip.

    Args:
        sources: keys of STORED.
        clock: the video's time stamps count, whatever else is read (DATA.TARGET_FPS).
        perhaps: also what may be read: the video, for its size where joints do not say it.
    """
    asked = set(sources)
    if clock or (perhaps and any(STORED[source].kind == JOINTS for source in asked)):
        asked.add("rgb")
    return [stored.column for source, stored in STORED.items() if source in asked]


def how_to_make(column: str) -> str:
    """ " with SCRIPT" for the files that a column names, or ""."""
    script = next(stored.made_by for stored in STORED.values() if stored.column == column)
    return script and f" with {script}"


def clip_shape(cfg: CfgNode, name: str) -> tuple[int, ...]:
    """A training clip of a modality, without the batch: (C, T, H, W) or (C, T, V, M)."""
    modality, frames, side = MODALITIES[name], cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE
    if modality.kind == JOINTS:
        channels = modality.channels or COORDINATES[cfg.SKELETON.COORDINATES]
        return channels, frames, len(LAYOUTS[cfg.SKELETON.LAYOUT].names), cfg.SKELETON.NUM_PERSONS
    return modality.channels, frames, side, side


def model_class(cfg: CfgNode) -> Any:
    """The class of its model, which says what it is (transm3e.models.registry.Model)."""
    return component("MODEL.MODEL_NAME", cfg.MODEL.MODEL_NAME)


def readable_by(model: Any) -> list[str]:
    """The modalities that a model's class takes for its major one."""
    return [name for name in MODALITIES if not {name, MODALITIES[name].kind}.isdisjoint(model.reads)]


def model_modalities(cfg: CfgNode) -> list[str]:
    """What the model reads, in training and at test time; the first is the major modality."""
    return model_class(cfg).modalities_of(cfg)


def read_modalities(cfg: CfgNode, training: bool) -> list[str]:
    """What a run reads: for the model, and in training for its teacher, too."""
    teacher = [cfg.DISTILL.MODALITY] if training and cfg.TASK == "distill" else []
    return [*model_modalities(cfg), *teacher]


def stored_modalities(cfg: CfgNode, training: bool) -> list[str]:
    """What is read from files for the modalities that a run reads."""
    return sources_of(read_modalities(cfg, training))
