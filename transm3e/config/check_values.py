"""Values that no setting may have: not among the choices, out of range, lists of another kind."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from transm3e.config.check_data import DATA_CHOICES
from transm3e.errors import UserError

# Projects whose parameter names can be read (transm3e.models.weights, which config does not import).
SOURCES = (
    *("auto", "transm3e", "torchvision", "pyslowfast", "pytorchvideo", "timm", "videoswin", "mmaction", "stgcn"),
    "authors",
)
CHOICES = {
    **DATA_CHOICES,
    "TASK": ("classify", "distill", "har_lookup"),
    "BN.NORM_TYPE": ("batchnorm", "sync_batchnorm"),
    "TRAIN.AMP_DTYPE": ("auto", "bf16", "fp16"),
    "TRAIN.CHECKPOINT_SOURCE": (*SOURCES, "authors_teacher"),
    "TEST.CHECKPOINT_SOURCE": SOURCES,
    "TEST.WHICH_CHECKPOINT": ("last", "best"),
    "TEST.VIEWS_FROM": ("spread", "start"),
    "TEST.NUM_SPATIAL_CROPS": (1, 3),
    "TRANSM3E.RECEIVER_INIT": ("normal", "zeros"),
    "TRANSM3E.FUSION": (
        *("mean", "sum", "concat", "multiply", "self_attention", "cross_attention", "bottleneck"),
        "mctf",
    ),
    "TRANSM3E.READOUT": ("mean", "class_tokens"),
    "DISTILL.METHOD": ("mctkd", "kd", "logits", "deit"),
    "DISTILL.POSITION": ("dense", "sparse", "final", "patch_embed"),
    "TWO_BRANCH.FUSION": (
        *("late_sum", "late_concat", "late_mul", "cross_attention"),
        *("pe_sum", "pe_concat", "pe_mul", "mixed"),
    ),
    "DISTILL.AXIS": ("token", "channel", "full"),
    "DISTILL.REDUCTION": ("mean", "batchmean"),
    "DISTILL.PAIR_CASE": (1, 2, 3, 4),
    "SOLVER.OPTIMIZING_METHOD": ("adamw", "sgd"),
    "SOLVER.LR_POLICY": ("cosine", "constant", "steps_with_relative_lrs"),
}
AT_LEAST_ONE = (
    "NUM_SHARDS",
    "TRAIN.BATCH_SIZE",
    "TRAIN.ACCUM_STEPS",
    "TRAIN.MOST_SKIPPED",
    "TEST.BATCH_SIZE",
    "TEST.NUM_ENSEMBLE_VIEWS",
    "DATA.NUM_FRAMES",
    "DATA.SAMPLING_RATE",
    "DATA.TRAIN_CROP_SIZE",
    "DATA.TEST_CROP_SIZE",
    "AUG.NUM_SAMPLE",
    "AUG.RE_COUNT",
    "SKELETON.NUM_PERSONS",
    "RESNET.WIDTH_PER_GROUP",
    "SLOWFAST.ALPHA",
    "SLOWFAST.BETA_INV",
    "SLOWFAST.FUSION_CONV_CHANNEL_RATIO",
    "SLOWFAST.FUSION_KERNEL_SZ",
    "VIDEOSWIN.EMBED_DIM",
    "STGCN.WIDTH",
    "STGCN.TEMPORAL_KERNEL",
    "POSENET.WIDTH",
    "CTRGCN.WIDTH",
    "CTRGCN.TEMPORAL_KERNEL",
    "CTRGCN.REDUCTION",
    "HDGCN.WIDTH",
    "HDGCN.TEMPORAL_KERNEL",
    "MODEL.NUM_CLASSES",
    "MVIT.DEPTH",
    "MVIT.EMBED_DIM",
    "MVIT.NUM_HEADS",
    "MCTF.NUM_HEADS",
    "TRANSM3E.NUM_MCTS",
    "SOLVER.MAX_EPOCH",
    "LOG_PERIOD",
)
# Of the numbers above: what counts clips, pixels or channels, and blocks, which are looked at one by one.
MAX_SIZE, MAX_DEPTH = 2**31 - 1, 1000
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
    "AUG.JOINT_NOISE",
    "AUG.JOINT_TILT",
    "AUG.JOINT_TURN",
    "POSENET.DEPTH",
    "MIXUP.ALPHA",
    "MIXUP.CUTMIX_ALPHA",
    "DISTILL.ALPHA",
    "DISTILL.NUM_BLOCKS",
    "DISTILL.WEIGHT",
    "DISTILL.CLASS_WEIGHT",
    "MCTF.SCALE",
    "SOLVER.BASE_LR",
    "SOLVER.COSINE_END_LR",
    "SOLVER.WARMUP_START_LR",
    "SOLVER.WEIGHT_DECAY",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.CLIP_GRAD_L2NORM",
    "MODEL.FC_INIT_STD",
)
POSITIVE = (
    "DIST_TIMEOUT",
    "DATA.DECODE_TIMEOUT",
    "DISTILL.TEMPERATURE",
    "MCTF.MLP_RATIO",
    "MVIT.MLP_RATIO",
    "VIDEOSWIN.MLP_RATIO",
)
SHARES = (
    "AUG.RE_PROB",
    "MIXUP.PROB",
    "MIXUP.SWITCH_PROB",
    "MIXUP.LABEL_SMOOTH_VALUE",
    "AUG.PAUSES",
    "AUG.JOINT_DROPOUT",
    "AUG.JOINT_STRETCH",
    "POSENET.INPUT_DROPOUT",
    "STGCN.DROPOUT",
    "CTRGCN.DROPOUT",
    "HDGCN.DROPOUT",
    "VIDEOSWIN.DROPOUT_RATE",
    "VIDEOSWIN.ATTENTION_DROPOUT_RATE",
    "VIDEOSWIN.DROPPATH_RATE",
    "MCTF.DROPOUT",
    "MCTF.DROPPATH_RATE",
    "MODEL.DROPOUT_RATE",
    "MVIT.DROPOUT_RATE",
    "MVIT.DROPPATH_RATE",
)
# Numbers in a list, and the least of them.
LISTS = {
    "AUG.TEMPO": (2, 0),
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
    "VIDEOSWIN.PATCH_SIZE": (3, 1),
    "VIDEOSWIN.WINDOW_SIZE": (3, 1),
}
# Of these, lists whose numbers are above 0, and ranges from a lower to an upper end.
ABOVE_0 = ("AUG.TEMPO", "DATA.STD", "DATA.TRAIN_JITTER_ASPECT_RELATIVE", "DATA.TRAIN_JITTER_SCALES_RELATIVE")
ASCENDING = ("AUG.TEMPO", "DATA.TRAIN_JITTER_ASPECT_RELATIVE", "DATA.TRAIN_JITTER_SCALES_RELATIVE")
# Of these and the lists below, those of whole numbers.
WHOLE = (
    "MVIT.PATCH_KERNEL",
    "MVIT.PATCH_PADDING",
    "MVIT.PATCH_STRIDE",
    "MVIT.POOL_KVQ_KERNEL",
    "MVIT.POOL_KV_STRIDE_ADAPTIVE",
    "MVIT.POOL_Q_STRIDE",
    "VIDEOSWIN.PATCH_SIZE",
    "VIDEOSWIN.WINDOW_SIZE",
)
# Lists of such lists; each begins with a block's number.
BLOCK_LISTS = {"MVIT.DIM_MUL": 2, "MVIT.HEAD_MUL": 2, "MVIT.POOL_Q_STRIDE": 4}
# What PyTorch's generators take as a signed number.
MAX_SEED = 2**63 - 1
SPLITS = ("known_val", "new_val", "known_test", "new_test")


def check_values(cfg: CfgNode) -> None:
    """Refuse values that are wrong whatever the others are.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    _check_values(cfg)
    _check_lists(cfg)
    _check_ranges(cfg)


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
        most = MAX_DEPTH if key.endswith("DEPTH") else MAX_SIZE
        if get(cfg, key) < 1:
            raise UserError(f"{key} is {get(cfg, key)}; it must be at least 1")
        if get(cfg, key) > most:
            raise UserError(f"{key} is {get(cfg, key)}; it must be at most {most}")
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
    steps, rates = cfg.SOLVER.STEPS, cfg.SOLVER.LRS
    numbers = all(isinstance(each, int | float) and each >= 0 for each in (*steps, *rates))
    wanted = cfg.SOLVER.LR_POLICY == "steps_with_relative_lrs" or steps or rates
    if wanted and not (
        numbers and steps and len(steps) == len(rates) and steps[0] == 0 and steps == sorted(set(steps))
    ):
        raise UserError(
            f"SOLVER.STEPS is {steps} and SOLVER.LRS {rates}; STEPS must be rising epochs from 0 on, and LRS as many shares of "
            "BASE_LR, as STEPS [0, 5], LRS [1, 0.1]"
        )
    if max(cfg.SOLVER.BETAS) >= 1:
        raise UserError(f"SOLVER.BETAS is {cfg.SOLVER.BETAS}; each must be below 1")
    if not 0 <= cfg.SOLVER.MOMENTUM < 1:
        raise UserError(f"SOLVER.MOMENTUM is {cfg.SOLVER.MOMENTUM}; it must be from 0 to below 1")
