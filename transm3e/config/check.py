"""Refuses contradictory settings before anything is built, and warns of settings that are probably mistakes."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from fvcore.common.config import CfgNode

from transm3e.config.keys_data import CUDA_DECODER, FORMER_DECODER
from transm3e.config.schema import check_values
from transm3e.config.targets import (
    ACTIVITY_TARGET,
    ACTIVITY_TARGETS,
    LOOKUP_TASK,
    MULTI_TARGET,
    MUSCLE_TARGET,
    VALIDATION,
    scored_target,
    trained_target,
)
from transm3e.errors import UserError
from transm3e.modalities import JOINTS, MODALITIES, STORED, model_class, readable_by, stored_modalities
from transm3e.registry import component

logger = logging.getLogger(__name__)

# Columns of a clip table's labels.
NUM_MUSCLES = 20


def check_cfg(cfg: CfgNode) -> None:
    """Refuse contradictory settings, and warn of probable mistakes.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    check_values(cfg)
    _check_together(cfg)
    _check_batches(cfg)
    _check_data(cfg)
    _check_crops(cfg)
    model_class(cfg).check(cfg)
    _check_task(cfg)
    for warning in (*_warnings(cfg), *model_class(cfg).warnings_of(cfg)):
        logger.warning("%s", warning)


def _check_together(cfg: CfgNode) -> None:
    """Keys that contradict one another."""
    if cfg.SHARD_ID >= cfg.NUM_SHARDS:
        raise UserError(
            f"SHARD_ID is {cfg.SHARD_ID}, but hosts are numbered from 0 to NUM_SHARDS - 1 = {cfg.NUM_SHARDS - 1}"
        )
    if cfg.SOLVER.OPTIMIZING_METHOD == "sgd" and cfg.SOLVER.NESTEROV and cfg.SOLVER.MOMENTUM and cfg.SOLVER.DAMPENING:
        raise UserError(
            f"SOLVER.DAMPENING is {cfg.SOLVER.DAMPENING:g}, but Nesterov momentum has none; set SOLVER.NESTEROV False or "
            "DAMPENING 0"
        )
    validates = cfg.TRAIN.EVAL_PERIOD and set(VALIDATION) & set(cfg.TEST.SPLITS)
    if cfg.TRAIN.ENABLE and cfg.SOLVER.EARLY_STOP and not validates:
        raise UserError(
            f"SOLVER.EARLY_STOP is {cfg.SOLVER.EARLY_STOP}, but nothing is validated; set TRAIN.EVAL_PERIOD above 0 and "
            f"name {' or '.join(VALIDATION)} in TEST.SPLITS, or set EARLY_STOP 0"
        )
    if cfg.DEMO.ENABLE and not cfg.DEMO.INPUT_VIDEO:
        raise UserError("DEMO.ENABLE is True, but DEMO.INPUT_VIDEO is empty; name a video file or a folder")
    steps, rates = cfg.SOLVER.STEPS, cfg.SOLVER.LRS
    are_numbers = all(isinstance(each, int | float) and each >= 0 for each in (*steps, *rates))
    # Without STEPS nothing reads LRS: PySlowFast's files of other policies may keep it.
    wanted = cfg.SOLVER.LR_POLICY == "steps_with_relative_lrs" or steps
    if wanted and not (
        are_numbers and steps and len(steps) <= len(rates) and steps[0] == 0 and steps == sorted(set(steps))
    ):
        raise UserError(
            f"SOLVER.STEPS is {steps} and SOLVER.LRS {rates}; STEPS must be rising epochs, the first 0, and LRS one "
            "factor on BASE_LR for each of them, as STEPS [0, 5], LRS [1, 0.1]"
        )


def _check_batches(cfg: CfgNode) -> None:
    gpus = max(1, cfg.NUM_GPUS)
    if cfg.TRAIN.BATCH_SIZE % (gpus * cfg.TRAIN.ACCUM_STEPS):
        raise UserError(
            f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} (per host) must be a multiple of NUM_GPUS {cfg.NUM_GPUS} "
            f"x TRAIN.ACCUM_STEPS {cfg.TRAIN.ACCUM_STEPS}; change one of them"
        )
    if cfg.BN.NORM_TYPE == "sync_batchnorm" and cfg.NUM_GPUS == 0 and cfg.TRAIN.ENABLE:
        raise UserError("BN.NORM_TYPE sync_batchnorm needs GPUs, but NUM_GPUS is 0; set NORM_TYPE batchnorm")
    if cfg.TRAIN.FSDP and cfg.TRAIN.ENABLE:
        _check_fsdp(cfg)
    if cfg.TEST.BATCH_SIZE % gpus:
        raise UserError(
            f"TEST.BATCH_SIZE {cfg.TEST.BATCH_SIZE} (per host) must be a multiple of NUM_GPUS {cfg.NUM_GPUS}; "
            "change one of them"
        )


