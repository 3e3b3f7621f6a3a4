"""Video files to score without a clip table; for a skeleton model, persons are detected in them first."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from transm3e.data.annotations import ClipTable
from transm3e.data.build import folder_table
from transm3e.data.loader import ClipLoader, build_folder_loader
from transm3e.data.skeleton.bodies import Body, check_detector, files_beside, find_bodies
from transm3e.data.skeleton.detectors import DETECTORS, Note, Options, build_detector, ignore
from transm3e.files import local_path
from transm3e.modalities import stored_modalities


@dataclass(frozen=True)
class Videos:
    """A process's share of the videos to score.

    Attributes:
        root: folder their paths are relative to.
        loader: views of those that can be scored; labels are zero, rows number all videos, sorted.
        bodies: one per video, also of those that cannot be scored; without persons for a model of pixels.
    """

    root: Path
    loader: ClipLoader
    bodies: list[Body]


def build_videos(
    cfg: CfgNode, folder: str | Path, *, rank: int = 0, world_size: int = 1, local_size: int = 0, note: Note = ignore
) -> Videos:
    """The videos of a folder, or one file; persons are detected before this returns, with progress.

    Args:
        rank, world_size, local_size: as in build_loader; every process detects persons in its own share and loads it.
        note: called with the detector's progress.

    Raises:
        UserError: as folder_table; the detector is not available, or does not find the model's joints.
    """
    whole, root = folder_table(folder)
    table = whole.take(np.arange(rank, len(whole), world_size))
    bodies = [Body(row, path) for row, path in zip(table.rows.tolist(), table.paths.tolist(), strict=True)]
    if "skeleton" in stored_modalities(cfg, training=False):
        bodies = _find_from_cfg(cfg, whole, bodies, root, note)
        table = _with_bodies(table, bodies)
    return Videos(root, build_folder_loader(cfg, table, root, local_size), bodies)


def _find_from_cfg(cfg: CfgNode, whole: ClipTable, videos: list[Body], root: Path, note: Note) -> list[Body]:
    beside = files_beside(root, whole.paths.tolist())
    maker = None
    # All processes build the detector or none does, so that a missing one ends all of them.
    if len(beside) < len(whole):
        check_detector(cfg.DEMO.DETECTOR, cfg.SKELETON.LAYOUT, cfg.DEMO.DETECTOR_WEIGHTS)
        weights = local_path(cfg.DEMO.DETECTOR_WEIGHTS) if cfg.DEMO.DETECTOR_WEIGHTS else None
        device = "cuda" if cfg.NUM_GPUS and "device" in DETECTORS[cfg.DEMO.DETECTOR].options else "cpu"
        maker = build_detector(cfg.DEMO.DETECTOR, Options(root, weights, device, note=note))
    # This process detects, too, and the data-loading workers do not run yet.
    workers = min(1 + cfg.DATA_LOADER.NUM_WORKERS, os.cpu_count() or 1)
    return find_bodies(root, videos, beside, maker, workers)


def _with_bodies(table: ClipTable, bodies: list[Body]) -> ClipTable:
    """The clips that can be scored, with their skeleton files."""
    files = table.files | {"skeleton": np.array([body.skeleton for body in bodies], np.str_)}
    return replace(table, files=files).take(np.array([not body.reason for body in bodies], bool))
