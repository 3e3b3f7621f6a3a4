"""Augmentation of joints: other cameras and bodies, detector noise, and joints that other datasets lack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transm3e.joints import EXTREMITIES, LAYOUTS

HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
# Groups of joints that a dataset either has or lacks as a whole.
GROUPS = (EXTREMITIES[:4], EXTREMITIES[4:], HEAD)
# Never dropped: the body's size is measured by these.
TORSO = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
# Probability of dropping a single joint, as a share of that of a group.
SINGLE = 0.25


@dataclass(frozen=True)
class JointAugmentation:
    """Ranges of the augmentation of joints in training clips; all 0: none.

    Attributes:
        turn: maximum rotation in degrees around the vertical axis; of 3D joints only.
        tilt: maximum rotation in degrees around each other axis.
        stretch: every axis is scaled by 1 - s to 1 + s.
        noise: standard deviation of a joint's error, drawn once per clip and once more per frame, in body sizes (root mean
            square distance of the joints from their mean). Each clip scales it by a factor from 0 to 2, as some clips are
            detected better than others, and a model trained on noisy joints only is worse on clean ones.
        dropout: probability that feet, hands or head (where the layout has them) are missing; a quarter of it for each
            single joint outside the torso.
    """

    turn: float = 0.0
    tilt: float = 0.0
    stretch: float = 0.0
    noise: float = 0.0
    dropout: float = 0.0

    def __bool__(self) -> bool:
        return any((self.turn, self.tilt, self.stretch, self.noise, self.dropout))


@dataclass(frozen=True)
class DrawnJointAugmentation:
    """One draw: the ranges and the seed."""

    ranges: JointAugmentation
    seed: int

    def apply(self, joints: np.ndarray, layout: str) -> np.ndarray:
        """(T, M, V, 3 or 4) x, y, (z,) score, zeros where missing -> the same shape, float32, missing joints still zero."""
        rng, how = np.random.default_rng(self.seed), self.ranges
        there = joints[..., -1:] > 0
        if not there.any():
            return joints
        points, score = joints[..., :-1], joints[..., -1:]
        middle = points.mean(axis=(0, 1, 2), where=there)
        size = np.sqrt(((points - middle) ** 2).sum(axis=-1).mean(where=there[..., 0]))
        moved = (points - middle) @ _transform(rng, how, points.shape[-1]).T + middle
        moved += (
            rng.uniform(0, 2)
            * how.noise
            * size
            * (rng.standard_normal(points.shape[1:]) + rng.standard_normal(points.shape))
        )
        kept = there & ~_missing(rng, how.dropout, layout)[:, None]
        return np.where(kept, np.concatenate([moved, score], axis=-1), 0).astype(np.float32)


def _transform(rng: np.random.Generator, how: JointAugmentation, axes: int) -> np.ndarray:
    """(axes, axes): rotation around the vertical axis, then tilt, then stretch."""
    turn, *tilts = np.radians(rng.uniform(-1, 1, 3) * (how.turn, how.tilt, how.tilt))
    stretched = np.diag(rng.uniform(1 - how.stretch, 1 + how.stretch, axes))
    if axes == 2:
        return stretched @ _rotation(2, 0, 1, tilts[0])
    return stretched @ _rotation(3, 0, 1, tilts[0]) @ _rotation(3, 1, 2, tilts[1]) @ _rotation(3, 0, 2, turn)


def _rotation(axes: int, first: int, second: int, angle: float) -> np.ndarray:
    matrix = np.eye(axes)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


def _missing(rng: np.random.Generator, probability: float, layout: str) -> np.ndarray:
    """(V,) bool: the joints to drop."""
    names = LAYOUTS[layout].names
    missing = (rng.random(len(names)) < SINGLE * probability) & ~np.isin(names, TORSO)
    for group in GROUPS:
        if rng.random() < probability:
            missing |= np.isin(names, group)
    return missing