def _check_fsdp(cfg: CfgNode) -> None:
    if cfg.TRAIN.COMPILE:
        raise UserError("TRAIN.FSDP and TRAIN.COMPILE cannot be combined; set one of them False")
    if cfg.BN.NORM_TYPE == "sync_batchnorm":
        raise UserError(
            "TRAIN.FSDP and BN.NORM_TYPE sync_batchnorm cannot be combined; set FSDP False or NORM_TYPE batchnorm"
        )


def _check_crops(cfg: CfgNode) -> None:
    data, scales = cfg.DATA, cfg.DATA.TRAIN_JITTER_SCALES
    if bool(data.TRAIN_JITTER_SCALES_RELATIVE) != bool(data.TRAIN_JITTER_ASPECT_RELATIVE):
        raise UserError(
            f"DATA.TRAIN_JITTER_SCALES_RELATIVE is {data.TRAIN_JITTER_SCALES_RELATIVE}, TRAIN_JITTER_ASPECT_RELATIVE "
            f"{data.TRAIN_JITTER_ASPECT_RELATIVE}; give both, or [] for both to crop by TRAIN_JITTER_SCALES"
        )
    if cfg.TRAIN.ENABLE and not data.TRAIN_JITTER_SCALES_RELATIVE and scales[0] < data.TRAIN_CROP_SIZE:
        raise UserError(
            f"DATA.TRAIN_JITTER_SCALES is {scales}, but TRAIN_CROP_SIZE {data.TRAIN_CROP_SIZE} does not fit into frames of "
            f"{scales[0]} pixels; raise the scales"
        )
    if (scale := test_scale(cfg, cfg.TEST.NUM_SPATIAL_CROPS)) and scale < data.TEST_CROP_SIZE:
        raise UserError(
            f"DATA.TEST_SCALE {data.TEST_SCALE} resizes the short side to {scale} pixels, of which TEST_CROP_SIZE "
            f"{data.TEST_CROP_SIZE} cannot be cropped; raise the scale (-1: the first of DATA.TRAIN_JITTER_SCALES), or set it 0"
        )


def test_scale(cfg: CfgNode, crops: int) -> int:
    """The short side in pixels to which frames are resized before `crops` crops in evaluation; 0 = the crop's own side."""
    if cfg.DATA.TEST_SCALE >= 0:
        return cfg.DATA.TEST_SCALE
    return cfg.DATA.TRAIN_JITTER_SCALES[0] if crops == 1 else cfg.DATA.TEST_CROP_SIZE


def _check_data(cfg: CfgNode) -> None:
    name, modality, readable = cfg.MODEL.MODEL_NAME, cfg.DATA.MODALITY, readable_by(model_class(cfg))
    if modality not in readable:
        raise UserError(
            f"DATA.MODALITY is {modality}, but MODEL.MODEL_NAME {name} reads {', '.join(readable)}; change one of them"
        )
    if cfg.MIXUP.ENABLE and MODALITIES[modality].kind == JOINTS:
        raise UserError(f"MIXUP.ENABLE is True, but joints cannot be mixed; set it False for DATA.MODALITY {modality}")
    absent = [source for source in stored_modalities(cfg, training=False) if not STORED[source].of_any_video]
    if cfg.DEMO.ENABLE and absent:
        of_videos = [name for name in MODALITIES if STORED[MODALITIES[name].source].of_any_video]
        raise UserError(
            f"DEMO.ENABLE scores video files, which hold no {absent[0]}; list them in a clip table with that column and "
            f"evaluate on it, or choose a model of {', '.join(of_videos)}"
        )
    if cfg.DATA.DECODING_BACKEND == CUDA_DECODER and cfg.DATA_LOADER.NUM_WORKERS:
        raise UserError(
            f"DATA.DECODING_BACKEND {CUDA_DECODER} decodes in the training process, as forked workers cannot use its "
            f"GPU; set DATA_LOADER.NUM_WORKERS 0 (it is {cfg.DATA_LOADER.NUM_WORKERS})"
        )


