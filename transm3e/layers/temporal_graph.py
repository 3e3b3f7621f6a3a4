"""Layers shared by the skeleton models: temporal convolutions, joint by joint, and shortcuts of blocks.

Shapes: N skeletons (persons of all clips), C channels, T frames, V joints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transm3e.layers.common import INIT_STD

POOL_KERNEL = 3
# Branches of MultiScaleTemporalConv beside the dilated ones: max pooling, and a 1x1 convolution alone.
EXTRA_BRANCHES = 2


class MultiScaleTemporalConv(nn.Module):
    """A joint's frames seen at several scales at once (CTR-GCN, Chen et al., ICCV 2021, section 3.4; HD-GCN too).

    The output concatenates branches of equal width: for each dilation a 1x1 convolution, batch norm, ReLU
    and a dilated convolution over time; the same with a max pooling of 3 frames instead; and a 1x1 convolution alone.
    A batch norm ends each. In the code the 1x1 convolutions with a ReLU are one, and so are all last batch norms, which
    treat every channel by itself: the parameters and the results are those of the authors' branches.

    Args:
        in_channels, out_channels: of a joint; out_channels is a multiple of the number of branches.
        kernel: frames of the dilated convolutions, odd.
        stride: in frames.
        dilations: steps between a kernel's frames, one branch each.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 5, stride: int = 1, dilations: Sequence[int] = (1, 2)
    ) -> None:
        super().__init__()
        self.width, rest = divmod(out_channels, len(dilations) + EXTRA_BRANCHES)
        assert not rest, f"{out_channels} channels in {len(dilations) + EXTRA_BRANCHES} branches"
        inner = out_channels - self.width
        self.enter = nn.Sequential(nn.Conv2d(in_channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU(inplace=True))
        self.dilated = nn.ModuleList(over_time(self.width, self.width, kernel, stride, step) for step in dilations)
        self.pool = nn.MaxPool2d((POOL_KERNEL, 1), (stride, 1), (POOL_KERNEL // 2, 0))
        self.point = over_time(in_channels, self.width, 1, stride)
        self.norm = nn.BatchNorm2d(out_channels)
        self._init_weights()

    def forward(self, x_NCTV: Tensor) -> Tensor:
        """(N, in_channels, T, V) -> (N, out_channels, ceil(T / stride), V)."""
        *entered, pooled = self.enter(x_NCTV).split(self.width, 1)
        scales = [conv(part) for conv, part in zip(self.dilated, entered, strict=True)]
        return self.norm(torch.cat([*scales, self.pool(pooled), self.point(x_NCTV)], 1))

    def _init_weights(self) -> None:
        """As the authors': each branch's convolutions by its own fan-out, scales of batch norms from N(1, 0.02)."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, INIT_STD)
            elif isinstance(module, nn.Conv2d):
                init_conv(module, self.width * module.kernel_size[0])


def over_time(in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution over an odd number of frames: (N, in, T, V) -> (N, out, ceil(T / stride), V)."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))


def shortcut(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """Shortcut of a block: (N, in, T, V) -> (N, out, ceil(T / stride), V), the identity if the shape does not change."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(over_time(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def he_shortcut(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """A shortcut with weights from N(0, 2 / out_channels), the initialisation of CTR-GCN and HD-GCN."""
    around = shortcut(in_channels, out_channels, stride)
    for module in around.modules():
        if isinstance(module, nn.Conv2d):
            init_conv(module, out_channels)
    return around


def init_conv(conv: nn.Conv1d | nn.Conv2d, fan_out: int) -> None:
    """Weights from N(0, 2 / fan_out), biases 0 (He et al., ICCV 2015); fan_out is given, as one layer may hold several convolutions."""
    nn.init.normal_(conv.weight, 0.0, math.sqrt(2 / fan_out))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
