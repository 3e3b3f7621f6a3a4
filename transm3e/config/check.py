"""Settings that contradict each other are refused before anything is built; surely wrong ones get a warning."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from fvcore.common.config import CfgNode

from transm3e.config.check_data import DATA_CHOICES, WITHOUT_WEIGHTS, check_data, data_warnings
from transm3e.config.check_sizes import check_sizes
from transm3e.errors import UserError

logger = logging.getLogger(__name__)

# Projects whose parameter names can be read (transm3e.models.weights, which config does not import).
SOURCES = ("auto", "transm3e", "torchvision", "pyslowfast", "pytorchvideo", "timm", "authors")
CHOICES = {
    **DATA_CHOICES,
    "TASK": ("classify", "distill"),
    "TRAIN.AMP_DTYPE": ("auto", "bf16", "fp16"),
    "TRAIN.CHECKPOINT_SOURCE": (*SOURCES, "authors_teacher"),
    "TEST.CHECKPOINT_SOURCE": SOURCES,
    "TEST.WHICH_CHECKPOINT": ("last", "best"),
    "TEST.VIEWS_FROM": ("spread", "start"),
    "TEST.NUM_SPATIAL_CROPS": (1, 3),
    "TRANSM3E.RECEIVER_INIT": ("normal", "zeros"),
    "TRANSM3E.FUSION": ("mean", "mctf"),
    "DISTILL.AXIS": ("token", "channel", "full"),
    "DISTILL.REDUCTION": ("mean", "batchmean"),
    "DISTILL.PAIR_CASE": (1, 2, 3, 4),
    "SOLVER.OPTIMIZING_METHOD": ("adamw", "sgd"),
    "SOLVER.LR_POLICY": ("cosine", "constant"),
}
AT_LEAST_ONE = (
    "NUM_SHARDS",
    "TRAIN.BATCH_SIZE",
    "TRAIN.ACCUM_STEPS",
    "TEST.BATCH_SIZE",
    "TEST.NUM_ENSEMBLE_VIEWS",
    "DATA.NUM_FRAMES",
    "DATA.SAMPLING_RATE",
    "DATA.TRAIN_CROP_SIZE",
    "DATA.TEST_CROP_SIZE",
    "AUG.NUM_SAMPLE",
    "AUG.RE_COUNT",
    "SKELETON.NUM_PERSONS",
    "STGCN.TEMPORAL_KERNEL",
    "MODEL.NUM_CLASSES",
    "MVIT.DEPTH",
    "MVIT.EMBED_DIM",
    "MVIT.NUM_HEADS",
    "MCTF.NUM_HEADS",
    "TRANSM3E.NUM_MCTS",
    "SOLVER.MAX_EPOCH",
    "LOG_PERIOD",
)
NOT_NEGATIVE = (
    "CPU_THREADS",
    "NUM_GPUS",
    "SHARD_ID",
    "RNG_SEED",
    "TRAIN.EVAL_PERIOD",
    "TRAIN.CHECKPOINT_PERIOD",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.KEEP_CHECKPOINTS",
    "DATA_LOADER.NUM_WORKERS",
    "DATA.TARGET_FPS",
    "AUG.COLOR_JITTER",
    "MIXUP.ALPHA",
    "MIXUP.CUTMIX_ALPHA",
    "DISTILL.ALPHA",
    "DISTILL.NUM_BLOCKS",
    "DISTILL.WEIGHT",
    "MCTF.SCALE",
    "SOLVER.BASE_LR",
    "SOLVER.COSINE_END_LR",
    "SOLVER.WARMUP_START_LR",
    "SOLVER.WEIGHT_DECAY",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.CLIP_GRAD_L2NORM",
)
POSITIVE = ("DATA.DECODE_TIMEOUT", "DISTILL.TEMPERATURE", "MCTF.MLP_RATIO", "MVIT.MLP_RATIO")
SHARES = (
    "AUG.RE_PROB",
    "MIXUP.PROB",
    "MIXUP.SWITCH_PROB",
    "MIXUP.LABEL_SMOOTH_VALUE",
    "STGCN.DROPOUT",
    "MCTF.DROPOUT",
    "MCTF.DROPPATH_RATE",
    "MODEL.DROPOUT_RATE",
    "MVIT.DROPOUT_RATE",
    "MVIT.DROPPATH_RATE",
)
# Numbers in a list, and the least of them.
LISTS = {
    "DATA.MEAN": (3, 0),
    "DATA.STD": (3, 0),
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": (2, 0),
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": (2, 0),
    "MVIT.PATCH_KERNEL": (3, 1),
    "MVIT.PATCH_PADDING": (3, 0),
    "MVIT.PATCH_STRIDE": (3, 1),
    "MVIT.POOL_KVQ_KERNEL": (3, 1),
    "MVIT.POOL_KV_STRIDE_ADAPTIVE": (3, 1),
    "SOLVER.BETAS": (2, 0),
}
# Of these, lists whose numbers are above 0, and ranges from a lower to an upper end.
ABOVE_0 = ("DATA.STD", "DATA.TRAIN_JITTER_ASPECT_RELATIVE", "DATA.TRAIN_JITTER_SCALES_RELATIVE")
ASCENDING = ("DATA.TRAIN_JITTER_ASPECT_RELATIVE", "DATA.TRAIN_JITTER_SCALES_RELATIVE")
# Of these and the lists below, those of whole numbers.
WHOLE = (
    "MVIT.PATCH_KERNEL",
    "MVIT.PATCH_PADDING",
    "MVIT.PATCH_STRIDE",
    "MVIT.POOL_KVQ_KERNEL",
    "MVIT.POOL_KV_STRIDE_ADAPTIVE",
    "MVIT.POOL_Q_STRIDE",
)
# Lists of such lists; each begins with a block's number.
BLOCK_LISTS = {"MVIT.DIM_MUL": 2, "MVIT.HEAD_MUL": 2, "MVIT.POOL_Q_STRIDE": 4}
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
# What PyTorch's generators take as a signed number.
MAX_SEED = 2**63 - 1
# Columns of a clip table's labels.
NUM_MUSCLES = 20
SPLITS = ("known_val", "new_val", "known_test", "new_test")


def check_cfg(cfg: CfgNode) -> None:
    """Refuse what contradicts itself and warn of what is surely wrong.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    _check_values(cfg)
    _check_lists(cfg)
    _check_ranges(cfg)
    _check_batches(cfg)
    check_sizes(cfg)
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


