"""COCO-17 keypoints of the rendered figure in AlphaPose's list layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from transm3e.data.musclesynth.body import Points
from transm3e.data.musclesynth.camera import Camera
from transm3e.data.musclesynth.figure import Part
from transm3e.data.musclesynth.render import pole_edges
from transm3e.data.musclesynth.scene import Scene

COCO_17 = (
    "nose",
    *(
        f"{side}_{name}"
        for name in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in "lr"
    ),
)
JITTER = 0.5  # standard deviation in pixels of a joint that is seen
HIDDEN_JITTER = 1.6
BEHIND = 0.13  # metres a solid must be nearer than a joint to hide it (its own limb is not)


def detect(
    points: Points, parts: list[Part], scene: Scene, camera: Camera, shake: np.ndarray, size: tuple[int, int]
) -> Detector:
    """What a pose detector would see of the figure; see Detector."""
    joints = np.stack([points[name] for name in COCO_17], axis=1)
    pixels, depth = camera.project(joints)
    hidden = _hidden(pixels, depth, parts, camera) | _behind_pole(pixels, scene, size[0])
    pixels = pixels + shake[:, None]
    outside = ((pixels < 0) | (pixels >= np.asarray(size))).any(axis=-1)
    return Detector(pixels, hidden, outside)


class Detector:
    """Ideal keypoints and which of them can be seen.

    Attributes:
        pixels: (T, 17, 2) x and y in pixels of the frame.
        hidden: (T, 17) bool, behind another limb or the occluder.
        outside: (T, 17) bool, out of the frame.
    """

    def __init__(self, pixels: np.ndarray, hidden: np.ndarray, outside: np.ndarray) -> None:
        self.pixels, self.hidden, self.outside = pixels, hidden, outside

    def results(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        """One AlphaPose entry per frame, with jitter, and lower confidence where a joint is hidden or outside."""
        spread = np.where(self.hidden | self.outside, HIDDEN_JITTER, JITTER)[..., None]
        found = self.pixels + rng.normal(0, 1, self.pixels.shape) * spread
        score = np.where(self.hidden, 0.45, 0.9) * np.where(self.outside, 0.25, 1.0)
        score = np.clip(score + rng.normal(0, 0.04, score.shape), 0.02, 0.99)
        return [_entry(index, found[index], score[index]) for index in range(len(found))]


def _entry(index: int, found: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    low, high = found.min(axis=0), found.max(axis=0)
    return {
        "image_id": f"{index}.jpg",
        "category_id": 1,
        "keypoints": [round(float(value), 2) for value in np.column_stack([found, score]).ravel()],
        "score": round(3 * float(score.mean()), 3),
        "box": [round(float(value), 2) for value in (*low, *(high - low))],
        "idx": 1,
    }


def _hidden(pixels: np.ndarray, depth: np.ndarray, parts: list[Part], camera: Camera) -> np.ndarray:
    hidden = np.zeros(depth.shape, bool)
    for part in parts:
        centre, away = camera.project(part.centres)
        radius = camera.focal * part.radii / away
        for first in range(centre.shape[1]):
            for second in range(first, centre.shape[1]):
                ends = [array[:, [first, second]] for array in (centre, away, radius)]
                hidden |= _covers(pixels, depth, *ends)
    return hidden


def _covers(
    pixels: np.ndarray, depth: np.ndarray, centre: np.ndarray, away: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    # Joints inside the drawn capsule between two circles and clearly behind it: (T, 17) bool.
    axis = (centre[:, 1] - centre[:, 0])[:, None]
    along = ((pixels - centre[:, :1]) * axis).sum(axis=-1) / np.maximum((axis**2).sum(axis=-1), 1e-9)
    share = np.clip(along, 0, 1)
    distance = np.linalg.norm(pixels - centre[:, :1] - share[..., None] * axis, axis=-1)
    near, wide = (array[:, :1] + share * (array[:, 1:] - array[:, :1]) for array in (away, radius))
    return (distance < wide) & (near < depth - BEHIND)


def _behind_pole(pixels: np.ndarray, scene: Scene, width: int) -> np.ndarray:
    left, right = pole_edges(scene, width)
    return (pixels[..., 0] >= left) & (pixels[..., 0] < right)
