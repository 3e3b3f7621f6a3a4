"""Video files to score without a clip table; for a skeleton model, persons are detected in them first."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from transm3e.data.annotations import ClipTable
from transm3e.data.backends import open_source
from transm3e.data.build import folder_table
from transm3e.data.decode import DecodeError
from transm3e.data.loader import ClipLoader, build_folder_loader
from transm3e.data.reading import ASSUMED_FPS, WHOLE, clock
from transm3e.data.skeleton.bodies import Body, check_detector, files_beside, find_bodies
from transm3e.data.skeleton.detectors import DETECTORS, Note, Options, build_detector, ignore
from transm3e.errors import UserError
from transm3e.files import local_path
from transm3e.modalities import stored_modalities

# Windows of one video: an hour in steps of a second, and some more.
MOST_WINDOWS = 4000


@dataclass(frozen=True)
class Videos:
    """A process's share of the videos to score.

    Attributes:
        root: folder their paths are relative to.
        loader: views of those that can be scored; labels are zero, rows number all videos, sorted.
        bodies: one per video, also of those that cannot be scored; without persons for a model of pixels.
        windows: row -> window; these rows are beyond those of the videos.
    """

    root: Path
    loader: ClipLoader
    bodies: list[Body]
    windows: dict[int, Window] = field(default_factory=dict)


@dataclass(frozen=True)
class Window:
    """A part of a video that has scores of its own: its path, first second and end."""

    path: str
    start: float
    end: float


def build_videos(
    cfg: CfgNode,
    folder: str | Path | Sequence[str | Path],
    *,
    rank: int = 0,
    world_size: int = 1,
    local_size: int = 0,
    note: Note = ignore,
    window: float = 0.0,
    stride: float = 1.0,
    cache: Path | None = None,
) -> Videos:
    """The videos of a folder, or one file, or several; persons are detected before this returns, with progress.

    Args:
        rank, world_size, local_size: as in build_loader; every process detects persons in its own share and loads it.
        note: called with the detector's progress.
        window: seconds of the windows that are scored beside the whole videos; 0 = none.
        stride: seconds from one window to the next.
        cache: as in find_bodies.

    Raises:
        UserError: as folder_table; the detector is not available, or does not find the model's joints; more than
            MOST_WINDOWS windows.
    """
    whole, root = folder_table(folder)
    table = whole.take(np.arange(rank, len(whole), world_size))
    bodies = [Body(row, path) for row, path in zip(table.rows.tolist(), table.paths.tolist(), strict=True)]
    if "skeleton" in stored_modalities(cfg, training=False):
        bodies = _find_from_cfg(cfg, whole, bodies, root, note, cache)
        table = _with_bodies(table, bodies)
    if not window:
        return Videos(root, build_folder_loader(cfg, table, root, local_size), bodies)
    items, spans, windows = list(range(len(table))), [WHOLE] * len(table), {}
    rows = table.rows.tolist()
    for item, path in enumerate(table.paths.tolist()):
        note(path)
        for number, span in enumerate(_windows(root / path, window, stride, cfg.DATA.DECODE_TIMEOUT), start=1):
            items.append(item)
            spans.append(span)
            rows.append(int(table.rows[item]) + number * len(whole))
            windows[rows[-1]] = Window(path, *span)
    split = replace(table.take(np.array(items, np.int64)), rows=np.array(rows, np.int64))
    return Videos(
        root, build_folder_loader(cfg, split, root, local_size, np.array(spans).reshape(-1, 2)), bodies, windows
    )


def _windows(video: Path, length: float, stride: float, timeout: float) -> Iterator[tuple[float, float]]:
    """First second and end of each window; the last one may be cut short by the end, none is for a video that cannot be
    opened: its own row tells why."""
    try:
        with closing(open_source(video, timeout=timeout)) as source:
            times = clock(source.num_frames, source.seconds)
    except DecodeError:
        return
    # A frame is shown for the median distance of frames.
    duration = float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else 1 / ASSUMED_FPS)
    # None begins after the end, even with gaps between windows.
    count = max(1, math.ceil(round((duration - max(length, stride)) / stride, 6)) + 1)
    if count > MOST_WINDOWS:
        raise UserError(
            f"{video}: {duration:.0f} s in steps of {stride:g} s are {count} windows; allowed: {MOST_WINDOWS}; raise "
            f"DEMO.STRIDE to {math.ceil(100 * duration / MOST_WINDOWS) / 100:g} or more, or cut the video"
        )
    for number in range(count):
        yield number * stride, min(number * stride + length, duration)


def _find_from_cfg(
    cfg: CfgNode, whole: ClipTable, videos: list[Body], root: Path, note: Note, cache: Path | None
) -> list[Body]:
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
    return find_bodies(root, videos, beside, maker, workers, cache)


def _with_bodies(table: ClipTable, bodies: list[Body]) -> ClipTable:
    """The clips that can be scored, with their skeleton files."""
    files = table.files | {"skeleton": np.array([body.skeleton for body in bodies], np.str_)}
    return replace(table, files=files).take(np.array([not body.reason for body in bodies], bool))
