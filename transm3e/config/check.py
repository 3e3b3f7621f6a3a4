"""Settings that contradict each other are refused before anything is built; surely wrong ones get a warning."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from fvcore.common.config import CfgNode

from transm3e.config.check_baselines import CAN_CHECKPOINT, GROUPS, check_baselines
from transm3e.config.check_data import WITHOUT_WEIGHTS, check_data, data_warnings
from transm3e.config.check_sizes import check_sizes, size_warnings
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
# Methods of distillation that compare class tokens; the others compare logits.
ON_TOKENS = ("mctkd", "kd")
# Settings in which teacher and student must agree: both see the same clips, and their tokens or logits are compared.
SHARED_CLIPS = ("DATA.NUM_FRAMES", "DATA.TRAIN_CROP_SIZE")
SHARED_TOKENS = (
    "MODEL.MODEL_NAME",
    *SHARED_CLIPS,
    "MVIT.EMBED_DIM",
    "MVIT.DEPTH",
    "MVIT.DIM_MUL",
    "TRANSM3E.NUM_MCTS",
)
SHARED_LOGITS = (*SHARED_CLIPS, "MODEL.NUM_CLASSES")
# Settings in which a student and the run it starts from must agree, besides the backbone's.
SHARED_WITH_START = (
    "MODEL.MODEL_NAME",
    "MODEL.NUM_CLASSES",
    "DATA.MODALITY",
    "DATA.NUM_FRAMES",
    "DATA.TRAIN_CROP_SIZE",
    "TRANSM3E.NUM_MCTS",
    "TRANSM3E.READOUT",
)
# Fusions (TRANSM3E.FUSION) that learn nothing themselves.
WITHOUT_PARAMETERS = ("mean", "sum", "multiply")
# Settings of the backbone that leave its weights' shapes and meaning alone.
REGULARISATION = ("DROPOUT", "DROPOUT_RATE", "ATTENTION_DROPOUT_RATE", "DROPPATH_RATE", "ZERO_INIT_FINAL_BN")
# Model -> another model whose weights it takes, too; what that one has not keeps its drawn values.
ALSO_STARTS_FROM = {"DeiT": "MViT"}
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
    for warning in (*_warnings(cfg), *size_warnings(cfg), *data_warnings(cfg)):
        logger.warning("%s", warning)


def check_teacher(cfg: CfgNode, teacher: CfgNode, path: str) -> None:
    """Whether what DISTILL.METHOD compares of a teacher can be compared with the student's.

    Raises:
        UserError: names the first setting in which they differ.
    """
    on_tokens = cfg.DISTILL.METHOD in ON_TOKENS
    shared = SHARED_TOKENS if on_tokens else SHARED_LOGITS
    _check_equal(
        cfg, teacher, {"DATA.MODALITY": "DISTILL.MODALITY"} | {key: key for key in shared}, f"the teacher {path}"
    )
    if not on_tokens and trained_target(teacher) != trained_target(cfg):
        raise UserError(
            f"the classes are {trained_target(cfg)} here, but {trained_target(teacher)} in the teacher {path}, and "
            f"DISTILL.METHOD {cfg.DISTILL.METHOD} compares logits; make DATA.TARGET and TASK har_lookup fit, or take "
            "another teacher"
        )
    _warn_of_other_clips(cfg, teacher, f"the teacher {path}")


def check_student(cfg: CfgNode, start: CfgNode, path: str) -> None:
    """Whether a model can start from the weights of the run of another config.

    Raises:
        UserError: names the first setting in which they differ.
    """
    name = cfg.MODEL.MODEL_NAME
    own = [f"{group}.{key}" for group in GROUPS.get(name, ()) for key in cfg[group] if key not in REGULARISATION]
    shared = [key for key in SHARED_WITH_START if not key.startswith("TRANSM3E.") or "MVIT" in GROUPS.get(name, ())]
    keys = {key: key for key in (*shared, *(["MODEL.ARCH"] if name == "ResNet" else []), *own)}
    if ALSO_STARTS_FROM.get(cfg.MODEL.MODEL_NAME) == start.MODEL.MODEL_NAME:
        del keys["MODEL.MODEL_NAME"]
    _check_equal(cfg, start, keys, f"the starting weights {path}")
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
    if cfg.BN.NORM_TYPE == "sync_batchnorm" and cfg.NUM_GPUS == 0 and cfg.TRAIN.ENABLE:
        raise UserError("BN.NORM_TYPE sync_batchnorm needs GPUs, but NUM_GPUS is 0; set NORM_TYPE batchnorm")
    if cfg.TRAIN.FSDP and cfg.TRAIN.ENABLE:
        _check_fsdp(cfg)
    if cfg.TEST.BATCH_SIZE % gpus:
        raise UserError(
            f"TEST.BATCH_SIZE {cfg.TEST.BATCH_SIZE} (per machine) must divide by NUM_GPUS {cfg.NUM_GPUS}; change one of them"
        )


def _check_fsdp(cfg: CfgNode) -> None:
    if cfg.TRAIN.COMPILE:
        raise UserError("TRAIN.FSDP and TRAIN.COMPILE do not go together; set one of them False")
    if cfg.BN.NORM_TYPE == "sync_batchnorm":
        raise UserError(
            "TRAIN.FSDP and BN.NORM_TYPE sync_batchnorm do not go together; set FSDP False or NORM_TYPE batchnorm"
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
        if cfg.TRANSM3E.RECEIVERS and cfg.TRANSM3E.FUSION in WITHOUT_PARAMETERS and cfg.TRAIN.ENABLE:
            raise UserError(
                f"TRANSM3E.RECEIVERS is True, but nobody sends in TASK {cfg.TASK}; set TASK distill or RECEIVERS False"
            )
    else:
        _check_distill(cfg, name)
    if cfg.TRANSM3E.FUSION != "mean" and not cfg.TRANSM3E.RECEIVERS:
        raise UserError(
            f"TRANSM3E.FUSION {cfg.TRANSM3E.FUSION} fuses MCTs with receivers; set TRANSM3E.RECEIVERS True or FUSION mean"
        )


def _check_target(cfg: CfgNode) -> None:
    """The number of classes is the muscles', or that of the activities, which the clip table tells."""
    classes, exclusive = cfg.MODEL.NUM_CLASSES, cfg.MODEL.LOSS_FUNC in CROSS_ENTROPIES
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
    _check_method(cfg, name)
    if cfg.DISTILL.WEIGHT == cfg.DISTILL.CLASS_WEIGHT == 0:
        raise UserError("DISTILL.WEIGHT and DISTILL.CLASS_WEIGHT are both 0, so nothing is learnt; set one above 0")
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
    if cfg.DISTILL.CENTRE and cfg.DISTILL.METHOD not in ON_TOKENS:
        raise UserError(
            f"DISTILL.CENTRE centres tokens, but DISTILL.METHOD {cfg.DISTILL.METHOD} compares logits; set CENTRE False"
        )
    if cfg.DISTILL.CENTRE and cfg.DISTILL.POSITION == "patch_embed":
        raise UserError(
            "DISTILL.CENTRE leaves nothing of the tokens at DISTILL.POSITION patch_embed, which are the same for every clip; "
            "set CENTRE False or another POSITION"
        )
    if cfg.DISTILL.METHOD in ON_TOKENS and cfg.DISTILL.MODALITY == cfg.DATA.MODALITY:
        raise UserError(
            f"student and teacher both see {cfg.DATA.MODALITY}; set DATA.MODALITY or DISTILL.MODALITY to another"
        )


