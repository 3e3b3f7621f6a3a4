"""Joints, bones and motion from the loader's skeleton clips, computed on their device.

B clips, C channels (x, y, (in 3D) z, and score), T frames, V joints, M persons. A joint is present if its score is above 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transm3e.config.schema import choices
from transm3e.data.types import numbers_on
from transm3e.joints import COORDINATES, LAYOUTS, Layout

NORMALIZATIONS = choices("SKELETON.NORMALIZE")
# A torso that is shorter (as a share of the frame), or has a joint with a lower score, is too unreliable as unit of length.
MIN_TORSO, MIN_SCORE = 0.02, 0.2


def normalize(x: Tensor, how: str, layout: str) -> Tensor:
    """Shares of the frame -> coordinates around 0; (B, C, T, V, M), missing joints stay zero.

    "frame": -1 to 1 inside the frame. "body": in torso lengths (mid-hip to mid-shoulder) around the mid-hip of the first
    person, in the first frame in which both shoulders and both hips have a score of at least 0.2; this removes the camera's
    distance and position. A clip without such a frame is normalised as "frame".

    3D joints are already relative to the hips: "frame" leaves them unchanged, "body" rotates each person, by one angle for
    the clip, so that hips and shoulders are parallel to the image plane.
    """
    assert how in NORMALIZATIONS, f"normalisation {how!r}"
    if x.shape[1] == COORDINATES["world"]:
        return _facing(x, LAYOUTS[layout]) if how == "body" else x
    origin, unit = _torso(x, LAYOUTS[layout]) if how == "body" else (0.5, 0.5)
    return _keep(torch.cat([(x[:, :-1] - origin) / unit, x[:, -1:]], dim=1), x[:, -1:] > 0)


def bones(x: Tensor, layout: str) -> Tensor:
    """Each joint minus its parent, with the lower of their scores; zero where either is missing, and at the centre.

    (B, C, T, V, M) -> the same shape.
    """
    joints, parents = (numbers_on(x.device, numbers) for numbers in zip(*LAYOUTS[layout].bones, strict=True))
    found = _difference(x.index_select(3, joints), x.index_select(3, parents))
    return torch.zeros_like(x).index_copy_(3, joints, found)


def motion(x: Tensor) -> Tensor:
    """Next frame minus this one, with the lower of their scores; zero in the last frame and where either is missing.

    (B, C, T, V, M) -> the same shape. After `bones` these are the bones' motions.
    """
    return torch.cat([_difference(x[:, :, 1:], x[:, :, :-1]), torch.zeros_like(x[:, :, :1])], dim=2)


def _difference(x: Tensor, start: Tensor) -> Tensor:
    score = torch.minimum(x[:, -1:], start[:, -1:])
    return _keep(torch.cat([x[:, :-1] - start[:, :-1], score], dim=1), score > 0)


def _keep(x: Tensor, present: Tensor) -> Tensor:
    return torch.where(present, x, torch.zeros((), dtype=x.dtype, device=x.device))


def _facing(x: Tensor, layout: Layout) -> Tensor:
    """3D joints, each person rotated around the vertical axis to face the camera."""
    across = x.new_zeros(x.shape[0], 2, x.shape[-1])  # x and z from right to left, summed over the clip
    for end in ("hip", "shoulder"):
        left, right = (x[:, :, :, layout.names.index(f"{side}_{end}")] for side in ("left", "right"))
        seen = (left[:, -1:] > 0) & (right[:, -1:] > 0)
        across = across + ((left - right)[:, :-1:2] * seen).sum(2)
    angle = torch.atan2(across[:, 1], across[:, 0])[:, None, None]
    cos, sin = angle.cos(), angle.sin()
    right, down, away, score = x.unbind(1)
    return torch.stack([cos * right + sin * away, down, cos * away - sin * right, score], dim=1)


def _torso(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Origin (B, 2, 1, 1, 1) and unit (B, 1, 1, 1, 1) of each clip, in shares of the frame."""
    ends = [[layout.names.index(f"{side}_{end}") for side in ("left", "right")] for end in ("hip", "shoulder")]
    hip, shoulder = (x[..., 0].index_select(3, numbers_on(x.device, end)) for end in ends)  # (B, 3, T, 2) each
    middle, top = hip[:, :2].mean(dim=-1), shoulder[:, :2].mean(dim=-1)  # (B, 2, T)
    length = (top - middle).norm(dim=1)  # (B, T)
    usable = (hip[:, 2] >= MIN_SCORE).all(-1) & (shoulder[:, 2] >= MIN_SCORE).all(-1) & (length > MIN_TORSO)
    first = usable.to(torch.uint8).argmax(dim=1)  # the first of equal values
    found = usable.any(dim=1).view(-1, 1, 1, 1, 1)
    rows = torch.arange(x.shape[0], device=x.device)
    origin = torch.where(found, middle[rows, :, first].view(-1, 2, 1, 1, 1), 0.5)
    return origin, torch.where(found, length[rows, first].view(-1, 1, 1, 1, 1), 0.5)
