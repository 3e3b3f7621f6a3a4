"""Sizes of the baselines that do not fit each other are refused before they are built."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from transm3e.config.check_data import GRAPH_MODELS, POSE_MODEL
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS

RESNET_ARCHS = ("c2d", "i3d", "slow", "c2d_nopool", "i3d_nopool")
# Layers -> blocks of each stage.
RESNET_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
ON_RESNET = ("ResNet", "SlowFast")
# Model -> its keys; a name ending in "." stands for its group.
GROUPS = {
    **dict.fromkeys(("MViT", "DeiT"), ("MVIT.",)),
    "TransM3E": ("MVIT.", "TRANSM3E.", "MCTF."),
    "TwoBranch": ("MVIT.", "TWO_BRANCH."),
    "ResNet": ("RESNET.", "MODEL.ARCH"),
    "SlowFast": ("RESNET.", "SLOWFAST."),
    "VideoSwin": ("VIDEOSWIN.",),
    **{name: (f"{name}.", "SKELETON.") for name in GRAPH_MODELS},
    POSE_MODEL: ("POSENET.", "SKELETON."),
}
# Models whose blocks can be computed again in the backward pass.
CAN_CHECKPOINT = ("MViT", "TransM3E", "VideoSwin", "ResNet", "SlowFast", "TwoBranch")


def check_baselines(cfg: CfgNode) -> None:
    """Refuse sizes with which the baseline that the config names cannot be built or cannot run.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    name = cfg.MODEL.MODEL_NAME
    if name == "ResNet" and cfg.MODEL.ARCH not in RESNET_ARCHS:
        raise UserError(
            f"MODEL.ARCH is {cfg.MODEL.ARCH!r}, but MODEL.MODEL_NAME ResNet is one of {', '.join(RESNET_ARCHS)}; set it"
        )
    if name in ON_RESNET:
        _check_resnet(cfg)
    if name == "SlowFast":
        _check_slowfast(cfg)
    if name == "VideoSwin":
        _check_videoswin(cfg)
    if name in GRAPH_MODELS:
        _check_graph(cfg, name)


def _check_resnet(cfg: CfgNode) -> None:
    depth, temporal = cfg.RESNET.DEPTH, cfg.RESNET.NUM_BLOCK_TEMP_KERNEL
    if depth not in RESNET_DEPTHS:
        raise UserError(f"RESNET.DEPTH is {depth}; allowed: {', '.join(map(str, RESNET_DEPTHS))}")
    stages = [stage if isinstance(stage, list) else [stage] for stage in temporal]
    most = RESNET_DEPTHS[depth]
    if temporal and (
        len(stages) != len(most)
        or any(
            not of or any(type(number) is not int or number != of[0] or not 0 <= number <= blocks for number in of)
            for of, blocks in zip(stages, most, strict=True)
        )
    ):
        raise UserError(
            f"RESNET.NUM_BLOCK_TEMP_KERNEL is {temporal}; it must hold one number of blocks for each stage, alike in both "
            f"pathways, up to {[[blocks] for blocks in most]} for RESNET.DEPTH {depth}; [] = all"
        )


def _check_slowfast(cfg: CfgNode) -> None:
    alpha, beta_inv = cfg.SLOWFAST.ALPHA, cfg.SLOWFAST.BETA_INV
    if cfg.DATA.NUM_FRAMES % alpha:
        raise UserError(
            f"DATA.NUM_FRAMES {cfg.DATA.NUM_FRAMES} must be a multiple of SLOWFAST.ALPHA {alpha}: the slow pathway sees "
            "every ALPHA-th frame; change one of them"
        )
    if cfg.RESNET.WIDTH_PER_GROUP % beta_inv:
        raise UserError(
            f"RESNET.WIDTH_PER_GROUP {cfg.RESNET.WIDTH_PER_GROUP} must be a multiple of SLOWFAST.BETA_INV {beta_inv}: the "
            "fast pathway has 1 / BETA_INV of the channels; change one of them"
        )
    if cfg.SLOWFAST.FUSION_KERNEL_SZ % 2 == 0:
        raise UserError(f"SLOWFAST.FUSION_KERNEL_SZ is {cfg.SLOWFAST.FUSION_KERNEL_SZ}; it must be odd")


def _check_videoswin(cfg: CfgNode) -> None:
    depths, heads = cfg.VIDEOSWIN.DEPTHS, cfg.VIDEOSWIN.NUM_HEADS
    for key, value in (("DEPTHS", depths), ("NUM_HEADS", heads)):
        if not value or not all(type(number) is int and number >= 1 for number in value):
            raise UserError(f"VIDEOSWIN.{key} is {value}; it must be a list of whole numbers, one for each stage")
    if len(depths) != len(heads):
        raise UserError(f"VIDEOSWIN.DEPTHS {depths} and NUM_HEADS {heads} must have one number for each stage")
    for stage, count in enumerate(heads):
        if cfg.VIDEOSWIN.EMBED_DIM * 2**stage % count:
            raise UserError(
                f"VIDEOSWIN.NUM_HEADS is {heads}, but {count} heads do not divide {cfg.VIDEOSWIN.EMBED_DIM * 2**stage}, the "
                f"width of stage {stage + 1}; change NUM_HEADS or VIDEOSWIN.EMBED_DIM"
            )


def _check_graph(cfg: CfgNode, group: str) -> None:
    settings = cfg[group]
    if settings.TEMPORAL_KERNEL % 2 == 0:
        raise UserError(f"{group}.TEMPORAL_KERNEL is {settings.TEMPORAL_KERNEL}; it must be odd")
    names = LAYOUTS[cfg.SKELETON.LAYOUT].names
    if group == "HDGCN" and settings.CENTRE and not {settings.CENTRE, f"left_{settings.CENTRE}"} & {*names}:
        raise UserError(
            f"HDGCN.CENTRE is {settings.CENTRE!r}; allowed with SKELETON.LAYOUT {cfg.SKELETON.LAYOUT}: '', "
            f"{', '.join(names)}, or two of them without their side, as hip"
        )
    if group == "CTRGCN" and settings.REDUCTION > settings.WIDTH:
        raise UserError(f"CTRGCN.REDUCTION is {settings.REDUCTION}; it must be at most CTRGCN.WIDTH {settings.WIDTH}")
    if "DILATIONS" not in settings:
        return
    dilations = settings.DILATIONS
    if not dilations or not all(type(number) is int and number >= 1 for number in dilations):
        raise UserError(f"{group}.DILATIONS is {dilations}; it must be a list of whole numbers, each at least 1")
    branches = len(dilations) + 2
    if settings.WIDTH % branches:
        raise UserError(
            f"{group}.WIDTH {settings.WIDTH} must be a multiple of {branches}, the branches of its temporal convolution: "
            f"{len(dilations)} of {group}.DILATIONS, max pool and 1x1; change one of them"
        )