def _check_method(cfg: CfgNode, name: str) -> None:
    """Whether the student has what DISTILL.METHOD teaches: MCTs, receivers, a distillation head, or logits alone."""
    method, receivers = cfg.DISTILL.METHOD, cfg.TRANSM3E.RECEIVERS
    if method in ON_TOKENS and name != "TransM3E":
        raise UserError(
            f"DISTILL.METHOD {method} needs a model with MCTs, which MODEL.MODEL_NAME {name} has not; "
            "set TransM3E, or METHOD logits"
        )
    if (method == "deit") != (name == "DeiT"):
        raise UserError(
            f"DISTILL.METHOD deit teaches the distillation head of MODEL.MODEL_NAME DeiT and nothing else does, but they "
            f"are {method} and {name}; set both or neither"
        )
    if method == "mctkd" and not receivers:
        raise UserError("DISTILL.METHOD mctkd needs receivers; set TRANSM3E.RECEIVERS True, or METHOD kd")
    if method != "mctkd" and receivers and name == "TransM3E":
        raise UserError(
            f"TRANSM3E.RECEIVERS is True, but DISTILL.METHOD {method} teaches no receivers; set it False, or METHOD mctkd"
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
    if cfg.TASK == "distill":
        yield from _distill_warnings(cfg)
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


def _distill_warnings(cfg: CfgNode) -> Iterable[str]:
    method, position = cfg.DISTILL.METHOD, cfg.DISTILL.POSITION
    if method not in ON_TOKENS and position != "dense":
        yield f"DISTILL.POSITION {position} has no effect on DISTILL.METHOD {method}, which compares logits"
    elif position != "dense" and cfg.DISTILL.NUM_BLOCKS:
        yield (
            f"DISTILL.NUM_BLOCKS {cfg.DISTILL.NUM_BLOCKS} has no effect on DISTILL.POSITION {position}, where the loss is "
            "the mean over its places"
        )
    if method in ON_TOKENS and cfg.DISTILL.AXIS == "token" and cfg.TRANSM3E.NUM_MCTS == 1:
        yield (
            "DISTILL.AXIS token is a softmax over the tokens, always 1 for a single one, and TRANSM3E.NUM_MCTS is 1: "
            "the distillation loss is always 0; set AXIS channel, or more tokens"
        )
