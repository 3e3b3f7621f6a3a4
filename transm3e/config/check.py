"""Settings that contradict each other are refused before anything is built; surely wrong ones get a warning."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from fvcore.common.config import CfgNode

from transm3e.config.check_baselines import CAN_CHECKPOINT, check_baselines
from transm3e.config.check_data import WITHOUT_WEIGHTS, check_data, data_warnings
from transm3e.config.check_sizes import check_sizes
from transm3e.config.check_values import check_values, get
from transm3e.config.targets import (
    ACTIVITY_TARGET,
    CROSS_ENTROPIES,
    LOOKUP_TASK,
    MUSCLE_TARGET,
    scored_target,
    trained_target,
)
from transm3e.errors import UserError

logger = logging.getLogger(__name__)

# How clips are read; a model that learnt from others reads these differently, which is allowed but seldom meant.
HOW_READ = ("DATA.FRAME_INDICES", "DATA.MEAN", "DATA.SAMPLING_RATE", "DATA.STD", "DATA.TARGET_FPS")
# Settings in which teacher and student must agree for their tokens to be compared.
SHARED_WITH_TEACHER = (
    "MODEL.MODEL_NAME",
    "DATA.NUM_FRAMES",
    "DATA.TRAIN_CROP_SIZE",
    "MVIT.EMBED_DIM",
    "MVIT.DEPTH",
    "MVIT.DIM_MUL",
    "TRANSM3E.NUM_MCTS",
)
# Settings in which a student and the run it starts from must agree, besides the backbone's.
SHARED_WITH_START = (
    "MODEL.MODEL_NAME",
    "MODEL.NUM_CLASSES",
    "DATA.MODALITY",
    "DATA.NUM_FRAMES",
    "DATA.TRAIN_CROP_SIZE",
    "TRANSM3E.NUM_MCTS",
)
# Settings of the backbone that leave its weights' shapes and meaning alone.
REGULARISATION = ("DROPOUT_RATE", "DROPPATH_RATE")
# Columns of a clip table's labels.
NUM_MUSCLES = 20


def check_cfg(cfg: CfgNode) -> None:
    """Refuse what contradicts itself and warn of what is surely wrong.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    check_values(cfg)
    _check_batches(cfg)
    check_sizes(cfg)
    check_baselines(cfg)
    _check_task(cfg)
    check_data(cfg)
    for warning in (*_warnings(cfg), *data_warnings(cfg)):
        logger.warning("%s", warning)


def check_teacher(cfg: CfgNode, teacher: CfgNode, path: str) -> None:
    """Whether a teacher's tokens can be compared with the student's receivers.

    Raises:
        UserError: names the first setting in which they differ.
    """
    keys = {"DATA.MODALITY": "DISTILL.MODALITY"} | {key: key for key in SHARED_WITH_TEACHER}
    _check_equal(cfg, teacher, keys, f"the teacher {path}")
    _warn_of_other_clips(cfg, teacher, f"the teacher {path}")


def check_student(cfg: CfgNode, start: CfgNode, path: str) -> None:
    """Whether a model can start from the weights of the run of another config.

    Raises:
        UserError: names the first setting in which they differ.
    """
    backbone = [f"MVIT.{name}" for name in cfg.MVIT if name not in REGULARISATION]
    _check_equal(cfg, start, {key: key for key in (*SHARED_WITH_START, *backbone)}, f"the starting weights {path}")
    _warn_of_other_clips(cfg, start, f"the starting weights {path}")


def _check_equal(cfg: CfgNode, other: CfgNode, keys: dict[str, str], what: str) -> None:
    for their_key, our_key in keys.items():
        theirs, ours = get(other, their_key), get(cfg, our_key)
        if theirs != ours:
            their_name = "" if their_key == our_key else f"{their_key} is "
            raise UserError(
                f"{our_key} is {ours} here, but {their_name}{theirs} in {what}; "
                "make them equal (INIT.OPTS sets keys of the configs it starts from)"
            )


