"""Clip table row -> augmented clips: the glue between sampling, decode and transforms."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from transm3e.config.node import CfgNode
from transm3e.data.annotations import (
    EVAL_SPLITS,
    SPLITS,
    Clip,
    ClipTable,
    read_clip_table,
    table_file,
    table_from_clips,
)
from transm3e.data.decode import DEFAULT_TIMEOUT, DecodeError, Video
from transm3e.data.modalities import MODALITIES
from transm3e.data.sampling import clip_rng, train_indices, view_indices
from transm3e.data.transforms import Augmentation, ViewParams, apply, draw_train, eval_params
from transm3e.data.types import FailedClip, Sample
from transm3e.errors import UserError

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
# Where clips of a folder are put: the split of known activities that is only ever tested on.
FOLDER_SPLIT = "known_test"
MISSING_SHOWN = 3

# (number of frames) -> frame numbers, and (height, width) -> what is done to those frames.
Draw = tuple[Callable[[int], np.ndarray], Callable[[int, int], ViewParams]]


@dataclass(frozen=True)
class ClipShape:
    """Shape of every clip of a dataset.

    Attributes:
        length: T, frames.
        stride: step between them in frames of the video.
        size: side in pixels.
    """

    length: int
    stride: int
    size: int


class ClipDataset(Dataset):
    """Clips of one split. Item i is a video in training (its augmented clips), one view of a video in evaluation.

    Evaluation items run video by video: item = video * views * crops + temporal view * crops + crop.

    Args:
        table: the clips, at least one.
        root: folder that the table's paths are relative to.
        shape: of every clip.
        augmentation: what may happen in training; None = evaluation.
        samples: augmented clips per video in training.
        views: temporal views per video in evaluation, if spread.
        views_from: where they lie, "spread" or "start", of which there is one; see view_indices.
        crops: spatial crops per view in evaluation, 1 or 3.
        seed: all randomness is a function of (seed, epoch, row, sample).
        timeout: seconds a file may take.
    """

    def __init__(
        self,
        table: ClipTable,
        root: str | Path,
        shape: ClipShape,
        *,
        augmentation: Augmentation | None = None,
        samples: int = 1,
        views: int = 1,
        views_from: str = "spread",
        crops: int = 1,
        seed: int = 0,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.table, self.root, self.shape = table, str(root), shape
        self.augmentation, self.seed, self.timeout = augmentation, seed, timeout
        self.samples = samples if augmentation else 1
        # From the start they would all be the same view.
        self.views, self.views_from, self.crops = 1 if views_from == "start" else views, views_from, crops
        self.items_per_clip = 1 if augmentation else self.views * crops
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.table) * self.items_per_clip

    @property
    def clip_shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> (C, T, H, W) of one clip."""
        return {"rgb": (MODALITIES["rgb"], self.shape.length, self.shape.size, self.shape.size)}

    def set_epoch(self, epoch: int) -> None:
        """The epoch of items asked for by number alone; a loader's (epoch, item) keys carry their own."""
        self.epoch = epoch

    def __getitem__(self, key: int | tuple[int, int]) -> Sample | FailedClip:
        """Item number, or (epoch, item number) -> clips, or why there are none."""
        epoch, item = key if isinstance(key, tuple) else (self.epoch, key)
        index, view = divmod(item, self.items_per_clip)
        row, path = int(self.table.rows[index]), str(self.table.paths[index])
        draws = self._train_draws(epoch, row) if self.augmentation else [self._eval_draw(view)]
        try:
            with closing(Video(os.path.join(self.root, path), self.timeout)) as video:
                clips = self._clips(video, draws)
        except DecodeError as error:
            return FailedClip(row, path, error.reason)
        label = torch.from_numpy(self.table.labels[index].astype(np.float32))
        views = tuple(range(self.samples)) if self.augmentation else (view,)
        return Sample({"rgb": clips}, label, row, views, path)

    def _train_draws(self, epoch: int, row: int) -> list[Draw]:
        assert self.augmentation is not None
        return [self._train_draw(self.augmentation, clip_rng(self.seed, epoch, row, s)) for s in range(self.samples)]

    def _train_draw(self, augmentation: Augmentation, rng: np.random.Generator) -> Draw:
        length, stride, size = self.shape.length, self.shape.stride, self.shape.size
        return (
            lambda frames: train_indices(frames, length, stride, rng),
            lambda height, width: draw_train(rng, height, width, size, augmentation),
        )

    def _eval_draw(self, number: int) -> Draw:
        view, crop = divmod(number, self.crops)
        return (
            lambda frames: view_indices(
                frames, self.shape.length, self.shape.stride, view, self.views, self.views_from
            ),
            lambda height, width: eval_params(height, width, crop, self.crops),
        )

    def _clips(self, video: Video, draws: list[Draw]) -> torch.Tensor:
        """S draws -> (S, 3, T, H, W) uint8; one pass over the file for all of them."""
        frames = video.frames(np.concatenate([choose_frames(video.num_frames) for choose_frames, _ in draws]))
        clips = np.empty((len(draws), *self.clip_shapes["rgb"]), np.uint8)
        for source, out, (_, choose_params) in zip(np.split(frames, len(draws)), clips, draws, strict=True):
            out[:] = apply(source, choose_params(*source.shape[1:3]), self.shape.size).transpose(3, 0, 1, 2)
        return torch.from_numpy(clips)


