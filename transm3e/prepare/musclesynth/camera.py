"""A perspective camera that frames the figure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from transm3e.prepare.musclesynth.postures import Posture

WORLD_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Camera:
    """Pinhole camera: pixel = centre + focal * (right . d, -up . d) / (forward . d) with d = point - position.

    Attributes:
        position: (3,) metres.
        right, up, forward: (3,) unit vectors.
        focal: pixels.
        centre: (2,) pixels, x and y of the optical axis.
    """

    position: np.ndarray
    right: np.ndarray
    up: np.ndarray
    forward: np.ndarray
    focal: float = 1.0
    centre: tuple[float, float] = (0.0, 0.0)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(..., 3) metres -> (..., 2) pixels and (...) depth in metres."""
        ray = points - self.position
        depth = np.maximum(ray @ self.forward, 0.1)
        x = self.centre[0] + self.focal * (ray @ self.right) / depth
        y = self.centre[1] - self.focal * (ray @ self.up) / depth
        return np.stack([x, y], axis=-1), depth

    def rays(self, width: int, height: int) -> np.ndarray:
        """(height, width, 3) viewing directions of the pixels' centres, not normalised."""
        x = (np.arange(width) + 0.5 - self.centre[0]) / self.focal
        y = (np.arange(height) + 0.5 - self.centre[1]) / self.focal
        return self.forward + x[None, :, None] * self.right - y[:, None, None] * self.up

    def level_axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Horizontal unit vectors, (3,) each: away from the camera, and to its right."""
        ahead = self.forward * (1, 0, 1) / np.linalg.norm(self.forward[[0, 2]])
        return ahead, np.array([-ahead[2], 0, ahead[0]])


def look_at(target: np.ndarray, azimuth: float, elevation: float, roll: float, distance: float) -> Camera:
    """A camera `distance` metres from `target`; angles in degrees, azimuth 0 looks the upright figure in the face."""
    az, el, turn = np.radians([azimuth, elevation, roll])
    back = np.array([np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)])
    right = np.cross(-back, WORLD_UP)
    right /= np.linalg.norm(right)
    up = np.cross(right, -back)
    rolled = np.cos(turn) * right + np.sin(turn) * up, np.cos(turn) * up - np.sin(turn) * right
    return Camera(target + distance * back, *rolled, -back)


def sample_camera(points: np.ndarray, posture: Posture, rng: np.random.Generator, width: int, height: int) -> Camera:
    """A random viewpoint that keeps the figure large and inside the frame.

    Args:
        points: (T, J, 3) metres, all the figure does in the clip.
        posture: gives the centre of the azimuth and the range of the elevation.
        rng: the clip's generator.
        width: of the frame, pixels.
        height: of the frame, pixels.
    """
    flat = points.reshape(-1, 3)
    target = (flat.min(axis=0) + flat.max(axis=0)) / 2
    azimuth = (posture.azimuth + rng.uniform(-70, 70)) * rng.choice((-1, 1))
    camera = look_at(target, azimuth, rng.uniform(*posture.elevation), rng.normal(0, 2.5), rng.uniform(3.6, 6.0))
    pixels, depth = camera.project(flat)
    margin = 0.11 / depth.mean()  # metres of flesh around the joints, seen at that distance
    low, high = pixels.min(axis=0) - margin, pixels.max(axis=0) + margin
    fill = rng.uniform(0.8, 0.96)
    focal = float(fill * min(width / (high - low)[0], height / (high - low)[1]))
    slack = np.maximum(np.array([width, height]) - focal * (high - low), 0)
    corner = slack * rng.uniform(0.3, 0.7, 2)
    return replace(camera, focal=focal, centre=tuple((corner - focal * low).tolist()))
