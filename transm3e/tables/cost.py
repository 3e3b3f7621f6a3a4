"""An estimate of the GPU hours of a run, before it is run.

Multiply-adds of one clip, counted from shapes, times clips and epochs: forward and backward of the student are three
forwards, the frozen teacher is one. Two floating-point operations each, at a rate that is assumed, not measured: real
runs also wait for data, and small models do not fill a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch.utils.flop_counter import FlopCounterMode

from transm3e.config.schema import NETWORK, get, keys_with
from transm3e.data.annotations import SPLITS, read_clip_table
from transm3e.files import clip_table_file
from transm3e.modalities import clip_shape, model_class, model_modalities
from transm3e.models import build_model
from transm3e.prepare.benchmarks.facts import MUSCLEHMDB41, MUSCLEMAP136, MUSCLEUCF90
from transm3e.runs.plan import Run

# Of a V100 in mixed precision on these networks, an assumption: a sixth of its peak.
TFLOPS = 20.0
FORWARDS_OF_A_STEP = 3
FLOPS_PER_MAC = 2
BENCHMARKS = {benchmark.name: benchmark.counts for benchmark in (MUSCLEMAP136, MUSCLEUCF90, MUSCLEHMDB41)}
_KNOWN_MACS: dict[str, int] = {}


def positive_rate(text: str) -> float:
    """A rate from a command line.

    Raises:
        ValueError: it is no finite number above 0.
    """
    rate = float(text)
    if not 0 < rate < math.inf:
        raise ValueError(f"{text} is no rate")
    return rate


def gpu_hours(run: Run, tflops: float = TFLOPS) -> float | None:
    """Hours of one GPU at `tflops` * 1e12 operations a second, for training and evaluation together.

    Returns:
        None where neither the clip table is there nor the number of its clips known.
    """
    if not model_class(run.cfg).learns:
        return 0.0
    clips = _clips(run.cfg)
    if clips is None:
        return None
    macs = _training_macs(run, clips) + _evaluation_macs(run.cfg, clips)
    return FLOPS_PER_MAC * macs / (tflops * 1e12) / 3600


def forward_macs(cfg: CfgNode) -> int:
    """Multiply-adds of one clip through a config's model: matrix products, convolutions and attention."""
    key = repr([get(cfg, name) for name in keys_with(NETWORK)])
    if key not in _KNOWN_MACS:
        with torch.device("meta"):
            model = build_model(cfg).eval()
            with FlopCounterMode(display=False) as counter:
                model({name: torch.zeros(1, *clip_shape(cfg, name)) for name in model_modalities(cfg)})
        _KNOWN_MACS[key] = counter.get_total_flops() // FLOPS_PER_MAC
    return _KNOWN_MACS[key]


def _training_macs(run: Run, clips: Mapping[str, int]) -> float:
    cfg = run.cfg
    if not cfg.TRAIN.ENABLE:
        return 0.0
    teacher = [start for start in run.starts if str(start.final_checkpoint) == cfg.INIT.TEACHER_FROM]
    per_clip = FORWARDS_OF_A_STEP * forward_macs(cfg) + sum(forward_macs(start.cfg) for start in teacher)
    looks = cfg.SOLVER.MAX_EPOCH // cfg.TRAIN.EVAL_PERIOD if cfg.TRAIN.EVAL_PERIOD else 0
    validation = looks * (clips["known_val"] + clips["new_val"]) * forward_macs(cfg)
    return clips["train"] * cfg.AUG.NUM_SAMPLE * cfg.SOLVER.MAX_EPOCH * per_clip + validation


def _evaluation_macs(cfg: CfgNode, clips: Mapping[str, int]) -> float:
    views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    return sum(clips[split] for split in cfg.TEST.SPLITS) * views * forward_macs(cfg)


def _clips(cfg: CfgNode) -> Mapping[str, int] | None:
    table = clip_table_file(cfg.DATA.PATH_TO_DATA_DIR)
    return _counted(str(table)) if table.is_file() else BENCHMARKS.get(cfg.TRAIN.DATASET)


@cache
def _counted(table: str) -> dict[str, int]:
    splits = np.asarray(read_clip_table(table).splits)
    return {split: int((splits == split).sum()) for split in SPLITS}
