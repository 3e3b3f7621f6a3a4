"""The deletion test (Petsiuk et al., BMVC 2018): erase what is said to matter most, and see the score fall."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


@torch.no_grad()
def deletion_curve(
    score: Callable[[Tensor], Tensor], clips: Tensor, heat: Tensor, patch: int, shares: Sequence[float] = SHARES
) -> Tensor:
    """Scores after the patches with the most heat are replaced by the clip's mean.

    Args:
        score: clips (B, C, T, H, W) -> (B,).
        clips: (B, C, T, H, W) of any type.
        heat: (B, T, H, W).
        patch: side of the squares that are erased, in pixels; one frame each.
        shares: of the clip's patches that are erased.

    Returns:
        (len(shares), B) float32.
    """
    size = heat.shape[2:]
    of_patch = functional.avg_pool2d(heat, patch, ceil_mode=True)
    order = of_patch.flatten(1).argsort(dim=1, descending=True, stable=True)
    mean = clips.float().mean((2, 3, 4), keepdim=True)
    found = []
    for share in shares:
        erased = torch.zeros(of_patch.flatten(1).shape, device=heat.device)
        erased.scatter_(1, order[:, : round(share * order.shape[1])], 1.0)
        mask = erased.view(of_patch.shape).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
        mask = mask[:, None, :, : size[0], : size[1]].bool()
        found.append(score(torch.where(mask, mean.to(clips.dtype), clips)).float())
    return torch.stack(found)


def random_heat(heat: Tensor, patch: int, seed: int) -> Tensor:
    """Heat that ranks patches at random, of the same shape."""
    grid = [-(-side // patch) for side in heat.shape[2:]]
    draw = torch.rand(*heat.shape[:2], *grid, generator=torch.Generator().manual_seed(seed)).to(heat.device)
    return draw.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[:, :, : heat.shape[2], : heat.shape[3]]


def moved_heat(heat: Tensor, patch: int, seed: int) -> Tensor:
    """The heat of each clip in the same shapes elsewhere: moved at random in time and space, in whole patches, around the
    edges."""
    draw = torch.Generator().manual_seed(seed)
    steps = [
        [
            int(torch.randint(side, (), generator=draw)) * unit
            for side, unit in ((t, 1), (h // patch, patch), (w // patch, patch))
        ]
        for t, h, w in [heat.shape[1:]] * len(heat)
    ]
    return torch.stack([one.roll(step, (0, 1, 2)) for one, step in zip(heat, steps, strict=True)])
