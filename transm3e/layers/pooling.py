"""Pooling in the token layout: q, k, v and shortcuts are pooled over space-time without a copy.

Patches (B, T*H*W, D) are read as a channels-last grid (B, D, T, H, W), which is a view; so is what comes back.
Shapes: B clips, T, H, W the grid, D channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from transm3e.layers.relative_position import Size


def pooled_size(size: Size, stride: Size) -> Size:
    """(T, H, W) after a convolution with an odd kernel, padded by half of it, or max_pool of stride 1 or an even one."""
    t, h, w = (-(-n // s) for n, s in zip(size, stride, strict=True))
    return t, h, w


def conv_pool(patches_BND: Tensor, weight: Tensor, size: Size, stride: Size) -> Tensor:
    """Depthwise convolution over space-time, padded by half the kernel.

    Args:
        patches_BND: (B, T*H*W, D).
        weight: (D, 1, kt, kh, kw), kernels odd.
        size: (T, H, W).
        stride: in time, height and width.

    Returns:
        (B, Q, D), Q = product of pooled_size(size, stride).
    """
    if patches_BND.device.type == "cpu" and patches_BND.dtype != torch.float64:
        # In float32 also under mixed precision: oneDNN's gradients of depthwise convolutions in bf16 read memory that
        # was never written at some sizes (two frames; a single window).
        with torch.autocast("cpu", enabled=False):
            return _pool(patches_BND.float(), weight.float(), size, stride).to(patches_BND.dtype)
    return _pool(patches_BND, weight, size, stride)


def _pool(patches_BND: Tensor, weight: Tensor, size: Size, stride: Size) -> Tensor:
    grid = patches_BND.unflatten(1, size)
    conv = _DepthwiseConv.apply if _lean_backward(grid, weight, stride) else _conv
    return conv(grid, weight, stride).flatten(1, 3)


def max_pool(patches_BND: Tensor, size: Size, stride: Size) -> Tensor:
    """Max pool of a shortcut: kernel stride + 1 where the stride is above 1, padded by half of it.

    Args:
        patches_BND: (B, T*H*W, D).
        size: (T, H, W).
        stride: 1 or even on each axis.

    Returns:
        (B, Q, D), Q = product of pooled_size(size, stride).
    """
    if math.prod(stride) == 1:
        return patches_BND
    kernel = [s + 1 if s > 1 else s for s in stride]
    padding = [k // 2 for k in kernel]
    grid = patches_BND.unflatten(1, size)
    if stride[0] > 1:
        pooled = F.max_pool3d(grid.permute(0, 4, 1, 2, 3), kernel, stride, padding)
        return pooled.permute(0, 2, 3, 4, 1).flatten(1, 3)
    # Frame by frame: the 2D kernel knows the channels-last layout.
    frames = grid.flatten(0, 1).permute(0, 3, 1, 2)
    pooled = F.max_pool2d(frames, kernel[1:], stride[1:], padding[1:])
    return pooled.permute(0, 2, 3, 1).unflatten(0, (-1, size[0])).flatten(1, 3)


def take_read(patches_BND: Tensor, size: Size, kernel: Size, stride: Size) -> tuple[Tensor, Size, Size]:
    """Only the patches that a convolution of this kernel and stride reads.

    Where the stride exceeds the kernel, the rest has no influence: with kernel 3 and stride 8 in height and width seven
    of eight patches. Among those that are left the windows stand side by side, so their stride is the kernel.

    Args:
        patches_BND: (B, T*H*W, D).
        kernel: odd, in time, height and width; the convolution is padded by half of it.

    Returns:
        patches (B, N', D), their size and the stride, with which the convolution gives the same.
    """
    if all(s <= k for s, k in zip(stride, kernel, strict=True)):
        return patches_BND, size, stride
    where = [_read(n, k, s, patches_BND.device) for n, k, s in zip(size, kernel, stride, strict=True)]
    t, h, w = (len(positions) for positions in where)
    grid = patches_BND.unflatten(1, size)
    at_t, at_h, at_w = where
    if torch.jit.is_tracing():
        taken = grid[:, at_t[:, None, None], at_h[:, None], at_w]
    else:
        taken = _Take.apply(grid, *where)
    step_t, step_h, step_w = (min(k, s) for k, s in zip(kernel, stride, strict=True))
    return taken.flatten(1, 3), (t, h, w), (step_t, step_h, step_w)


def _read(length: int, kernel: int, stride: int, device: torch.device) -> Tensor:
    """Positions along one axis that windows of `kernel` around every `stride`-th position cover, rising."""
    if stride <= kernel:
        return torch.arange(length, device=device)
    centres = torch.arange(0, length, stride, device=device)
    around = torch.arange(kernel, device=device) - kernel // 2
    # Windows do not overlap: only the first may begin before 0 and only the last end after the axis.
    before = kernel // 2
    beyond = max(0, (-(-length // stride) - 1) * stride + kernel // 2 - (length - 1))
    positions = (centres[:, None] + around).flatten()
    return positions[before : len(positions) - beyond]


class _Take(torch.autograd.Function):
    """grid[:, t, h, w] of each combination; its gradient is copied back, as no position is taken twice."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, t: Tensor, h: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(t, h, w)
        ctx.shape = grid.shape
        return grid[:, t[:, None, None], h[:, None], w]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        t, h, w = ctx.saved_tensors
        full = gradient.new_zeros(ctx.shape)
        full[:, t[:, None, None], h[:, None], w] = gradient
        return full, None, None, None


def _conv(grid_BTHWD: Tensor, weight: Tensor, stride: Size) -> Tensor:
    padding = [k // 2 for k in weight.shape[2:]]
    channels_last = grid_BTHWD.permute(0, 4, 1, 2, 3)
    return F.conv3d(channels_last, weight, None, stride, padding, groups=len(weight)).permute(0, 2, 3, 4, 1)


def _lean_backward(grid: Tensor, weight: Tensor, stride: Size) -> bool:
    return (
        grid.device.type == "cpu"
        and grid.dtype == weight.dtype == torch.float32
        and stride[0] == 1
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


class _DepthwiseConv(torch.autograd.Function):
    """_conv with temporal stride 1 whose gradients are sums of 2D convolutions' over the kernel's frames.

    On CPUs the 3D gradient of depthwise convolutions takes five times as long as these together.
    """

    @staticmethod
    def forward(ctx: Any, grid: Tensor, weight: Tensor, stride: Size) -> Tensor:
        ctx.save_for_backward(grid, weight)
        ctx.stride = stride
        return _conv(grid, weight, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        grid, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        grad_grid, grad_weight = torch.zeros_like(grid), torch.zeros_like(weight)
        frames, reach = grid.shape[1], weight.shape[2] // 2
        for tap in range(weight.shape[2]):
            shift = tap - reach
            first, last = max(0, -shift), frames - max(0, shift)
            for clip in range(len(grid) if first < last else 0):
                part, part_weight = _conv2d_backward(
                    gradient[clip, first:last],
                    grid[clip, first + shift : last + shift],
                    weight[:, :, tap],
                    ctx.stride[1:],
                )
                grad_grid[clip, first + shift : last + shift] += part
                grad_weight[:, :, tap] += part_weight
        return grad_grid, grad_weight, None


def _conv2d_backward(
    gradient: Tensor, frames: Tensor, weight: Tensor, stride: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Gradients of a depthwise 2D convolution of frames (T, H, W, D) with weight (D, 1, kh, kw)."""
    padding = [k // 2 for k in weight.shape[2:]]
    grad_frames, grad_weight, _ = torch.ops.aten.convolution_backward(
        gradient.permute(0, 3, 1, 2),
        frames.permute(0, 3, 1, 2),
        weight,
        None,
        stride,
        padding,
        (1, 1),
        False,
        (0, 0),
        len(weight),
        (True, True, False),
    )
    return grad_frames.permute(0, 2, 3, 1), grad_weight