def get(cfg: CfgNode, key: str):
    """The value of a dotted key."""
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _check_values(cfg: CfgNode) -> None:
    for key, allowed in CHOICES.items():
        if get(cfg, key) not in allowed:
            raise UserError(f"{key} is {get(cfg, key)!r}; allowed: {', '.join(map(str, allowed))}")
    for key in AT_LEAST_ONE:
        if get(cfg, key) < 1:
            raise UserError(f"{key} is {get(cfg, key)}; it must be at least 1")
    for key in NOT_NEGATIVE:
        if get(cfg, key) < 0:
            raise UserError(f"{key} is {get(cfg, key)}; it must not be negative")
    for key in POSITIVE:
        if get(cfg, key) <= 0:
            raise UserError(f"{key} is {get(cfg, key)}; it must be above 0")
    for key in SHARES:
        if not 0 <= get(cfg, key) <= 1:
            raise UserError(f"{key} is {get(cfg, key)}; it must be from 0 to 1")
    unknown = [split for split in cfg.TEST.SPLITS if split not in SPLITS]
    if unknown:
        raise UserError(f"TEST.SPLITS names {', '.join(map(str, unknown))}; allowed: {', '.join(SPLITS)}")
    if cfg.RNG_SEED > MAX_SEED:
        raise UserError(f"RNG_SEED is {cfg.RNG_SEED}; it must be at most 2**63 - 1 = {MAX_SEED}")
    if not all(isinstance(name, str) and name for name in cfg.TRAIN.CHECKPOINT_ALLOW):
        raise UserError(
            f"TRAIN.CHECKPOINT_ALLOW is {cfg.TRAIN.CHECKPOINT_ALLOW}; it must hold beginnings of parameter names, as head."
        )
    if cfg.SHARD_ID >= cfg.NUM_SHARDS:
        raise UserError(
            f"SHARD_ID is {cfg.SHARD_ID}, but machines count from 0 to NUM_SHARDS - 1 = {cfg.NUM_SHARDS - 1}"
        )
    if cfg.DEMO.ENABLE and not cfg.DEMO.INPUT_VIDEO:
        raise UserError("DEMO.ENABLE is True, but DEMO.INPUT_VIDEO is empty; name a video file or a folder")