def _warn_of_other_clips(cfg: CfgNode, other: CfgNode, what: str) -> None:
    different = [
        f"{key} {get(cfg, key)} here, {get(other, key)} there" for key in HOW_READ if get(cfg, key) != get(other, key)
    ]
    if different:
        logger.warning(
            "%s learnt from clips read otherwise: %s (INIT.OPTS sets keys there)", what, "; ".join(different)
        )


def _check_batches(cfg: CfgNode) -> None:
    gpus = max(1, cfg.NUM_GPUS)
    if cfg.TRAIN.BATCH_SIZE % (gpus * cfg.TRAIN.ACCUM_STEPS):
        raise UserError(
            f"TRAIN.BATCH_SIZE {cfg.TRAIN.BATCH_SIZE} (per machine) must divide by NUM_GPUS {cfg.NUM_GPUS} "
            f"x TRAIN.ACCUM_STEPS {cfg.TRAIN.ACCUM_STEPS}; change one of them"
        )
    if cfg.TEST.BATCH_SIZE % gpus:
        raise UserError(
            f"TEST.BATCH_SIZE {cfg.TEST.BATCH_SIZE} (per machine) must divide by NUM_GPUS {cfg.NUM_GPUS}; change one of them"
        )


def _check_task(cfg: CfgNode) -> None:
    name = cfg.MODEL.MODEL_NAME
    if name in WITHOUT_WEIGHTS and cfg.TRAIN.ENABLE:
        raise UserError(f"MODEL.MODEL_NAME {name} has nothing to train; set TRAIN.ENABLE False")
    _check_target(cfg)
    if cfg.INIT.STUDENT_FROM and cfg.TRAIN.CHECKPOINT_FILE_PATH:
        raise UserError(
            f"INIT.STUDENT_FROM {cfg.INIT.STUDENT_FROM} and TRAIN.CHECKPOINT_FILE_PATH {cfg.TRAIN.CHECKPOINT_FILE_PATH} "
            "both name starting weights; remove one of them"
        )
    if cfg.TASK != "distill":
        if cfg.INIT.TEACHER_FROM:
            raise UserError(
                f"INIT.TEACHER_FROM is set, but TASK {cfg.TASK} takes no teacher; set TASK distill or remove it"
            )
        # A trained student is scored without a teacher.
        if cfg.TRANSM3E.RECEIVERS and cfg.TRANSM3E.FUSION == "mean" and cfg.TRAIN.ENABLE:
            raise UserError(
                f"TRANSM3E.RECEIVERS is True, but nobody sends in TASK {cfg.TASK}; set TASK distill or RECEIVERS False"
            )
    else:
        _check_distill(cfg, name)
    if cfg.TRANSM3E.FUSION == "mctf" and not cfg.TRANSM3E.RECEIVERS:
        raise UserError("TRANSM3E.FUSION mctf fuses MCTs with receivers; set TRANSM3E.RECEIVERS True or FUSION mean")


def _check_target(cfg: CfgNode) -> None:
    """The number of classes is the muscles', or that of the activities, which the clip table tells."""
    classes, exclusive = cfg.MODEL.NUM_CLASSES, cfg.MODEL.LOSS_FUNC in CROSS_ENTROPIES
    if cfg.TASK == LOOKUP_TASK:
        if not exclusive and cfg.TRAIN.ENABLE:
            raise UserError(
                f"TASK {LOOKUP_TASK} learns activities; set MODEL.LOSS_FUNC cross_entropy (it is {cfg.MODEL.LOSS_FUNC})"
            )
        if cfg.DATA.TARGET == ACTIVITY_TARGET:
            raise UserError(
                f"TASK {LOOKUP_TASK} is scored by muscles; set DATA.TARGET auto, or TASK classify to score activities"
            )
        return
    if scored_target(cfg) == ACTIVITY_TARGET:
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


