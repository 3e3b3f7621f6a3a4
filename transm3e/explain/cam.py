"""Grad-CAM (Selvaraju et al., ICCV 2017) of any class, over space and time, and the importance of joints.

Shapes: B clips, C channels, (T', H', W') the grid of features, (T, H, W) the clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from transm3e.errors import UserError

# How channels are weighted: by the mean of their gradients, or each position by its own gradient (HiResCAM, Draelos and
# Carin 2020), which attributes a score to positions even where a token reads them with different weights.
METHODS = ("gradcam", "hirescam")


def grad_cam(model: Any, clips: dict[str, Tensor], classes: Tensor, method: str = METHODS[0]) -> Tensor:
    """Where the evidence for a class is.

    Args:
        model: of pixels, with watch_features (transm3e.models.registry.Model); it is put into evaluation mode.
        clips: its inputs.
        classes: (B,) int64, the class of each clip.
        method: of METHODS.

    Returns:
        (B, T, H, W) float32 in [0, 1], the largest value of each clip 1 (0 if nothing speaks for the class).

    Raises:
        UserError: the model has no features on a grid.
    """
    seen: list[tuple[Tensor, Callable[[Tensor], Tensor]]] = []
    clips = {name: clip.detach().requires_grad_() for name, clip in clips.items()}
    handle = model.watch_features(lambda features, to_grid: seen.append((features, to_grid)))
    try:
        with torch.enable_grad():
            logits = model.eval()(clips).logits
            score = logits.gather(1, classes[:, None].to(logits.device)).sum()
            features, to_grid = seen[-1]
            (gradient,) = torch.autograd.grad(score, features)
    finally:
        handle.remove()
    values, slopes = (to_grid(part.detach()).float() for part in (features, gradient))
    weights = slopes.mean((2, 3, 4), keepdim=True) if method == METHODS[0] else slopes
    return scaled(enlarged((weights * values).sum(1).relu(), clips[model.modality].shape[2:]))


def enlarged(heat: Tensor, size: Any) -> Tensor:
    """(B, T', H', W') -> (B, T, H, W), interpolated linearly."""
    return functional.interpolate(heat[:, None], size=tuple(size), mode="trilinear", align_corners=False)[:, 0]


def scaled(heat: Tensor) -> Tensor:
    """Each clip divided by its largest value, if that is above 0."""
    most = heat.flatten(1).amax(1).view(-1, *[1] * (heat.dim() - 1))
    return torch.where(most > 0, heat / most.clamp_min(torch.finfo(heat.dtype).tiny), torch.zeros_like(heat))


def joint_importance(model: Any, clips: dict[str, Tensor], classes: Tensor) -> Tensor:
    """Gradient x input of each joint in each frame, over its coordinates, absolute.

    The input is measured from the person's centre in that frame: a model that does not see where a person stands has
    gradients that add up to 0, so that this changes nothing for it, and for others the place in the frame does not count.

    Args:
        model: of joints, a clip of (B, coordinates + score, T, V, M).
        classes: (B,) int64.

    Returns:
        (B, T, V, M) float32 in [0, 1]; 0 where a joint is missing.

    Raises:
        UserError: a gradient is not finite.
    """
    x = clips[model.modality].detach().requires_grad_()
    with torch.enable_grad():
        logits = model.eval()({**clips, model.modality: x}).logits
        (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None].to(logits.device)).sum(), x)
    if not gradient.isfinite().all():
        raise UserError("the gradient of a joint is not finite, so joints have no importance; check the weights")
    there = x.detach()[:, -1:] > 0
    points = x.detach()[:, :-1]
    centre = (points * there).sum(3, keepdim=True) / there.sum(3, keepdim=True).clamp_min(1)
    return scaled((gradient[:, :-1] * (points - centre) * there).sum(1).abs())
