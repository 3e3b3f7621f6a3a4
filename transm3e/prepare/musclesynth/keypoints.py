"""Joints of the figure as a pose detector would see them: layout body23, in pixels and in metres."""

from __future__ import annotations

import numpy as np

from transm3e.data.skeleton.sequence import Skeleton
from transm3e.joints import LAYOUTS
from transm3e.prepare.musclesynth.body import Points
from transm3e.prepare.musclesynth.camera import Camera
from transm3e.prepare.musclesynth.figure import FEATURES, Part
from transm3e.prepare.musclesynth.render import pole_edges
from transm3e.prepare.musclesynth.scene import Scene

LAYOUT = "body23"
# The layout's joint -> the figure's point.
_SHORT = {"left": "l", "right": "r", "index": "fingers"}
JOINTS = tuple(
    "_".join(_SHORT.get(word, word) for word in name.replace("foot_index", "toe").split("_"))
    for name in LAYOUTS[LAYOUT].names
)
JITTER = 0.5  # standard deviation in pixels of a joint that is seen
HIDDEN_JITTER = 1.6
# In metres, once for the clip and along the camera's axes: depth is a guess, and more so of joints that are hidden.
ERROR, HIDDEN_ERROR = np.array([0.012, 0.012, 0.035]), np.array([0.02, 0.02, 0.06])
BEHIND = 0.13  # metres a solid must be nearer than a joint to hide it (its own limb is not)


def detect(
    points: Points, parts: list[Part], scene: Scene, camera: Camera, shake: np.ndarray, size: tuple[int, int]
) -> DetectedJoints:
    """What a pose detector would see of the figure; see DetectedJoints."""
    joints = np.stack([points[name] for name in JOINTS], axis=1)
    pixels, depth = camera.project(joints)
    hidden = _hidden(pixels, depth, parts, camera) | _behind_pole(pixels, scene, size[0])
    pixels = pixels + shake[:, None]
    outside = ((pixels < 0) | (pixels >= np.asarray(size))).any(axis=-1)
    hips = (points["l_hip"] + points["r_hip"])[:, None] / 2
    world = (joints - hips) @ np.stack([camera.right, -camera.up, camera.forward], axis=1)
    return DetectedJoints(pixels, world, hidden, outside, size)


class DetectedJoints:
    """Ideal keypoints and which of them can be seen; J joints in the order of LAYOUT.

    Attributes:
        pixels: (T, J, 2) x and y in pixels of the frame.
        world: (T, J, 3) metres from the middle of the hips, x to the right, y down, z away from the camera.
        hidden: (T, J) bool, behind another limb or the occluder.
        outside: (T, J) bool, out of the frame.
        size: (width, height) of the frame.
    """

    def __init__(
        self, pixels: np.ndarray, world: np.ndarray, hidden: np.ndarray, outside: np.ndarray, size: tuple[int, int]
    ) -> None:
        self.pixels, self.world, self.hidden, self.outside, self.size = pixels, world, hidden, outside, size

    def skeleton(self, rng: np.random.Generator) -> Skeleton:
        """One person, with jitter, and lower confidence where a joint is hidden or outside."""
        unseen = self.hidden | self.outside
        found = self.pixels + rng.normal(0, 1, self.pixels.shape) * np.where(unseen, HIDDEN_JITTER, JITTER)[..., None]
        score = np.where(self.hidden, 0.45, 0.9) * np.where(self.outside, 0.25, 1.0)
        score = np.clip(score + rng.normal(0, 0.04, score.shape), 0.02, 0.99)
        off = rng.normal(0, 1, self.world.shape[1:]) * np.where(unseen.mean(axis=0)[:, None] > 0.5, HIDDEN_ERROR, ERROR)
        points = np.concatenate([found, score[..., None]], axis=-1).astype(np.float32)[:, None]
        world = (self.world + off).astype(np.float32)[:, None]
        width, height = self.size
        return Skeleton(points, LAYOUT, height, width, np.zeros((len(points), 1), np.int64), world=world)


def _hidden(pixels: np.ndarray, depth: np.ndarray, parts: list[Part], camera: Camera) -> np.ndarray:
    hidden = np.zeros(depth.shape, bool)
    for part in parts:
        if part.name in FEATURES:  # too small to hide a joint
            continue
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
    # Joints inside the drawn capsule between two circles and clearly behind it: (T, J) bool.
    axis = (centre[:, 1] - centre[:, 0])[:, None]
    along = ((pixels - centre[:, :1]) * axis).sum(axis=-1) / np.maximum((axis**2).sum(axis=-1), 1e-9)
    share = np.clip(along, 0, 1)
    distance = np.linalg.norm(pixels - centre[:, :1] - share[..., None] * axis, axis=-1)
    near, wide = (array[:, :1] + share * (array[:, 1:] - array[:, :1]) for array in (away, radius))
    return (distance < wide) & (near < depth - BEHIND)


def _behind_pole(pixels: np.ndarray, scene: Scene, width: int) -> np.ndarray:
    left, right = pole_edges(scene, width)
    return (pixels[..., 0] >= left) & (pixels[..., 0] < right)
