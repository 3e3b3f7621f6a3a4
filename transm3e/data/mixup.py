"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of whole batches, for multi-label muscles or single activities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from transm3e.config.schema import check_value
from transm3e.data.geometry import Box
from transm3e.errors import UserError
from transm3e.modalities import JOINTS, STORED


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed; the fields are PySlowFast's MIXUP.*.

    Attributes:
        alpha: of mixup: lam ~ Beta(alpha, alpha); 0 = no mixup.
        cutmix_alpha: the same for CutMix.
        prob: share of batches that are mixed.
        switch_prob: share of these that get CutMix, where both are on.
        label_smoothing: s in [0, 1): every label y becomes y (1 - s) + s / 2, also in batches that are not mixed.
        exclusive: classes are mutually exclusive, as activities are: C classes are smoothed towards 1 / C.

    Raises:
        UserError: a value that is not allowed.
    """

    alpha: float = 0.8
    cutmix_alpha: float = 1.0
    prob: float = 1.0
    switch_prob: float = 0.5
    label_smoothing: float = 0.1
    exclusive: bool = False

    def __post_init__(self) -> None:
        check_value("MIXUP.ALPHA", self.alpha)
        check_value("MIXUP.CUTMIX_ALPHA", self.cutmix_alpha)
        check_value("MIXUP.PROB", self.prob)
        check_value("MIXUP.SWITCH_PROB", self.switch_prob)
        check_value("MIXUP.LABEL_SMOOTH_VALUE", self.label_smoothing)


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    Attributes:
        lam: weight of the video itself, 1 - lam of its partner, in [0, 1].
        box: CutMix: pixels that come from the partner, 1 - lam of the frame; None: all pixels are blended.
        label_smoothing, exclusive: as in Mixing.
    """

    lam: float = 1.0
    box: Box | None = None
    label_smoothing: float = 0.0
    exclusive: bool = False


def draw_mix(rng: np.random.Generator, mixing: Mixing, height: int, width: int) -> Mix:
    """Draw how one batch is mixed.

    Args:
        rng: the batch's generator.
        mixing: the ranges.
        height, width: of the clips in pixels.
    """
    alphas = (mixing.alpha, mixing.cutmix_alpha)
    unmixed = Mix(label_smoothing=mixing.label_smoothing, exclusive=mixing.exclusive)
    if rng.random() >= mixing.prob or not any(alphas):
        return unmixed
    cutmix = rng.random() < mixing.switch_prob if all(alphas) else not mixing.alpha
    lam = float(rng.beta(alphas[cutmix], alphas[cutmix]))
    if not cutmix:
        return replace(unmixed, lam=lam)
    box = _draw_box(rng, lam, height, width)
    # The frame's edge may have clipped the box: lam follows its actual area.
    return replace(unmixed, lam=1 - box.height * box.width / (height * width), box=box)


def mix(clips: dict[str, Tensor], labels: Tensor, mix: Mix, samples: int) -> tuple[dict[str, Tensor], Tensor]:
    """Mix each video with its partner: video i of n with video n - 1 - i, each sample with the same sample.

    A video's samples thus stay a pair for distillation. Muscles are independent binary labels, smoothed towards 1/2;
    mutually exclusive classes are smoothed towards 1/C.

    Args:
        clips: modality -> (B, C, T, H, W) uint8, video by video, on any device; not changed.
        labels: (B, C) float in [0, 1]; not changed.
        mix: how to mix.
        samples: clips per video; B is a multiple of it.

    Returns:
        Clips (uint8, rounded) and labels of the same shapes and device.

    Raises:
        UserError: skeletons among the modalities.
    """
    if any(STORED[name].kind == JOINTS for name in clips):
        raise UserError("skeletons cannot be mixed; set MIXUP.ENABLE False, or take 'skeleton' out of the modalities")
    assert len(labels) % samples == 0, f"{len(labels)} clips are not {samples} per video"
    if mix.lam < 1:
        partner = torch.arange(len(labels), device=labels.device).view(-1, samples).flip(0).flatten()
        clips = {name: _mix_clips(clip, clip[partner], mix) for name, clip in clips.items()}
        labels = labels.lerp(labels[partner], 1 - mix.lam)
    rest = 1 / labels.shape[1] if mix.exclusive else 1 / 2
    return clips, labels * (1 - mix.label_smoothing) + mix.label_smoothing * rest


def _mix_clips(clip: Tensor, other: Tensor, mix: Mix) -> Tensor:
    if mix.box is None:
        return clip.float().lerp_(other.float(), 1 - mix.lam).round_().to(torch.uint8)
    rows = slice(mix.box.top, mix.box.top + mix.box.height)
    columns = slice(mix.box.left, mix.box.left + mix.box.width)
    mixed = clip.clone()
    mixed[..., rows, columns] = other[..., rows, columns]
    return mixed


def _draw_box(rng: np.random.Generator, lam: float, height: int, width: int) -> Box:
    """A box of 1 - lam of the frame's area around a random point, clipped at the edges; it may be empty."""
    half_h, half_w = int(height * sqrt(1 - lam)) // 2, int(width * sqrt(1 - lam)) // 2
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(0, y - half_h), max(0, x - half_w)
    return Box(top, left, min(height, y + half_h) - top, min(width, x + half_w) - left)
