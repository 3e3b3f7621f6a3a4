"""Build the datasets of a config."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from transm3e.config.check import test_scale
from transm3e.config.targets import ACTIVITY_TARGETS, MUSCLE_TARGET, scored_target, trained_target
from transm3e.data.activities import build_activities
from transm3e.data.annotations import (
    EVAL_SPLITS,
    MEMBER,
    MUSCLE_COLUMN,
    MUSCLES,
    SPLITS,
    Clip,
    ClipTable,
    read_clip_table,
    table_file,
    table_from_clips,
)
from transm3e.data.backends import check_backend
from transm3e.data.dataset import ClipDataset
from transm3e.data.draws import ClipShape
from transm3e.data.joint_augmentation import JointAugmentation
from transm3e.data.links import check_links
from transm3e.data.randaugment import parse_policy
from transm3e.data.reading import Decoding, Persons
from transm3e.data.transforms import Augmentation
from transm3e.data.video_files import videos_below
from transm3e.errors import UserError
from transm3e.modalities import columns_of, how_to_make, stored_modalities

# Split of the clips of a folder: the one of known activities that is only used for testing.
FOLDER_SPLIT = "known_test"
MISSING_SHOWN = 3


def build_dataset(cfg: CfgNode, split: str, single_view: bool = False) -> ClipDataset:
    """The clips of one split: augmented for "train", views and crops of TEST.* (or a single view) for the others.

    Raises:
        UserError: an unknown split, an invalid clip table, a split without clips, or missing video files.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    file = table_file(cfg.DATA.PATH_TO_DATA_DIR)
    whole = read_clip_table(file)
    check_table(cfg, whole, file, split)
    table, root = _labelled(cfg, whole, file, split), cfg.DATA.PATH_PREFIX or file.parent
    dataset = _dataset_from_cfg(cfg, table, root, training=split == "train", single_view=single_view)
    if split == "train" or not cfg.TEST.ALLOW_MISSING:
        for name in dataset.reader.columns:
            _check_files(table, name, root, file)
    return dataset


def check_tables(cfgs: Iterable[CfgNode]) -> None:
    """Check that each config's clip table has what training and evaluation need, before anything is read or trained.

    Raises:
        UserError: as check_table, check_links and build_activities, or no clip table.
    """
    linked: set[tuple[Path, str, str]] = set()
    for cfg in cfgs:
        splits = [*(["train"] if cfg.TRAIN.ENABLE else []), *(cfg.TEST.SPLITS if cfg.TEST.ENABLE else [])]
        if splits:
            file = table_file(cfg.DATA.PATH_TO_DATA_DIR)
            table = read_clip_table(file)
            for split in splits:
                check_table(cfg, table, file, split)
            root = str(cfg.DATA.PATH_PREFIX or file.parent)
            for column in columns_of(stored_modalities(cfg, cfg.TRAIN.ENABLE), bool(cfg.DATA.TARGET_FPS)):
                if (file, root, column) not in linked:
                    check_links(table, table.files[column], root, file)
                    linked.add((file, root, column))
            # The checkpoint of a trained HAR lookup contains its activities.
            if cfg.TRAIN.ENABLE or scored_target(cfg) in ACTIVITY_TARGETS:
                build_activities(cfg)


def check_table(cfg: CfgNode, table: ClipTable, file: Path, split: str) -> None:
    """Check that a split has clips, each with a file for every modality that the config reads.

    Raises:
        UserError: it has not, or the table has no muscles and the config needs them.
    """
    clips = table.select(split)
    if not len(clips):
        raise UserError(_no_clips(file, table, split))
    if _target(cfg, split) == MUSCLE_TARGET and not table.labels.shape[1]:
        raise UserError(
            f"{file} has no column {MUSCLE_COLUMN}; add it, or set DATA.TARGET activity and MODEL.LOSS_FUNC cross_entropy "
            "to predict activities"
        )
    if split == "train" or not cfg.TEST.ALLOW_MISSING:
        for column in columns_of(stored_modalities(cfg, training=split == "train"), clock=False):
            _check_filled(clips, column, file)


