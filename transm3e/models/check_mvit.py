"""Sizes of networks on MViT that do not fit each other are refused before they are built."""

from __future__ import annotations

from collections.abc import Iterator

from fvcore.common.config import CfgNode

from transm3e.config.schema import MAX_SIZE
from transm3e.errors import UserError

# Lists whose entries begin with a block's number.
BLOCK_LISTS = ("POOL_Q_STRIDE", "DIM_MUL", "HEAD_MUL")


def check_mvit(cfg: CfgNode) -> None:
    """Refuse sizes with which the backbone cannot be built or cannot run.

    Raises:
        UserError: names the key, its value, what is allowed and what to change.
    """
    _check_blocks(cfg)
    _check_clip(cfg)
    last_width(cfg)


def _check_blocks(cfg: CfgNode) -> None:
    depth = cfg.MVIT.DEPTH
    for key in BLOCK_LISTS:
        blocks = [block for block, *_ in cfg.MVIT[key]]
        for block in blocks:
            if block not in range(depth):
                raise UserError(
                    f"MVIT.{key} names block {block}, but with MVIT.DEPTH {depth} blocks are 0 to {depth - 1}; change one of them"
                )
            if blocks.count(block) > 1:
                raise UserError(f"MVIT.{key} names block {block} twice; keep one of its entries")
    if any(kernel % 2 != 1 for kernel in cfg.MVIT.POOL_KVQ_KERNEL):
        raise UserError(f"MVIT.POOL_KVQ_KERNEL is {cfg.MVIT.POOL_KVQ_KERNEL}; it must be three odd numbers")
    # The shortcut's max-pooling has a kernel of stride + 1, padded by half of the stride.
    for block, *stride in cfg.MVIT.POOL_Q_STRIDE:
        if any(step != 1 and step % 2 for step in stride):
            raise UserError(f"MVIT.POOL_Q_STRIDE gives block {block} the stride {stride}; each must be 1 or even")


def _check_clip(cfg: CfgNode) -> None:
    stride_t, stride_h, stride_w = cfg.MVIT.PATCH_STRIDE
    if cfg.DATA.TRAIN_CROP_SIZE != cfg.DATA.TEST_CROP_SIZE:
        raise UserError(
            f"DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE} and DATA.TEST_CROP_SIZE {cfg.DATA.TEST_CROP_SIZE} differ, "
            "but MViT's relative positions belong to one size; set both to the same"
        )
    total = [stride_h, stride_w]
    for _, _, h, w in cfg.MVIT.POOL_Q_STRIDE:
        total = [total[0] * h, total[1] * w]
    if cfg.DATA.TRAIN_CROP_SIZE % total[0] or cfg.DATA.TRAIN_CROP_SIZE % total[1]:
        raise UserError(
            f"DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE} must be a multiple of {max(total)}, "
            "MVIT.PATCH_STRIDE times all of MVIT.POOL_Q_STRIDE"
        )
    if cfg.DATA.NUM_FRAMES % stride_t:
        raise UserError(f"DATA.NUM_FRAMES {cfg.DATA.NUM_FRAMES} must be a multiple of MVIT.PATCH_STRIDE[0] {stride_t}")


def last_width(cfg: CfgNode) -> int:
    """The width of the last block, after a check of every block's width and heads."""
    width = cfg.MVIT.EMBED_DIM
    for block, (width, heads) in enumerate(block_sizes(cfg)):
        if width < 1 or heads < 1 or width % heads:
            raise UserError(
                f"MVIT block {block} has {heads} heads and width {width}, but the heads must divide the width; "
                "change MVIT.NUM_HEADS, MVIT.HEAD_MUL, MVIT.EMBED_DIM or MVIT.DIM_MUL"
            )
    return width


def block_sizes(cfg: CfgNode) -> Iterator[tuple[int, int]]:
    """Width and heads of each block.

    Raises:
        UserError: one is too large for a tensor.
    """
    width, heads = cfg.MVIT.EMBED_DIM, cfg.MVIT.NUM_HEADS
    width_mul, head_mul = dict(cfg.MVIT.DIM_MUL), dict(cfg.MVIT.HEAD_MUL)
    for block in range(cfg.MVIT.DEPTH):
        # Floats that grow beyond all whole numbers cannot be rounded.
        wide, many = width * width_mul.get(block, 1.0), heads * head_mul.get(block, 1.0)
        if max(wide, many) > MAX_SIZE:
            raise UserError(f"MVIT block {block} is wider than {MAX_SIZE}; change MVIT.DIM_MUL or MVIT.HEAD_MUL")
        width, heads = round(wide), round(many)
        yield width, heads
