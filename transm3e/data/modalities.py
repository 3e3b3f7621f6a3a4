"""From the loader's clips to what a model reads; runs on the device the clips are on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from transm3e.config import modalities as table
from transm3e.config.node import CfgNode
from transm3e.data.skeleton.streams import NORMALIZATIONS, STREAMS, make_stream
from transm3e.errors import UserError

# Name -> channels of everything a model may be fed with.
MODALITIES = {name: modality.channels for name, modality in table.MODALITIES.items()}
# Name -> what of the loader it is made of.
SOURCE_OF = {name: modality.source for name, modality in table.MODALITIES.items()}


def rgb_difference(rgb: Tensor) -> Tensor:
    """|x[t] - x[t-1]| (paper, section 4): how each pixel changed since the frame before.

    Args:
        rgb: (B, 3, T, H, W) float in [0, 1], not normalised.

    Returns:
        The same shape, in [0, 1]; the first frame is zero.
    """
    return functional.pad(rgb.diff(dim=2).abs_(), (0, 0, 0, 0, 1, 0))


def rgb_motion(rgb: Tensor) -> Tensor:
    """x[t] minus the mean of x over the clip, pixel by pixel: what moves, with its sign; what stands still is 0.

    The mean is over the T frames of this clip as the model gets them, so after crop, colours and erasing (a box that is
    erased is the same in all frames, so it is 0) and for each view of a video anew; a frame that is held or looped
    because the video is short counts as often as it is there. Mixing clips before or after is the same.

    Args:
        rgb: (B, 3, T, H, W), any unit; whole numbers up to 255 make exact zeros of what stands still.

    Returns:
        The same shape, unit and type; sums to 0 over T.
    """
    # Not mean(), which multiplies by a rounded 1 / T on a GPU.
    return rgb - rgb.sum(dim=2, keepdim=True) / rgb.shape[2]


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
        mean, std: 3 numbers each, in units of RGB in [0, 1]: "rgb" is normalised by both, "rgb_motion" by std alone.
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
        return {name: MAKERS[name](self, clips[SOURCE_OF[name]]) for name in self.names}


def _rgb(inputs: ModalityInput, clip: Tensor) -> Tensor:
    # One pass. As the clip lies in memory, so does what comes out.
    return torch.addcmul(-inputs.mean / inputs.std, clip, 1 / (255 * inputs.std))


def _rgb_diff(inputs: ModalityInput, clip: Tensor) -> Tensor:
    return rgb_difference(clip.to(torch.float32).div_(255))


def _rgb_motion(inputs: ModalityInput, clip: Tensor) -> Tensor:
    return rgb_motion(clip.to(torch.float32)).div_(255).div_(inputs.std)


def _flow(inputs: ModalityInput, clip: Tensor) -> Tensor:
    return flow_values(clip)


def _stream(name: str, inputs: ModalityInput, clip: Tensor) -> Tensor:
    return make_stream(clip, name, inputs.normalize, inputs.layout)


# Name -> (who asks, the loader's clip of its source) -> what the model reads, float32.
MAKERS: dict[str, Callable[[ModalityInput, Tensor], Tensor]] = {
    "rgb": _rgb,
    "rgb_diff": _rgb_diff,
    "rgb_motion": _rgb_motion,
    "flow": _flow,
    **{name: partial(_stream, name) for name in STREAMS},
}


def build_modalities(cfg: CfgNode, names: Sequence[str]) -> ModalityInput:
    """ModalityInput with DATA.MEAN, DATA.STD and SKELETON.*.

    Raises:
        UserError: an unknown modality.
    """
    return ModalityInput(names, cfg.DATA.MEAN, cfg.DATA.STD, cfg.SKELETON.NORMALIZE, cfg.SKELETON.LAYOUT)