def build_folder_dataset(cfg: CfgNode, table: ClipTable, root: Path, windows: np.ndarray | None = None) -> ClipDataset:
    """The videos of a folder_table, or some of them, as an evaluation dataset for prediction; see ClipDataset."""
    return _dataset_from_cfg(cfg, table, root, training=False, windows=windows)


def folder_table(folder: str | Path | Sequence[str | Path]) -> tuple[ClipTable, Path]:
    """The videos below a folder (see videos_below), or one video file, or several -> (table without labels, root of its paths).

    Raises:
        UserError: no such folder or file, or no video in it.
    """
    if not isinstance(folder, str | Path):
        files = [Path(os.path.abspath(name)) for name in folder]
        return _folder_table(files, Path(os.path.commonpath([file.parent for file in files])))
    path = Path(folder)
    if path.is_file():
        files, root = [path], path.parent
    else:
        files, root = videos_below(path), path
    if not files:
        what = "no video files in" if path.is_dir() else "no such folder or file:"
        raise UserError(f"{what} {path.absolute()}; name a video file or a folder of them")
    return _folder_table(files, root)


def _folder_table(files: Iterable[Path], root: Path) -> tuple[ClipTable, Path]:
    return table_from_clips([Clip(f.relative_to(root).as_posix(), FOLDER_SPLIT, "", ()) for f in files]), root


def _dataset_from_cfg(
    cfg: CfgNode,
    table: ClipTable,
    root: str | Path,
    training: bool,
    single_view: bool = False,
    windows: np.ndarray | None = None,
) -> ClipDataset:
    check_backend(cfg.DATA.DECODING_BACKEND)
    size = cfg.DATA.TRAIN_CROP_SIZE if training else cfg.DATA.TEST_CROP_SIZE
    crops = 1 if single_view else cfg.TEST.NUM_SPATIAL_CROPS
    spans = {"indices": cfg.DATA.FRAME_INDICES, "short": cfg.DATA.SHORT_CLIPS}
    return ClipDataset(
        table,
        root,
        ClipShape(cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, size, **spans),
        modalities=stored_modalities(cfg, training),
        augmentation=_augmentation_from_cfg(cfg) if training else None,
        samples=cfg.AUG.NUM_SAMPLE,
        sample_distance=cfg.AUG.SAMPLE_DISTANCE,
        views=1 if single_view else cfg.TEST.NUM_ENSEMBLE_VIEWS,
        # Validation is part of training, which must not depend on TEST.
        views_from="spread" if single_view else cfg.TEST.VIEWS_FROM,
        crops=crops,
        offset=cfg.DATA.USE_OFFSET_SAMPLING,
        resizing=cfg.DATA.RESIZE,
        scale=test_scale(cfg, crops),
        seed=cfg.RNG_SEED,
        decoding=Decoding(
            cfg.DATA.DECODING_BACKEND,
            cfg.DATA.DECODE_TIMEOUT,
            cfg.DATA.TARGET_FPS,
            short_size=cfg.DATA.DECODING_SHORT_SIZE,
            resizing=cfg.DATA.RESIZE,
        ),
        persons=Persons(cfg.SKELETON.NUM_PERSONS, cfg.SKELETON.LAYOUT, cfg.SKELETON.COORDINATES),
        windows=windows,
    )


