"""Which kernel computes a pooling convolution on a GPU: measured once per shape, as cudnn.benchmark does for its own.

cuDNN's channels-last 3D kernels for depthwise convolutions are slow on some GPUs and versions, and PyTorch's own kernel
for contiguous tensors on others, so neither is right everywhere. All CHOICES give the same up to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from transm3e.layers.relative_position import Size

Conv = Callable[[Tensor, Tensor, Size], Tensor]
TRIES, WARM_UP = 5, 2

logger = logging.getLogger(__name__)


def channels_last(grid_BTHWD: Tensor, weight: Tensor, stride: Size) -> Tensor:
    """A 3D convolution of a channels-last view: no copy; cuDNN on GPUs."""
    padding = [k // 2 for k in weight.shape[2:]]
    grid = grid_BTHWD.permute(0, 4, 1, 2, 3)
    return F.conv3d(grid, weight, None, stride, padding, groups=len(weight)).permute(0, 2, 3, 4, 1)


def contiguous(grid_BTHWD: Tensor, weight: Tensor, stride: Size) -> Tensor:
    """The same of a channels-first copy, which goes to PyTorch's own depthwise kernel on GPUs."""
    padding = [k // 2 for k in weight.shape[2:]]
    grid = grid_BTHWD.permute(0, 4, 1, 2, 3).contiguous()
    pooled = F.conv3d(grid, weight.contiguous(), None, stride, padding, groups=len(weight))
    return pooled.permute(0, 2, 3, 4, 1).contiguous()


def frames(grid_BTHWD: Tensor, weight: Tensor, stride: Size) -> Tensor:
    """A sum of channels-last 2D convolutions of frames, one for each frame of the kernel."""
    batch, length = grid_BTHWD.shape[:2]
    reach = weight.shape[2] // 2
    padding = [k // 2 for k in weight.shape[3:]]
    padded = F.pad(grid_BTHWD, (0, 0, 0, 0, 0, 0, reach, reach))
    total: Tensor | None = None
    for tap in range(weight.shape[2]):
        taken = padded[:, tap : tap + length : stride[0]]
        images = taken.flatten(0, 1).permute(0, 3, 1, 2)
        part = F.conv2d(images, weight[:, :, tap], None, stride[1:], padding, groups=len(weight))
        total = part if total is None else total + part
    assert total is not None, "kernels are odd"
    return total.permute(0, 2, 3, 1).unflatten(0, (batch, -1))


CHOICES: dict[str, Conv] = {"channels_last": channels_last, "contiguous": contiguous, "frames": frames}
DEFAULT = "channels_last"
_fixed: list[str] = []
_fastest: dict[tuple, str] = {}


@contextmanager
def fixed(name: str) -> Iterator[None]:
    """Meanwhile, all pooling convolutions are computed by this one of CHOICES, also on CPUs."""
    assert name in CHOICES, name
    _fixed.append(name)
    try:
        yield
    finally:
        _fixed.pop()


def fixed_conv() -> Conv | None:
    """What `fixed` asks for, if anything."""
    return CHOICES[_fixed[-1]] if _fixed else None


def gpu_conv(grid: Tensor, weight: Tensor, stride: Size) -> Conv:
    """The fastest of CHOICES for these shapes, types and this GPU; measured at their first use if cudnn.benchmark is on.

    It is off with DETERMINISTIC: which kernel runs then never depends on a measurement. Within a compiled graph the
    compiler decides. Each process measures by itself: no collective operation depends on the choice.
    """
    # FakeTensors and other subclasses have nothing to measure.
    if torch.compiler.is_compiling() or not torch.backends.cudnn.benchmark or type(grid) is not Tensor:
        return CHOICES[DEFAULT]
    learns = torch.is_grad_enabled() and (grid.requires_grad or weight.requires_grad)
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else grid.dtype
    key = (grid.device, tuple(grid.shape), dtype, tuple(weight.shape), stride, learns)
    if key not in _fastest:
        times = {name: _seconds(conv, grid, weight, stride, learns) for name, conv in CHOICES.items()}
        _fastest[key] = min(times, key=lambda name: times[name])
        shown = ", ".join(f"{name} {1000 * time:.2f} ms" for name, time in times.items())
        logger.info(
            "pooling of %s by %s at stride %s: %s (%s)",
            tuple(grid.shape),
            tuple(weight.shape[2:]),
            stride,
            _fastest[key],
            shown,
        )
    return CHOICES[_fastest[key]]


def _seconds(conv: Conv, grid: Tensor, weight: Tensor, stride: Size, learns: bool) -> float:
    """Time of one use, with gradients if it learns; infinite where it does not run, for lack of memory or of a kernel."""
    grid, weight = (tensor.detach().requires_grad_(learns) for tensor in (grid, weight))
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    try:
        for number in range(WARM_UP + TRIES):
            if number == WARM_UP:
                start.record()
            # Within an activation checkpoint, whose own hooks would count what is saved here and compute the block again.
            with torch.set_grad_enabled(learns), saved_tensors_hooks(_same, _same):
                out = conv(grid, weight, stride)
            if learns:
                torch.autograd.grad(out, (grid, weight), torch.ones_like(out))
        end.record()
        end.synchronize()
    except RuntimeError:
        return float("inf")
    return start.elapsed_time(end) / 1000 / TRIES


def _same(tensor: Tensor) -> Tensor:
    return tensor
