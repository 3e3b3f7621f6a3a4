"""The table of modalities, used by configs, the loader, models, tasks, figures and benchmarks.

The functions that compute and draw them are named as "module:function" and imported on use, so configs need no torch.
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
    """A modality stored in files, by its name in MODALITIES. transm3e.data.reading.ClipReader reads, crops and flips it.

    Attributes:
        column: of the clip table, which names the files; a field of transm3e.data.annotations.Clip.
        kind: PIXELS or JOINTS.
        channels: of PIXELS; those of JOINTS depend on SKELETON.COORDINATES.
        of_any_video: a video file alone suffices, by decoding or detection (DEMO).
        made_by: the script that makes its files.
    """

    column: str
    kind: str = PIXELS
    channels: int = 0
    of_any_video: bool = False
    made_by: str = ""


# In the order of reading: crops are drawn for the frame size of the first.
STORED = {
    "rgb": Stored("path", channels=3, of_any_video=True),
    "flow": Stored("flow", channels=2, made_by="datasets/extract_flow.py"),
    "skeleton": Stored("skeleton", JOINTS, of_any_video=True, made_by="datasets/extract_skeleton.py"),
}


@dataclass(frozen=True)
class Modality:
    """A type of clip that a model may read.

    Attributes:
        source: key of STORED that it is computed from; it has the same kind.
        compute: (the loader's clip of its source, ModalityInput) -> (B, channels, T, ...) float32, on the clip's device.
        channels: of the result; 0 becomes those of the source.
        draw: how tools/show_batch.py draws it, a function like those of transm3e.report.screens.

    Raises:
        UserError: the source is not stored.
    """

    source: str
    compute: Function
    channels: int = 0
    draw: Function = f"{_SCREENS}:values"

    def __post_init__(self) -> None:
        if self.source not in STORED:
            raise UserError(f"a modality is computed from {self.source!r}; allowed: {', '.join(STORED)}")
        object.__setattr__(self, "channels", self.channels or STORED[self.source].channels)

    @property
    def kind(self) -> str:
        """PIXELS or JOINTS."""
        return STORED[self.source].kind


MODALITIES: Registry[Modality] = Registry("DATA.MODALITY")
for _name, _source, _draw in (
    ("rgb", "rgb", "images"),
    ("rgb_diff", "rgb", "changes"),
    ("rgb_motion", "rgb", "departures"),
    ("flow", "flow", "directions"),
    ("skeleton", "skeleton", "joints"),
    ("skeleton_bone", "skeleton", "bones"),
    ("skeleton_motion", "skeleton", "joint_motion"),
    ("skeleton_bone_motion", "skeleton", "bone_motion"),
):
    MODALITIES.register(_name)(Modality(_source, f"{_MAKERS}:{_name}", draw=f"{_SCREENS}:{_draw}"))


def function_of(function: Function) -> Callable[..., Any]:
    """The function that computes or draws a modality, imported if necessary."""
    if callable(function):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def names_of(*kinds: str) -> tuple[str, ...]:
    """Modalities of these kinds, in the order of the table."""
    return tuple(name for name in MODALITIES if MODALITIES[name].kind in kinds)


def check_names(names: Sequence[str]) -> None:
    """Check that there are names, all of modalities.

    Raises:
        UserError: no names, or an unknown one.
    """
    unknown = [name for name in names if name not in set(MODALITIES)]
    if unknown or not names:
        raise UserError(f"unknown modality {unknown[0] if unknown else ''!r}; allowed: {', '.join(MODALITIES)}")


def sources_of(names: Iterable[str]) -> list[str]:
    """Keys of STORED from which modalities are computed, in its order."""
    sources = {MODALITIES[name].source for name in names}
    return [source for source in STORED if source in sources]


def columns_of(sources: Iterable[str], clock: bool, perhaps: bool = False) -> list[str]:
    """The clip table's columns whose files are read for every clip.

    Args:
        sources: keys of STORED.
        clock: the video's time stamps are needed in any case (DATA.TARGET_FPS).
        perhaps: also columns that may be read: the video, where the joints' frame size is unknown.
    """
    asked = set(sources)
    if clock or (perhaps and any(STORED[source].kind == JOINTS for source in asked)):
        asked.add("rgb")
    return [stored.column for source, stored in STORED.items() if source in asked]


def how_to_make(column: str) -> str:
    """ " with SCRIPT" for the files of a column, or ""."""
    script = next(stored.made_by for stored in STORED.values() if stored.column == column)
    return script and f" with {script}"


def clip_shape(cfg: CfgNode, name: str) -> tuple[int, ...]:
    """Shape of a training clip of a modality, without the batch: (C, T, H, W) or (C, T, V, M)."""
    modality, frames, side = MODALITIES[name], cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE
    if modality.kind == JOINTS:
        channels = modality.channels or COORDINATES[cfg.SKELETON.COORDINATES]
        return channels, frames, len(LAYOUTS[cfg.SKELETON.LAYOUT].names), cfg.SKELETON.NUM_PERSONS
    return modality.channels, frames, side, side


def model_class(cfg: CfgNode) -> Any:
    """The class of the config's model (see transm3e.models.registry.Model)."""
    return component("MODEL.MODEL_NAME", cfg.MODEL.MODEL_NAME)


def readable_by(model: Any) -> list[str]:
    """The modalities that a model class accepts as its major one."""
    return [name for name in MODALITIES if not {name, MODALITIES[name].kind}.isdisjoint(model.reads)]


def model_modalities(cfg: CfgNode) -> list[str]:
    """The modalities that the model reads, in training and at test time; the first is the major one."""
    return model_class(cfg).modalities_of(cfg)


def read_modalities(cfg: CfgNode, training: bool) -> list[str]:
    """The modalities that a run reads: the model's, and in training also its teacher's."""
    teacher = [cfg.DISTILL.MODALITY] if training and cfg.TASK == "distill" else []
    return [*model_modalities(cfg), *teacher]


def stored_modalities(cfg: CfgNode, training: bool) -> list[str]:
    """The stored modalities from which a run's modalities are computed."""
    return sources_of(read_modalities(cfg, training))
