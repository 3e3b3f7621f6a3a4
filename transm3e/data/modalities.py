"""From the loader's clips to what a model reads; runs on the device the clips are on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from transm3e.config.node import CfgNode
from transm3e.data.skeleton.streams import NORMALIZATIONS, STREAMS, make_stream
from transm3e.errors import UserError

# Name -> channels of everything a model may be fed with.
MODALITIES = {"rgb": 3, "rgb_diff": 3, "flow": 2, **dict.fromkeys(STREAMS, 3)}
# Name -> what of the loader it is made of.
SOURCE_OF = {"rgb": "rgb", "rgb_diff": "rgb", "flow": "flow", **dict.fromkeys(STREAMS, "skeleton")}


def rgb_difference(rgb: Tensor) -> Tensor:
    """|x[t] - x[t-1]| (paper, section 4): how each pixel changed since the frame before.

    Args:
        rgb: (B, 3, T, H, W) float in [0, 1], not normalised.

    Returns:
        The same shape, in [0, 1]; the first frame is zero.
    """
    return functional.pad(rgb.diff(dim=2).abs_(), (0, 0, 0, 0, 1, 0))


def flow_values(flow: Tensor) -> Tensor:
    """Stored optical flow -> displacements in units of the bound it was stored with.

    Args:
        flow: (B, 2, T, H, W) uint8, 128 = no motion.

    Returns:
        The same shape, float32 in [-1, 1].
    """
    return flow.to(torch.float32).sub_(128).div_(127)


class ModalityInput(nn.Module):
    """Clips of a batch -> the modalities a task asked for.

    Args:
        names: keys of MODALITIES, at least one.
        mean, std: 3 numbers each, for RGB in [0, 1]. Nothing else is normalised by them.
        normalize: of skeletons, one of streams.NORMALIZATIONS.
        layout: of skeletons, one of transm3e.joints.LAYOUTS.

    Raises:
        UserError: an unknown modality.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        normalize: str = NORMALIZATIONS[0],
        layout: str = "coco17",
    ) -> None:
        super().__init__()
        unknown = [name for name in names if name not in MODALITIES]
        if unknown or not names:
            raise UserError(f"unknown modality {unknown[0] if unknown else ''!r}; allowed: {', '.join(MODALITIES)}")
        self.normalize, self.layout = normalize, layout
        self.names = tuple(names)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1, 1), persistent=False)

    def forward(self, clips: dict[str, Tensor]) -> dict[str, Tensor]:
        """Clips as a Batch holds them -> modality -> (B, C, T, H, W) or (B, 3, T, V, M) float32, in the order of `names`."""
        return {name: self._make(name, clips[SOURCE_OF[name]]) for name in self.names}

    def _make(self, name: str, clip: Tensor) -> Tensor:
        if name in STREAMS:
            return make_stream(clip, name, self.normalize, self.layout)
        if name == "flow":
            return flow_values(clip)
        rgb = clip.to(torch.float32).div_(255)
        return rgb_difference(rgb) if name == "rgb_diff" else (rgb - self.mean).div_(self.std)


def build_modalities(cfg: CfgNode, names: Sequence[str]) -> ModalityInput:
    """ModalityInput with DATA.MEAN, DATA.STD and SKELETON.*.

    Raises:
        UserError: an unknown modality.
    """
    return ModalityInput(names, cfg.DATA.MEAN, cfg.DATA.STD, cfg.SKELETON.NORMALIZE, cfg.SKELETON.LAYOUT)