def _augmentation_from_cfg(cfg: CfgNode) -> Augmentation:
    on = cfg.AUG.ENABLE
    return Augmentation(
        area=tuple(cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE),
        aspect=tuple(cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE),
        scales=tuple(cfg.DATA.TRAIN_JITTER_SCALES),
        inverse_scales=cfg.DATA.INV_UNIFORM_SAMPLE,
        flip=cfg.DATA.RANDOM_FLIP,
        color_jitter=cfg.AUG.COLOR_JITTER if on and cfg.AUG.USE_COLOR_JITTER else 0.0,
        erase_prob=cfg.AUG.RE_PROB if on else 0.0,
        erase_mode=cfg.AUG.RE_MODE,
        erase_count=cfg.AUG.RE_COUNT,
        erase_normal=(tuple(cfg.DATA.MEAN), tuple(cfg.DATA.STD)) if cfg.AUG.RE_NOISE == "normal" else None,
        rand_augment=parse_policy(cfg.AUG.AA_TYPE) if on else None,
        order=cfg.AUG.ORDER,
        resizing=cfg.DATA.RESIZE,
        interpolation=cfg.AUG.INTERPOLATION,
        joints=JointAugmentation(
            *(cfg.AUG.JOINT_TURN, cfg.AUG.JOINT_TILT, cfg.AUG.JOINT_STRETCH, cfg.AUG.JOINT_NOISE, cfg.AUG.JOINT_DROPOUT)
        )
        if on
        else JointAugmentation(),
        tempo=tuple(cfg.AUG.TEMPO) if on else (1.0, 1.0),
        pauses=cfg.AUG.PAUSES if on else 0.0,
    )


def _no_clips(file: Path, table: ClipTable, split: str) -> str:
    present = [name for name in SPLITS if name in table.splits]
    choice = [name for name in present if name in EVAL_SPLITS]
    remedy = f"add clips of {split} to the table"
    if split in EVAL_SPLITS and choice:
        remedy = f'set TEST.SPLITS "[{", ".join(choice)}]", or {remedy}'
    return f"{file}: no clips in split {split!r}; splits with clips: {', '.join(present)}; {remedy}"


def label_names(cfg: CfgNode, split: str) -> tuple[str, ...]:
    """Names of the columns of a split's labels: muscles, or the activities of train.

    Raises:
        UserError: as build_activities.
    """
    if _target(cfg, split) == MUSCLE_TARGET:
        return MUSCLES
    activities = build_activities(cfg)
    assert activities is not None, "activities are trained wherever they are scored"
    return activities.names


def train_labels(cfg: CfgNode) -> np.ndarray:
    """Labels (N, C) of 0 and 1 of the training clips."""
    file = table_file(cfg.DATA.PATH_TO_DATA_DIR)
    return _labelled(cfg, read_clip_table(file), file, "train").labels.astype(np.int64)


def _target(cfg: CfgNode, split: str) -> str:
    return trained_target(cfg) if split == "train" else scored_target(cfg)


def _labelled(cfg: CfgNode, table: ClipTable, file: Path, split: str) -> ClipTable:
    """The clips of a split, labelled with the trained or scored target."""
    clips = table.select(split)
    if _target(cfg, split) == MUSCLE_TARGET:
        return clips
    activities = build_activities(cfg)
    assert activities is not None, "activities are trained wherever they are scored"
    return replace(clips, labels=activities.labels(clips.activities))


def _check_filled(table: ClipTable, column: str, file: Path) -> None:
    bare = [str(path) for path, name in zip(table.paths, table.files[column], strict=True) if not name]
    if bare:
        raise UserError(
            f"{file}: {len(bare)} of {len(table)} clips have nothing in the column {column}: {_shown(bare)}; "
            f"make it{how_to_make(column)}, delete these rows, or choose another DATA.MODALITY"
        )


def _check_files(table: ClipTable, column: str, root: str | Path, file: Path) -> None:
    _check_filled(table, column, file)
    names = map(str, table.files[column])
    missing = [name for name in names if not os.path.exists(os.path.join(root, name.partition(MEMBER)[0]))]
    if missing:
        what = "video" if column == "path" else column
        raise UserError(
            f"{file}: {len(missing)} of {len(table)} {what} files are not in {root}: {_shown(missing)}; "
            "set DATA.PATH_PREFIX to the folder they are relative to, or delete these rows"
        )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:MISSING_SHOWN]) + (", ..." if len(names) > MISSING_SHOWN else "")
