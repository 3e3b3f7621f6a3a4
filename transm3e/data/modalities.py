"""From the loader's uint8 clips to what a model reads; runs on the device the clips are on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from transm3e.config.node import CfgNode
from transm3e.errors import UserError

# Name -> channels of everything a model may be fed with.
MODALITIES = {"rgb": 3, "rgb_diff": 3}


def rgb_difference(rgb: Tensor) -> Tensor:
    """|x[t] - x[t-1]| (paper, section 4): how each pixel changed since the frame before.

    Args:
        rgb: (B, 3, T, H, W) float in [0, 1], not normalised.

    Returns:
        The same shape, in [0, 1]; the first frame is zero.
    """
    return functional.pad(rgb.diff(dim=2).abs_(), (0, 0, 0, 0, 1, 0))


class ModalityInput(nn.Module):
    """Clips of a batch -> the modalities a task asked for.

    Args:
        names: keys of MODALITIES, at least one.
        mean, std: 3 numbers each, for RGB in [0, 1]. The RGB difference stays un-normalised.

    Raises:
        UserError: an unknown modality.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, names: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        unknown = [name for name in names if name not in MODALITIES]
        if unknown or not names:
            raise UserError(f"unknown modality {unknown[0] if unknown else ''!r}; allowed: {', '.join(MODALITIES)}")
        self.names = tuple(names)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1, 1), persistent=False)

    def forward(self, clips: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"rgb": (B, 3, T, H, W) uint8} -> modality -> (B, C, T, H, W) float32, in the order of `names`."""
        rgb = clips["rgb"].to(torch.float32).div_(255)
        makers = {"rgb": lambda: (rgb - self.mean).div_(self.std), "rgb_diff": lambda: rgb_difference(rgb)}
        return {name: makers[name]() for name in self.names}


def build_modalities(cfg: CfgNode, names: Sequence[str]) -> ModalityInput:
    """ModalityInput with DATA.MEAN and DATA.STD.

    Raises:
        UserError: an unknown modality.
    """
    return ModalityInput(names, cfg.DATA.MEAN, cfg.DATA.STD)
