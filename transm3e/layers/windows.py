"""Test at a larger size than trained, as PySlowFast and pytorchvideo: windows of the training size slide over the features.

Shapes: B clips, C channels or classes, T frames of H x W features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transm3e.layers.common import widen


class WindowPool(nn.Module):
    """Means of all frames of square windows at stride 1; in training of one window, which is the whole.

    Args:
        window: side of a window in features; 0 = always the whole.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, 1, H - window + 1, W - window + 1), at least 1 each."""
        frames, *size = x_BCTHW.shape[2:]
        sides = [min(side, self.window or side) for side in size]
        if self.training or sides == size:
            return F.adaptive_avg_pool3d(x_BCTHW, 1)
        return F.avg_pool3d(x_BCTHW, (frames, *sides), stride=1)


class WindowScores(nn.Module):
    """Logits of windows -> logits whose scores are the mean of the windows' scores.

    Args:
        sigmoid: scores are sigmoids, else the softmax over classes.
    """

    def __init__(self, sigmoid: bool = False) -> None:
        super().__init__()
        self.sigmoid = sigmoid

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, 1, 1, 1)."""
        windows = x_BCTHW.shape[2:].numel()
        if windows == 1:
            return x_BCTHW
        logits = widen(x_BCTHW.flatten(2))
        if self.sigmoid:
            scores = F.logsigmoid(logits).logsumexp(2) - F.logsigmoid(-logits).logsumexp(2)
        else:
            scores = torch.log_softmax(logits, 1).logsumexp(2) - math.log(windows)
        return scores[..., None, None, None]