def _check_distill(cfg: CfgNode, name: str) -> None:
    if name != "TransM3E":
        raise UserError(
            f"TASK distill needs a model with receivers; MODEL.MODEL_NAME {name} takes no teacher, set TransM3E"
        )
    if not cfg.TRANSM3E.RECEIVERS:
        raise UserError("TASK distill needs receivers; set TRANSM3E.RECEIVERS True")
    if not cfg.INIT.TEACHER_FROM and cfg.TRAIN.ENABLE:
        raise UserError("TASK distill needs a teacher; set INIT.TEACHER_FROM to a config or a .pyth file")
    if cfg.DISTILL.PAIR_CASE in (2, 3) and cfg.AUG.NUM_SAMPLE != 2:
        raise UserError(
            f"DISTILL.PAIR_CASE {cfg.DISTILL.PAIR_CASE} pairs two clips of a video; "
            f"set AUG.NUM_SAMPLE to 2 (it is {cfg.AUG.NUM_SAMPLE}) or PAIR_CASE to 1 or 4"
        )
    if cfg.AUG.NUM_SAMPLE not in (1, 2):
        raise UserError(
            f"AUG.NUM_SAMPLE is {cfg.AUG.NUM_SAMPLE}, but TASK distill pairs 1 or 2 clips of a video; set it to one of them"
        )
    if cfg.DISTILL.MODALITY == cfg.DATA.MODALITY:
        raise UserError(
            f"student and teacher both see {cfg.DATA.MODALITY}; set DATA.MODALITY or DISTILL.MODALITY to another"
        )


def _reads_labels(cfg: CfgNode) -> bool:
    return cfg.TRAIN.ENABLE or cfg.TEST.ENABLE


def _warnings(cfg: CfgNode) -> Iterable[str]:
    if cfg.TRAIN.ENABLE and cfg.SOLVER.WARMUP_EPOCHS >= cfg.SOLVER.MAX_EPOCH:
        yield (
            f"SOLVER.WARMUP_EPOCHS {cfg.SOLVER.WARMUP_EPOCHS:g} is not shorter than SOLVER.MAX_EPOCH {cfg.SOLVER.MAX_EPOCH}: "
            f"the learning rate never reaches SOLVER.BASE_LR {cfg.SOLVER.BASE_LR:g}; shorten the warm-up, 0 = none"
        )
    # A warning only: PySlowFast's own files name 400 classes and no data.
    muscles = scored_target(cfg) == trained_target(cfg) == MUSCLE_TARGET
    if muscles and _reads_labels(cfg) and not cfg.DATA.PATH_TO_DATA_DIR and cfg.MODEL.NUM_CLASSES != NUM_MUSCLES:
        yield f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but clip tables have {NUM_MUSCLES} muscles"
    name = cfg.MODEL.MODEL_NAME
    if cfg.MODEL.ACT_CHECKPOINT and name not in CAN_CHECKPOINT:
        yield f"MODEL.ACT_CHECKPOINT has no effect on MODEL.MODEL_NAME {name}; only on {', '.join(CAN_CHECKPOINT)}"
    if cfg.SOLVER.COSINE_END_LR > cfg.SOLVER.BASE_LR:
        yield f"SOLVER.COSINE_END_LR {cfg.SOLVER.COSINE_END_LR:g} is above SOLVER.BASE_LR {cfg.SOLVER.BASE_LR:g}: the rate rises"
    if cfg.TEST.VIEWS_FROM == "start" and cfg.TEST.NUM_ENSEMBLE_VIEWS > 1:
        yield (
            f"TEST.NUM_ENSEMBLE_VIEWS {cfg.TEST.NUM_ENSEMBLE_VIEWS} has no effect: TEST.VIEWS_FROM start scores one view, "
            "from frame 0; set NUM_ENSEMBLE_VIEWS 1 or VIEWS_FROM spread"
        )
    scaled = cfg.SOLVER.BASE_LR * cfg.NUM_SHARDS
    if (
        cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS
        and cfg.NUM_SHARDS > 1
        and scaled > 0.005
        and cfg.SOLVER.OPTIMIZING_METHOD == "adamw"
    ):
        yield f"BASE_LR_SCALE_NUM_SHARDS makes the rate {scaled:g}, much for AdamW; was SOLVER.BASE_LR scaled by hand already?"
    if cfg.TRAIN.MIXED_PRECISION and cfg.NUM_GPUS == 0:
        yield "TRAIN.MIXED_PRECISION on a CPU computes in bf16, which is seldom faster there"
