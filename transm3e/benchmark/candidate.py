"""The models that are measured: a config's, or a reference model with the clip, loss and optimiser of a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from transm3e.benchmark.references import REFERENCES, Size, check_reference
from transm3e.config import load_cfg
from transm3e.data.types import Batch
from transm3e.engine.optim import build_optimizer
from transm3e.errors import UserError
from transm3e.modalities import JOINTS, STORED, clip_shape, stored_modalities
from transm3e.models import ModelOutput, build_model
from transm3e.runs.starts import check_teacher
from transm3e.tasks import Classify, build_classify, build_distill

CONFIG_SUFFIXES = (".yaml", ".yml")
NO_REFERENCE = "none"
# What makes an MViT of MViTv2-S's sizes, whose reference is torchvision's.
MVIT_V2_S = {"EMBED_DIM": 96, "NUM_HEADS": 1, "DEPTH": 16, "DIM_MUL": [[1, 2.0], [3, 2.0], [14, 2.0]]}
MVIT_V2_S_CLIP: Size = (16, 224, 224)


@dataclass(frozen=True)
class Entry:
    """A candidate by name, from which any process can build it.

    Attributes:
        name: in tables; unique in a benchmark.
        source: a config file, or a name of REFERENCES.
        lead: the config that gives clip size, classes, loss and optimiser; for a config, itself.
        opts: KEY VALUE words for the configs.
    """

    name: str
    source: str
    lead: str
    opts: tuple[str, ...] = ()

    @property
    def is_config(self) -> bool:
        return self.source.endswith(CONFIG_SUFFIXES)


class Candidate:
    """A model with everything needed to run and train it.

    Args:
        name: in tables.
        task: Classify, or Distill with its teacher; its model maps clips to ModelOutput.
        make_optimizer: builds the optimiser; called when training is first timed.
        clip_size: (T, H, W) of the clips.
        num_classes: width of the labels.
        samples: clips of one video that a training step needs together.
        clip_norm: limit of the gradient's L2 norm; 0 = none.
        clips: what a batch holds, keys of transm3e.modalities.STORED, and the shape of a clip of each.
        compiled: the task's step is compiled when it is first called; inference is not.
    """

    def __init__(
        self,
        name: str,
        task: Classify,
        make_optimizer: Callable[[], torch.optim.Optimizer],
        clip_size: Size,
        num_classes: int,
        samples: int,
        clip_norm: float,
        clips: Mapping[str, tuple[int, ...]],
        compiled: bool = False,
    ) -> None:
        self.name, self.task, self.clip_size, self.num_classes = name, task, clip_size, num_classes
        self.samples, self.clip_norm, self.compiled = samples, clip_norm, compiled
        self.clips, self._make_optimizer = clips, make_optimizer
        self._optimizer: torch.optim.Optimizer | None = None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Built at first use, kept for all batch sizes until reset()."""
        if self._optimizer is None:
            self._optimizer = self._make_optimizer()
        return self._optimizer

    def reset(self) -> None:
        """Drop gradients and the optimiser, which an interrupted step leaves inconsistent."""
        self.task.model.zero_grad(set_to_none=True)
        self._optimizer = None

    def batch(self, size: int, device: torch.device) -> Batch:
        """`size` clips of noise with labels on `device`; the same in every call."""
        generator = torch.Generator().manual_seed(0)
        clips = {
            name: torch.rand(size, *shape, generator=generator)
            if STORED[name].kind == JOINTS
            # As the loader hands them out, channels last.
            else torch.randint(0, 256, (size, *shape[1:], shape[0]), dtype=torch.uint8, generator=generator).movedim(
                -1, 1
            )
            for name, shape in self.clips.items()
        }
        labels = torch.randint(0, 2, (size, self.num_classes), generator=generator).float()
        number = torch.arange(size)
        return Batch(clips, labels, number // self.samples, number % self.samples, samples=self.samples).to(device)


class ReferenceModel(nn.Module):
    """A module from clips to logits, called as our models are.

    Args:
        model: (B, C, T, H, W) float -> logits (B, num_classes).
        modality: the clip it reads.
    """

    def __init__(self, model: nn.Module, modality: str) -> None:
        super().__init__()
        self.model, self.modality = model, modality

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        return ModelOutput(self.model(clips[self.modality]))


def build_entries(paths: Sequence[str], against: str | None, opts: Sequence[str]) -> tuple[list[Entry], str | None]:
    """The candidates of a command line, and the name of the one that the others are compared with.

    Args:
        paths: config files.
        against: a name of REFERENCES, a config file, "none", or None: torchvision:mvit_v2_s for an MViT or TransM3E of
            MViTv2-S's sizes, else nothing.
        opts: KEY VALUE words, for every config.

    Raises:
        UserError: an unknown reference, one that does not take the first config's clips, or a wrong config.
    """
    cfgs = [load_cfg(path, opts) for path in paths]
    if against is None:
        against = "torchvision:mvit_v2_s" if any(_has_mvit_v2_s_size(cfg) for cfg in cfgs) else NO_REFERENCE
    entries: list[Entry] = []
    for path in paths:
        entries.append(Entry(_unique(Path(path).stem, entries), path, path, tuple(opts)))
    if against == NO_REFERENCE:
        return entries, None
    if against.endswith(CONFIG_SUFFIXES):
        entries.append(Entry(_unique(Path(against).stem, entries), against, against, tuple(opts)))
    else:
        lead = next((i for i, cfg in enumerate(cfgs) if _has_mvit_v2_s_size(cfg)), 0)
        check_reference(against, _clip_size(cfgs[lead]))
        entries.append(Entry(against, against, paths[lead], tuple(opts)))
    return entries, entries[-1].name


def build_candidate(entry: Entry, device: torch.device, with_teacher: bool = True) -> Candidate:
    """A candidate with random initialisation on `device`; no checkpoint is needed or read.

    TRAIN.COMPILE compiles the training step of configs, never that of a reference, which is measured unchanged.

    Args:
        with_teacher: False leaves the teacher of TASK distill out; such a candidate only runs forward.

    Raises:
        UserError: a wrong config, or a model without weights.
    """
    cfg = load_cfg(entry.lead, entry.opts)
    model = build_model(cfg) if entry.is_config else _build_reference(entry.source, cfg)
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError(
            f"{entry.source}: MODEL.MODEL_NAME {cfg.MODEL.MODEL_NAME} has no weights, so there is nothing to measure; "
            "name a config of a model that is trained"
        )
    distills = entry.is_config and cfg.TASK == "distill" and with_teacher
    task = build_distill(cfg, model, build_model(_build_teacher_cfg(cfg))) if distills else build_classify(cfg, model)
    task.to(device)
    compiled = entry.is_config and cfg.TRAIN.COMPILE
    if compiled:
        task.compile(fullgraph=True)
    return Candidate(
        entry.name,
        task,
        lambda: build_optimizer(cfg, model),
        _clip_size(cfg),
        cfg.MODEL.NUM_CLASSES,
        cfg.AUG.NUM_SAMPLE if distills else 1,
        cfg.SOLVER.CLIP_GRAD_L2NORM,
        {name: clip_shape(cfg, name) for name in stored_modalities(cfg, training=distills)},
        compiled,
    )


def _build_teacher_cfg(cfg: CfgNode) -> CfgNode:
    """INIT.TEACHER_FROM if it is a config; for a checkpoint the student's config without receivers."""
    source = cfg.INIT.TEACHER_FROM
    if source.endswith(CONFIG_SUFFIXES):
        teacher = load_cfg(source, cfg.INIT.OPTS, cfg.PROTOCOL)
        check_teacher(cfg, teacher, source)
        return teacher
    teacher = cfg.clone()
    teacher.defrost()
    teacher.TASK, teacher.DATA.MODALITY = "classify", cfg.DISTILL.MODALITY
    teacher.TRANSM3E.RECEIVERS, teacher.TRANSM3E.FUSION = False, "mean"
    return teacher


def _build_reference(name: str, cfg: CfgNode) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.RNG_SEED)
        return ReferenceModel(REFERENCES[name](_clip_size(cfg), cfg.MODEL.NUM_CLASSES), cfg.DATA.MODALITY)


def _clip_size(cfg: CfgNode) -> Size:
    return cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TRAIN_CROP_SIZE


def _has_mvit_v2_s_size(cfg: CfgNode) -> bool:
    if cfg.MODEL.MODEL_NAME not in ("MViT", "TransM3E") or _clip_size(cfg) != MVIT_V2_S_CLIP:
        return False
    return all(cfg.MVIT[key] == value for key, value in MVIT_V2_S.items())


def _unique(name: str, entries: Sequence[Entry]) -> str:
    taken = {entry.name for entry in entries}
    number = next(i for i in range(1, len(taken) + 2) if _numbered(name, i) not in taken)
    return _numbered(name, number)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"
