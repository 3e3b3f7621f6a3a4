"""MViTv2 (Li et al., CVPR 2022) for video: the backbone with any number of class tokens, and the classifier.

Shapes: B clips, K class tokens, N patches, D width.
Parameter names inside the backbone are PySlowFast's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transm3e.config.schema import MAX_SIZE
from transm3e.errors import UserError
from transm3e.layers.attention import MultiScaleBlock
from transm3e.layers.common import NORM_EPS, class_tokens, init_weights
from transm3e.layers.pooling import pooled_size
from transm3e.layers.relative_position import Size
from transm3e.modalities import MODALITIES
from transm3e.models.output import ModelOutput
from transm3e.models.registry import MODELS, Model

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


# Clips -> patches (B, N, D) and their (T, H, W).
Embed = Callable[[Any], tuple[Tensor, Size]]


class PatchEmbed(nn.Module):
    """3D convolution of a clip (B, C, T, H, W) to patches (B, N, D)."""

    def __init__(self, in_channels: int, dim: int, kernel: Size, stride: Size, padding: Size) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, dim, kernel, stride, padding)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> PatchEmbed:
        sizes = (_size(cfg.MVIT[key]) for key in ("PATCH_KERNEL", "PATCH_STRIDE", "PATCH_PADDING"))
        return cls(MODALITIES[cfg.DATA.MODALITY].channels, cfg.MVIT.EMBED_DIM, *sizes)

    def forward(self, clips: Tensor) -> tuple[Tensor, Size]:
        # Channels last, so that the patches come out side by side.
        # ONNX has no memory formats.
        grid = self.proj(clips if torch.jit.is_tracing() else clips.contiguous(memory_format=torch.channels_last_3d))
        t, h, w = grid.shape[2:]
        return grid.permute(0, 2, 3, 4, 1).flatten(1, 3), (t, h, w)


class MViTBackbone(nn.Module):
    """Patch embedding and multi-scale blocks; the caller brings the class tokens.

    Args:
        in_channels: channels of a clip.
        clip_size: (T, H, W) of a clip in frames and pixels, for which the relative-position tables are made.
        embed_dim: width of the patches and class tokens that enter the first block.
        blocks: width and heads of each block.
        patch_kernel, patch_stride, patch_padding: of the patch embedding.
        pool_kernel: kernel of the pooling convolutions.
        q_strides: block -> stride of q's pooling; a block without an entry does not pool q.
        kv_stride: stride of k and v before any q stride; each q stride passed divides it (never below 1).
        mlp_ratio, qkv_bias, dropout: of every block.
        drop_path: rate at the last block, rising linearly from 0 at the first.
        act_checkpoint: keep only each block's input for the backward pass and compute the block again there.

    Attributes:
        widths: D before the first block and after each.
    """

    def __init__(
        self,
        in_channels: int,
        clip_size: Size,
        embed_dim: int,
        blocks: Sequence[tuple[int, int]],
        patch_kernel: Size,
        patch_stride: Size,
        patch_padding: Size,
        pool_kernel: Size,
        q_strides: dict[int, Size],
        kv_stride: Size,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        act_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.act_checkpoint = embed_dim, act_checkpoint
        self.patch_embed = PatchEmbed(in_channels, embed_dim, patch_kernel, patch_stride, patch_padding)
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList()
        size, self.widths = _conv_size(clip_size, patch_kernel, patch_stride, patch_padding), [embed_dim]
        for block, (dim_out, num_heads) in enumerate(blocks):
            dim, rate = self.widths[-1], drop_path * block / max(1, len(blocks) - 1)
            stride_q = q_strides.get(block)
            passed = stride_q or (1, 1, 1)
            kv_stride = _size([max(kv // q, 1) for kv, q in zip(kv_stride, passed, strict=True)])
            self.blocks.append(
                MultiScaleBlock(
                    dim, dim_out, num_heads, size, pool_kernel, stride_q, kv_stride, mlp_ratio, qkv_bias, dropout, rate
                )
            )
            size = pooled_size(size, passed)
            self.widths.append(dim_out)
        self.dim_out = self.widths[-1]
        self.norm = nn.LayerNorm(self.dim_out, NORM_EPS)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> MViTBackbone:
        crop = cfg.DATA.TRAIN_CROP_SIZE
        return cls(
            in_channels=MODALITIES[cfg.DATA.MODALITY].channels,
            clip_size=(cfg.DATA.NUM_FRAMES, crop, crop),
            embed_dim=cfg.MVIT.EMBED_DIM,
            blocks=list(block_sizes(cfg)),
            patch_kernel=_size(cfg.MVIT.PATCH_KERNEL),
            patch_stride=_size(cfg.MVIT.PATCH_STRIDE),
            patch_padding=_size(cfg.MVIT.PATCH_PADDING),
            pool_kernel=_size(cfg.MVIT.POOL_KVQ_KERNEL),
            q_strides={block: _size(stride) for block, *stride in cfg.MVIT.POOL_Q_STRIDE},
            kv_stride=_size(cfg.MVIT.POOL_KV_STRIDE_ADAPTIVE),
            mlp_ratio=cfg.MVIT.MLP_RATIO,
            qkv_bias=cfg.MVIT.QKV_BIAS,
            dropout=cfg.MVIT.DROPOUT_RATE,
            drop_path=cfg.MVIT.DROPPATH_RATE,
            act_checkpoint=cfg.MODEL.ACT_CHECKPOINT,
        )

    def forward(self, clips: Tensor, tokens_1KD: Tensor) -> tuple[list[Tensor], Tensor]:
        """Run clips with class tokens through all blocks.

        Args:
            clips: (B, C, T, H, W) float.
            tokens_1KD: (1, K, D) class tokens.

        Returns:
            the class tokens before the first block and after each, (B, K, D_i) each, and those of the last block
            after the last norm.
        """
        per_block, _ = self.encode(clips, tokens_1KD)
        return per_block, self.norm(per_block[-1])

    def encode(
        self, clips: Any, tokens_1KD: Tensor, embed: Embed | None = None, read_patches: bool = False
    ) -> tuple[list[Tensor], Tensor | None]:
        """Run clips with class tokens through all blocks; nothing is normed after the last one.

        Args:
            clips: what `embed` takes.
            tokens_1KD: (1, K, D) class tokens.
            embed: clips -> patches (B, N, D) and their (T, H, W); None = the patch embedding.
            read_patches: whether the last block's patches are read, too.

        Returns:
            the class tokens before the first block and after each, (B, K, D_i) each, and the last block's patches
            (B, N', D') or None.
        """
        patches, size = (embed or self.patch_embed)(clips)
        tokens = tokens_1KD.expand(patches.shape[0], -1, -1)
        # The residual stream is as wide as the class tokens, also under automatic mixed precision.
        patches, tokens = self.pos_drop(patches.to(tokens.dtype)), self.pos_drop(tokens)
        per_block = [tokens]
        for block in self.blocks:
            read = read_patches or block is not self.blocks[-1]
            patches, tokens, size = self._run(block, patches, tokens, size, read)
            per_block.append(tokens)
        return per_block, patches

    def _run(
        self, block: Any, patches: Any, tokens: Tensor, size: Size, read: bool
    ) -> tuple[Tensor | None, Tensor, Size]:
        if not (self.act_checkpoint and torch.is_grad_enabled()):
            return block(patches, tokens, size, read)

        def tensors(patches: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
            # A compiled graph checkpoints what takes and gives tensors only.
            return tuple(part for part in block(patches, tokens, size, read)[:2] if part is not None)

        *patches_left, tokens = checkpoint(tensors, patches, tokens, use_reentrant=False)
        return patches_left[0] if read else None, tokens, pooled_size(size, block.stride_q)


@MODELS.register("MViT")
class MViT(Model):
    """MViTv2 with one class token: the paper's baseline.

    Args:
        backbone: with its own modality's channels.
        modality: the clip it reads.
        num_classes: width of the output.
        dropout: before the last linear layer.
    """

    config_keys = ("MVIT.",)
    can_checkpoint = True

    def __init__(self, backbone: MViTBackbone, modality: str, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.modality = modality
        self.backbone = backbone
        self.cls_token = class_tokens(1, backbone.embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.dim_out, num_classes)
        self.apply(init_weights)

    @classmethod
    def check(cls, cfg: CfgNode) -> None:
        check_mvit(cfg)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> MViT:
        return cls(MViTBackbone.from_cfg(cfg), cfg.DATA.MODALITY, cfg.MODEL.NUM_CLASSES, cfg.MODEL.DROPOUT_RATE)

    def forward(self, clips: dict[str, Tensor]) -> ModelOutput:
        """clips[modality]: (B, C, T, H, W) float -> logits (B, num_classes)."""
        _, tokens_B1D = self.backbone(clips[self.modality], self.cls_token)
        return ModelOutput(self.head(self.dropout(tokens_B1D[:, 0])))


def _conv_size(size: Size, kernel: Size, stride: Size, padding: Size) -> Size:
    return _size([(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)])


def _size(values: Sequence[int]) -> Size:
    t, h, w = (int(value) for value in values)
    return t, h, w
