"""From the loader's clips to a model's inputs, on the device of the clips.

The function with a modality's name computes it: (the loader's clip of its source, ModalityInput) -> float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.nn import functional

from transm3e.data.skeleton.streams import NORMALIZATIONS, bones, motion, normalize
from transm3e.modalities import MODALITIES, check_names, function_of


def rgb_difference(rgb: Tensor) -> Tensor:
    """|x[t] - x[t-1]| (paper, section 4): the change of each pixel since the previous frame.

    Args:
        rgb: (B, 3, T, H, W) float in [0, 1], not normalised.

    Returns:
        The same shape, in [0, 1]; the first frame is zero.
    """
    return functional.pad(rgb.diff(dim=2).abs_(), (0, 0, 0, 0, 1, 0))


class ModalityInput(nn.Module):
    """Clips of a batch -> the requested modalities.

    Args:
        names: keys of MODALITIES, at least one.
        mean, std: 3 numbers each, for RGB in [0, 1]: "rgb" is normalised by both, "rgb_motion" by std only.
        normalize: of skeletons, one of streams.NORMALIZATIONS.
        layout: of skeletons, one of transm3e.joints.LAYOUTS.
        reverse: "rgb" is BGR.

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
        reverse: bool = False,
    ) -> None:
        super().__init__()
        check_names(names)
        self.normalize, self.layout, self.reverse = normalize, layout, reverse
        self.names = tuple(names)
        self._computed = {name: (MODALITIES[name].source, function_of(MODALITIES[name].compute)) for name in names}
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1, 1), persistent=False)

    def forward(self, clips: dict[str, Tensor]) -> dict[str, Tensor]:
        """Batch.clips -> {modality: (B, C, T, H, W) or (B, C, T, V, M) float32}, in the order of `names`."""
        return {name: compute(clips[source], self) for name, (source, compute) in self._computed.items()}


def rgb(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """Normalised by mean and standard deviation; then as BGR, if so configured."""
    x = (clip.to(torch.float32).div_(255) - inputs.mean).div_(inputs.std)
    return x.flip(1) if inputs.reverse else x


def rgb_diff(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """rgb_difference of pixels in [0, 1]."""
    return rgb_difference(clip.to(torch.float32).div_(255))


def rgb_motion(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """x[t] minus the mean of x over the clip, per pixel, in standard deviations: signed motion.

    The mean is over the T frames of this clip as the model gets them: after crop, colour jitter and erasing (an erased box
    is the same in all frames, so it becomes 0), separately for each view of a video; frames repeated because the video is
    short count repeatedly. Mixing clips before or after gives the same. Static pixels are exactly 0, as pixels are integers.
    """
    x = clip.to(torch.float32)
    # Not mean(), which on a GPU multiplies by a rounded 1 / T.
    return (x - x.sum(dim=2, keepdim=True) / x.shape[2]).div_(255).div_(inputs.std)


def flow(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """Stored optical flow, 128 = no motion -> displacements in units of the bound it was stored with, in [-1, 1]."""
    return clip.to(torch.float32).sub_(128).div_(127)


def skeleton(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """Joints; with bones and motion the four streams of Shi et al. (CVPR 2019)."""
    return normalize(clip, inputs.normalize, inputs.layout)


def skeleton_bone(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """Bones of `skeleton`."""
    return bones(skeleton(clip, inputs), inputs.layout)


def skeleton_motion(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """Motion of `skeleton`."""
    return motion(skeleton(clip, inputs))


def skeleton_bone_motion(clip: Tensor, inputs: ModalityInput) -> Tensor:
    """Motion of `skeleton_bone`."""
    return motion(skeleton_bone(clip, inputs))


def build_modalities(cfg: CfgNode, names: Sequence[str]) -> ModalityInput:
    """ModalityInput with DATA.MEAN, DATA.STD and SKELETON.*.

    Raises:
        UserError: an unknown modality.
    """
    skeleton = cfg.SKELETON.NORMALIZE, cfg.SKELETON.LAYOUT
    return ModalityInput(names, cfg.DATA.MEAN, cfg.DATA.STD, *skeleton, cfg.DATA.REVERSE_INPUT_CHANNEL)