def _check_task(cfg: CfgNode) -> None:
    name = cfg.MODEL.MODEL_NAME
    if not model_class(cfg).learns and cfg.TRAIN.ENABLE:
        raise UserError(f"MODEL.MODEL_NAME {name} has nothing to train; set TRAIN.ENABLE False")
    _check_target(cfg)
    _check_pos_weight(cfg)
    if cfg.INIT.STUDENT_FROM and cfg.TRAIN.CHECKPOINT_FILE_PATH:
        raise UserError(
            f"INIT.STUDENT_FROM {cfg.INIT.STUDENT_FROM} and TRAIN.CHECKPOINT_FILE_PATH {cfg.TRAIN.CHECKPOINT_FILE_PATH} "
            "both name starting weights; remove one of them"
        )
    if cfg.TASK == "distill":
        _check_distill(cfg)
    elif cfg.INIT.TEACHER_FROM:
        raise UserError(f"INIT.TEACHER_FROM is set, but TASK {cfg.TASK} has no teacher; set TASK distill or remove it")


def _check_pos_weight(cfg: CfgNode) -> None:
    weights, classes = cfg.MODEL.POS_WEIGHT, cfg.MODEL.NUM_CLASSES
    if weights and not component("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC).weighs:
        raise UserError(
            f"MODEL.POS_WEIGHT is {weights}, but MODEL.LOSS_FUNC {cfg.MODEL.LOSS_FUNC} has no weights of classes; set "
            "LOSS_FUNC bce_softmax or bce_logits, or POS_WEIGHT []"
        )
    if len(weights) not in (0, 1, classes):
        raise UserError(f"MODEL.POS_WEIGHT has {len(weights)} numbers; give one, or {classes} (MODEL.NUM_CLASSES)")


def _check_target(cfg: CfgNode) -> None:
    """The number of classes is that of the muscles, or that of the activities, which only the clip table tells."""
    classes, exclusive = cfg.MODEL.NUM_CLASSES, component("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC).exclusive
    if cfg.TASK == LOOKUP_TASK:
        if not exclusive:
            raise UserError(
                f"TASK {LOOKUP_TASK} learns activities; set MODEL.LOSS_FUNC cross_entropy (it is {cfg.MODEL.LOSS_FUNC})"
            )
        if cfg.DATA.TARGET == ACTIVITY_TARGET:
            raise UserError(
                f"TASK {LOOKUP_TASK} is scored by muscles; set DATA.TARGET auto, or TASK classify to score activities"
            )
        return
    if exclusive and scored_target(cfg) == MULTI_TARGET:
        raise UserError(
            f"MODEL.LOSS_FUNC {cfg.MODEL.LOSS_FUNC} needs one class per clip, but DATA.MULTI_LABEL gives it several; set "
            "MODEL.LOSS_FUNC bce_logit, or MULTI_LABEL False"
        )
    if scored_target(cfg) in ACTIVITY_TARGETS:
        return
    if exclusive:
        raise UserError(
            f"MODEL.LOSS_FUNC {cfg.MODEL.LOSS_FUNC} needs one class per clip, but a clip has several muscles; "
            "set DATA.TARGET activity, or MODEL.LOSS_FUNC bce_softmax"
        )
    if classes != NUM_MUSCLES and (cfg.DEMO.ENABLE or (_reads_labels(cfg) and cfg.DATA.PATH_TO_DATA_DIR)):
        raise UserError(
            f"MODEL.NUM_CLASSES is {classes}, but clip tables and scores have {NUM_MUSCLES} muscles; "
            f"set it to {NUM_MUSCLES}, or DATA.TARGET activity to predict activities"
        )


def _check_distill(cfg: CfgNode) -> None:
    component("DISTILL.METHOD", cfg.DISTILL.METHOD).check(cfg, model_class(cfg))
    if cfg.DISTILL.WEIGHT == cfg.DISTILL.CLASS_WEIGHT == 0:
        raise UserError("DISTILL.WEIGHT and DISTILL.CLASS_WEIGHT are both 0, so nothing is learned; set one above 0")
    if not cfg.INIT.TEACHER_FROM and cfg.TRAIN.ENABLE:
        raise UserError("TASK distill needs a teacher; set INIT.TEACHER_FROM to a config or a .pyth file")


def _reads_labels(cfg: CfgNode) -> bool:
    return cfg.TRAIN.ENABLE or cfg.TEST.ENABLE


def _warnings(cfg: CfgNode) -> Iterable[str]:
    if cfg.TRAIN.ENABLE and cfg.SOLVER.WARMUP_EPOCHS >= cfg.SOLVER.MAX_EPOCH:
        yield (
            f"SOLVER.WARMUP_EPOCHS {cfg.SOLVER.WARMUP_EPOCHS:g} is not shorter than SOLVER.MAX_EPOCH {cfg.SOLVER.MAX_EPOCH}: "
            f"the learning rate never reaches SOLVER.BASE_LR {cfg.SOLVER.BASE_LR:g}; shorten the warm-up, or set it to 0 (none)"
        )
    # A warning only: PySlowFast's own files name 400 classes and no data.
    muscles = scored_target(cfg) == trained_target(cfg) == MUSCLE_TARGET
    if muscles and _reads_labels(cfg) and not cfg.DATA.PATH_TO_DATA_DIR and cfg.MODEL.NUM_CLASSES != NUM_MUSCLES:
        yield f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but clip tables have {NUM_MUSCLES} muscles"
    if cfg.TASK == "distill":
        yield from component("DISTILL.METHOD", cfg.DISTILL.METHOD).warnings_of(cfg)
    if cfg.MODEL.FREEZE and cfg.TRAIN.ENABLE and not cfg.INIT.STUDENT_FROM and not cfg.TRAIN.CHECKPOINT_FILE_PATH:
        yield "MODEL.FREEZE keeps random weights: there are no starting weights (TRAIN.CHECKPOINT_FILE_PATH, INIT.STUDENT_FROM)"
    if cfg.PROTOCOL == "authors_code" and cfg.AUG.ENABLE and cfg.TRAIN.ENABLE:
        yield (
            "AUG.ENABLE True of the config wins over PROTOCOL authors_code: training clips are augmented, but the authors' "
            "code does not read that key; set AUG.ENABLE False to train as it does"
        )
    if cfg.MODEL.ACT_CHECKPOINT and not model_class(cfg).can_checkpoint:
        yield f"MODEL.ACT_CHECKPOINT has no effect on MODEL.MODEL_NAME {cfg.MODEL.MODEL_NAME}"
    if cfg.SOLVER.COSINE_END_LR > cfg.SOLVER.BASE_LR:
        yield f"SOLVER.COSINE_END_LR {cfg.SOLVER.COSINE_END_LR:g} is above SOLVER.BASE_LR {cfg.SOLVER.BASE_LR:g}: the learning rate rises"
    if cfg.TEST.VIEWS_FROM == "start" and cfg.TEST.NUM_ENSEMBLE_VIEWS > 1:
        yield (
            f"TEST.NUM_ENSEMBLE_VIEWS {cfg.TEST.NUM_ENSEMBLE_VIEWS} has no effect: TEST.VIEWS_FROM start scores one view, "
            "from frame 0; set NUM_ENSEMBLE_VIEWS 1 or VIEWS_FROM spread"
        )
    if cfg.AUG.ENABLE and cfg.DATA.FRAME_INDICES == "segments" and (cfg.AUG.TEMPO != [1.0, 1.0] or cfg.AUG.PAUSES):
        yield "AUG.TEMPO and AUG.PAUSES have no effect on DATA.FRAME_INDICES segments; set FRAME_INDICES stride to use them"
    scaled = cfg.SOLVER.BASE_LR * cfg.NUM_SHARDS
    if (
        cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS
        and cfg.NUM_SHARDS > 1
        and scaled > 0.005
        and cfg.SOLVER.OPTIMIZING_METHOD == "adamw"
    ):
        yield (
            f"SOLVER.BASE_LR_SCALE_NUM_SHARDS makes the learning rate {scaled:g}, which is high for AdamW; was SOLVER.BASE_LR "
            "already scaled by hand?"
        )
    if cfg.TRAIN.MIXED_PRECISION and cfg.NUM_GPUS == 0:
        yield "TRAIN.MIXED_PRECISION on a CPU computes in bf16, which is rarely faster"
    if cfg.DATA.DECODING_BACKEND == FORMER_DECODER and cfg.PROTOCOL != "pyslowfast":  # which sets it
        yield f"DATA.DECODING_BACKEND {FORMER_DECODER}: torchvision no longer reads video, pyav decodes"