def build_dataset(cfg: CfgNode, split: str, single_view: bool = False) -> ClipDataset:
    """The clips of one split: augmented for "train", views and crops of TEST.* (or a single view) for the others.

    Raises:
        UserError: no such split, a bad clip table, a split without clips, or video files that are not there.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    file = table_file(cfg.DATA.PATH_TO_DATA_DIR)
    whole = read_clip_table(file)
    table, root = whole.select(split), cfg.DATA.PATH_PREFIX or file.parent
    if not len(table):
        raise UserError(_no_clips(file, whole, split))
    _check_files(table, root, file)
    return _dataset_from_cfg(cfg, table, root, training=split == "train", single_view=single_view)


def build_folder_dataset(cfg: CfgNode, folder: str | Path) -> ClipDataset:
    """The videos of a folder, in evaluation mode, for prediction; see folder_table.

    Raises:
        UserError: as folder_table.
    """
    table, root = folder_table(folder)
    return _dataset_from_cfg(cfg, table, root, training=False)


def folder_table(folder: str | Path) -> tuple[ClipTable, Path]:
    """Video files below a folder in sorted order, or one video file -> (table without labels, root of its paths).

    Raises:
        UserError: no such folder or file, or no video in it.
    """
    place = Path(folder)
    if place.is_file():
        files, root = [place], place.parent
    else:
        files, root = sorted(f for f in place.rglob("*") if f.suffix.lower() in VIDEO_SUFFIXES and f.is_file()), place
    if not files:
        what = "no video files in" if place.is_dir() else "no such folder or file:"
        raise UserError(f"{what} {place.absolute()}; name a video file or a folder with {', '.join(VIDEO_SUFFIXES)}")
    return table_from_clips([Clip(f.relative_to(root).as_posix(), FOLDER_SPLIT, "", ()) for f in files]), root


def _dataset_from_cfg(
    cfg: CfgNode, table: ClipTable, root: str | Path, training: bool, single_view: bool = False
) -> ClipDataset:
    size = cfg.DATA.TRAIN_CROP_SIZE if training else cfg.DATA.TEST_CROP_SIZE
    return ClipDataset(
        table,
        root,
        ClipShape(cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, size),
        augmentation=_augmentation_from_cfg(cfg) if training else None,
        samples=cfg.AUG.NUM_SAMPLE,
        views=1 if single_view else cfg.TEST.NUM_ENSEMBLE_VIEWS,
        # Validation is part of training, which TEST does not change.
        views_from="spread" if single_view else cfg.TEST.VIEWS_FROM,
        crops=1 if single_view else cfg.TEST.NUM_SPATIAL_CROPS,
        seed=cfg.RNG_SEED,
        timeout=cfg.DATA.DECODE_TIMEOUT,
    )


def _augmentation_from_cfg(cfg: CfgNode) -> Augmentation:
    return Augmentation(
        area=tuple(cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE),
        aspect=tuple(cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE),
        flip=cfg.DATA.RANDOM_FLIP,
        color_jitter=cfg.AUG.COLOR_JITTER if cfg.AUG.ENABLE else 0.0,
        erase_prob=cfg.AUG.RE_PROB if cfg.AUG.ENABLE else 0.0,
    )


def _no_clips(file: Path, table: ClipTable, split: str) -> str:
    present = [name for name in SPLITS if name in table.splits]
    choice = [name for name in present if name in EVAL_SPLITS]
    remedy = f"add clips of {split} to the table"
    if split in EVAL_SPLITS and choice:
        remedy = f"set TEST.SPLITS [{', '.join(choice)}], or {remedy}"
    return f"{file}: no clips in split {split!r}; splits with clips: {', '.join(present)}; {remedy}"


def _check_files(table: ClipTable, root: str | Path, file: Path) -> None:
    missing = [path for path in map(str, table.paths) if not os.path.isfile(os.path.join(root, path))]
    if missing:
        shown = ", ".join(missing[:MISSING_SHOWN]) + (", ..." if len(missing) > MISSING_SHOWN else "")
        raise UserError(
            f"{file}: {len(missing)} of {len(table)} video files are not in {root}: {shown}; "
            "set DATA.PATH_PREFIX to the folder they are relative to, or take them out of the table"
        )
