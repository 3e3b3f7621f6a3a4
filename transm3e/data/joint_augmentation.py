"""Augmentation of joints: other cameras, other bodies, detectors' errors, and joints that other data sets have not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transm3e.joints import EXTREMITIES, LAYOUTS

HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
# What is missing in a data set is missing as a whole.
GROUPS = (EXTREMITIES[:4], EXTREMITIES[4:], HEAD)
# The body is measured by these.
TORSO = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
# Single joints are missing as often as this, as a share of how often a group is.
SINGLE = 0.25


@dataclass(frozen=True)
class JointAugmentation:
    """What may happen to the joints of a training clip; 0 everywhere: nothing.

    Attributes:
        turn: the most degrees around the vertical axis; of joints in space.
        tilt: the most degrees that the camera leans, around every other axis.
        stretch: every axis is scaled by 1 - s to 1 + s.
        noise: standard deviation of a joint's error, once for the clip and once more in each frame, in body sizes: root
            of the mean square distance of its joints from their middle. Each clip draws 0 to twice as much, as some are
            seen better than others, and a model of noisy ones alone is worse on clean ones.
        dropout: probability that the feet, the hands or the head are missing, those that the layout has; a quarter of it
            for each single joint but the torso's.
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
    """One draw of them: what may happen, and the seed of what does."""

    changes: JointAugmentation
    seed: int

    def apply(self, joints: np.ndarray, layout: str) -> np.ndarray:
        """(T, M, V, 3 or 4) x, y, (z,) score, zeros where missing -> the same shape, float32, zeros likewise."""
        rng, how = np.random.default_rng(self.seed), self.changes
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
    """(axes, axes): turned around the vertical axis, then tilted, then stretched."""
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
    """(V,) bool."""
    names = LAYOUTS[layout].names
    missing = (rng.random(len(names)) < SINGLE * probability) & ~np.isin(names, TORSO)
    for group in GROUPS:
        if rng.random() < probability:
            missing |= np.isin(names, group)
    return missing