def _check_lists(cfg: CfgNode) -> None:
    for key, (length, least) in LISTS.items():
        if not _is_numbers(get(cfg, key), length, least, key in WHOLE):
            kind = "whole numbers" if key in WHOLE else "numbers"
            raise UserError(f"{key} is {get(cfg, key)}; it must be {length} {kind}, each at least {least}")
    for key, length in BLOCK_LISTS.items():
        for entry in get(cfg, key):
            if not _is_numbers(entry, length, 0, key in WHOLE) or min(entry[1:]) <= 0:
                kind = "whole numbers above 0" if key in WHOLE else "above 0"
                raise UserError(f"{key} holds {entry}; an entry is a block's number and {length - 1} {kind}")


def _is_numbers(value: object, length: int, least: int, whole: bool) -> bool:
    types = (int,) if whole else (int, float)
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(number) in types and number >= least for number in value)
    )


def _check_ranges(cfg: CfgNode) -> None:
    for key in ABOVE_0:
        if min(get(cfg, key)) <= 0:
            raise UserError(f"{key} is {get(cfg, key)}; all its numbers must be above 0")
    for key in ASCENDING:
        if get(cfg, key) != sorted(get(cfg, key)):
            raise UserError(f"{key} is {get(cfg, key)}; it must be the lower and then the upper end, swap them")
    if cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE[1] > 1:
        raise UserError(
            f"DATA.TRAIN_JITTER_SCALES_RELATIVE is {cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE}; it must end at 1, the whole frame, or below"
        )
    if max(cfg.SOLVER.BETAS) >= 1:
        raise UserError(f"SOLVER.BETAS is {cfg.SOLVER.BETAS}; each must be below 1")
    if not 0 <= cfg.SOLVER.MOMENTUM < 1:
        raise UserError(f"SOLVER.MOMENTUM is {cfg.SOLVER.MOMENTUM}; it must be from 0 to below 1")


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
    if cfg.MODEL.NUM_CLASSES != NUM_MUSCLES and (cfg.DEMO.ENABLE or (_reads_labels(cfg) and cfg.DATA.PATH_TO_DATA_DIR)):
        raise UserError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but clip tables and scores have {NUM_MUSCLES} muscles; "
            f"set it to {NUM_MUSCLES}"
        )
    if cfg.INIT.STUDENT_FROM and cfg.TRAIN.CHECKPOINT_FILE_PATH:
        raise UserError(
            f"INIT.STUDENT_FROM {cfg.INIT.STUDENT_FROM} and TRAIN.CHECKPOINT_FILE_PATH {cfg.TRAIN.CHECKPOINT_FILE_PATH} "
            "both name starting weights; remove one of them"
        )
    if cfg.TASK == "classify":
        if cfg.INIT.TEACHER_FROM:
            raise UserError(
                "INIT.TEACHER_FROM is set, but TASK classify takes no teacher; set TASK distill or remove it"
            )
        # A trained student is scored without a teacher.
        if cfg.TRANSM3E.RECEIVERS and cfg.TRANSM3E.FUSION == "mean" and cfg.TRAIN.ENABLE:
            raise UserError(
                "TRANSM3E.RECEIVERS is True, but nobody sends in TASK classify; set TASK distill or RECEIVERS False"
            )
    else:
        _check_distill(cfg, name)
    if cfg.TRANSM3E.FUSION == "mctf" and not cfg.TRANSM3E.RECEIVERS:
        raise UserError("TRANSM3E.FUSION mctf fuses MCTs with receivers; set TRANSM3E.RECEIVERS True or FUSION mean")


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
    if _reads_labels(cfg) and not cfg.DATA.PATH_TO_DATA_DIR and cfg.MODEL.NUM_CLASSES != NUM_MUSCLES:
        yield f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but clip tables have {NUM_MUSCLES} muscles"
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
