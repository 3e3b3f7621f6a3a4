"""Draw a clip with OpenCV: room, shadow, figure, distractors, light, noise, camera shake."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from transm3e.prepare.musclesynth.camera import Camera
from transm3e.prepare.musclesynth.figure import FEATURES, GROUP_BIAS, Part
from transm3e.prepare.musclesynth.scene import Colour, Scene, background

SCALE = 2  # drawn at twice the size and averaged: smooth edges
EDGE = 0.014  # metres, width of the dark outline
CORNERS = 12  # of the polygon that stands for a circle
CIRCLE = np.stack([f(np.arange(CORNERS) * 2 * np.pi / CORNERS) for f in (np.cos, np.sin)], axis=1)
SHIFT = 3  # fractional bits of the coordinates handed to OpenCV
SHADE = 0.62  # brightness in the figure's shadow
WALL = 1.6  # metres from the figure to the wall


class ClipRenderer:
    """Draws the frames of one clip.

    Args:
        scene: room, light, distractors.
        camera: in pixels of the finished frame.
        parts: the figure's solids.
        props: hulls of what carries the figure (mat, bench, bar), (n, 3) metres each.
        size: (width, height) of a frame, pixels.
        shake: (T, 2) movement of the camera, pixels.
        rng: for noise.
        fps: frames per second.
    """

    def __init__(
        self,
        scene: Scene,
        camera: Camera,
        parts: list[Part],
        props: list[np.ndarray],
        size: tuple[int, int],
        shake: np.ndarray,
        rng: np.random.Generator,
        fps: float,
    ) -> None:
        self.scene, self.camera, self.parts, self.size = scene, camera, parts, size
        self.frames = len(parts[0].centres)
        self.time = np.arange(self.frames) / fps
        self.room = self._room(props)
        self.shade = cv2.convertScaleAbs(self.room, alpha=SHADE)
        self.light = _light(scene, size)
        self.noise = _noise(scene.noise, size, rng)
        self.shifts = rng.integers(0, 16, (self.frames, 2))
        self.shake = shake
        edges = [0.0 if part.name in FEATURES else EDGE for part in parts]
        self.outlines = [_circles(camera, part, edge) for part, edge in zip(parts, edges, strict=True)]
        self.fills = [_circles(camera, part, 0.0) for part in parts]
        self.lights = [_circles(camera, part, 0.0, shrink=0.5, towards=scene.light) for part in parts]
        self.tones = [(_tone(p.colour, 0.4), _tone(p.colour, 0.86), _tone(p.colour, 1.08, 10)) for p in parts]
        self.order = _far_to_near(camera, parts)
        self.shadows = [_shadow(camera, part, scene.light) for part in parts]
        self.movers = [_mover(camera, mover.positions(self.time, camera), mover.radius) for mover in scene.movers]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames in order, (H, W, 3) uint8 RGB."""
        return (self.frame(index) for index in range(self.frames))

    def silhouette(self, index: int) -> np.ndarray:
        """(H, W) bool: the pixels of frame `index` that the figure covers, occluders ignored."""
        mask = np.zeros((self.size[1] * SCALE, self.size[0] * SCALE), np.uint8)
        for circles in self.outlines:
            _fill(mask, circles[index], 255)
        return self._shaken(cv2.resize(mask, self.size, interpolation=cv2.INTER_AREA), index) > 64

    def frame(self, index: int) -> np.ndarray:
        """Frame `index`, (H, W, 3) uint8 RGB."""
        canvas = self._shadowed(index)
        self._draw_movers(canvas, index, front=False)
        for group in self.order[index]:
            self._draw_group(canvas, group, index)
        self._draw_movers(canvas, index, front=True)
        self._draw_occluder(canvas)
        frame = cv2.resize(canvas, self.size, interpolation=cv2.INTER_AREA)
        frame = cv2.multiply(frame, self.light, dtype=cv2.CV_8U)
        (y, x), (width, height) = self.shifts[index], self.size
        return cv2.add(self._shaken(frame, index), self.noise[y : y + height, x : x + width], dtype=cv2.CV_8U)

    def _room(self, props: list[np.ndarray]) -> np.ndarray:
        width, height = self.size
        room = background(self.scene, self.camera, WALL, width, height)
        room = cv2.resize(room, (width * SCALE, height * SCALE), interpolation=cv2.INTER_LINEAR)
        far_first = sorted(props, key=lambda hull: -float(self.camera.project(hull)[1].mean()))
        for prop in far_first:
            corners = self.camera.project(prop)[0]
            middle = corners.mean(axis=0)
            _fill(room, _fixed(corners), _tone(self.scene.mat, 0.75))
            _fill(room, _fixed(middle + 0.94 * (corners - middle)), self.scene.mat)
        return room

    def _shadowed(self, index: int) -> np.ndarray:
        mask = np.zeros(self.room.shape[:2], np.uint8)
        for circles in self.shadows:
            _fill(mask, circles[index], 255)
        return cv2.copyTo(self.shade, mask, self.room.copy())

    def _draw_group(self, canvas: np.ndarray, group: list[int], index: int) -> None:
        # One outline around the whole limb, then its parts: no rings at the joints.
        for number in group:
            _fill(canvas, self.outlines[number][index], self.tones[number][0])
        for number in group:
            _fill(canvas, self.fills[number][index], self.tones[number][1])
            _fill(canvas, self.lights[number][index], self.tones[number][2])

    def _draw_movers(self, canvas: np.ndarray, index: int, front: bool) -> None:
        for mover, circles in zip(self.scene.movers, self.movers, strict=True):
            if (mover.place[2] < 0) == front:
                _fill(canvas, circles[index], mover.colour)

    def _draw_occluder(self, canvas: np.ndarray) -> None:
        if self.scene.occluder is None:
            return
        left, right = pole_edges(self.scene, canvas.shape[1])
        _, _, colour = self.scene.occluder
        canvas[:, left:right] = colour
        canvas[:, left : left + max(1, (right - left) // 4)] = _tone(colour, 0.7)

    def _shaken(self, frame: np.ndarray, index: int) -> np.ndarray:
        move = np.array([[1, 0, self.shake[index, 0]], [0, 1, self.shake[index, 1]]])
        return cv2.warpAffine(frame, move, self.size, borderMode=cv2.BORDER_REPLICATE)


def pole_edges(scene: Scene, width: int) -> tuple[int, int]:
    """First column of the occluding pole and the first one behind it, in a frame `width` pixels wide."""
    if scene.occluder is None:
        return 0, 0
    middle, share, _ = scene.occluder
    return round((middle - share / 2) * width), round((middle + share / 2) * width)


def shake(amplitude: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slow movement of a hand-held camera: (T,) seconds -> (T, 2) pixels."""
    rate, start = rng.uniform(0.3, 0.9, 2), rng.random(2)
    return amplitude * np.sin(2 * np.pi * (time[:, None] * rate + start))


def _far_to_near(camera: Camera, parts: list[Part]) -> list[list[list[int]]]:
    # Per frame: limbs from far to near, each a list of its parts' numbers from far to near.
    depth = np.stack([camera.project(part.centres)[1].mean(axis=1) for part in parts])
    members = {group: [n for n, part in enumerate(parts) if part.group == group] for group in GROUP_BIAS}
    names = [group for group in GROUP_BIAS if members[group]]
    away = np.stack([depth[members[group]].mean(axis=0) - GROUP_BIAS[group] for group in names])
    return [
        [sorted(members[names[group]], key=lambda n: -float(depth[n, frame])) for group in np.argsort(-away[:, frame])]
        for frame in range(depth.shape[1])
    ]


def _circles(
    camera: Camera, part: Part, grow: float, shrink: float = 1.0, towards: np.ndarray | None = None
) -> np.ndarray:
    # (T, n * CORNERS, 2) fixed-point canvas pixels: corners of the circles that the part's spheres look like.
    centre, depth = camera.project(part.centres)
    radius = camera.focal * (part.radii + grow) / depth
    if towards is not None:
        centre = centre + 0.32 * radius[..., None] * towards
    corners = centre[:, :, None] + (shrink * radius)[:, :, None, None] * CIRCLE
    return _fixed(corners.reshape(len(centre), -1, 2))


def _shadow(camera: Camera, part: Part, light: np.ndarray) -> np.ndarray:
    # Sunlight along (light's x to the camera's right, down): every sphere becomes a disc on the floor.
    _, across = camera.level_axes()
    slide = part.centres[..., 1:2] * 0.5 * -light[0] * across
    ground = (part.centres + slide) * (1, 0, 1)
    disc = np.stack([CIRCLE[:, 0], np.zeros(CORNERS), CIRCLE[:, 1]], axis=1)
    points = ground[:, :, None] + part.radii[:, None, None] * disc
    return _fixed(camera.project(points.reshape(len(ground), -1, 3))[0])


def _mover(camera: Camera, path: np.ndarray, radius: float) -> np.ndarray:
    centre, depth = camera.project(path)
    return _fixed(centre[:, None] + (camera.focal * radius / depth)[:, None, None] * CIRCLE)


def _fixed(pixels: np.ndarray) -> np.ndarray:
    # Pixels of the frame -> fixed-point pixels of the canvas; the bound keeps OpenCV's arithmetic from overflowing.
    return np.clip(pixels * (SCALE << SHIFT), -30000, 30000).astype(np.int32)


def _fill(canvas: np.ndarray, corners: np.ndarray, colour: Colour | int) -> None:
    cv2.fillConvexPoly(canvas, cv2.convexHull(corners), colour, cv2.LINE_8, SHIFT)


def _tone(colour: Colour, factor: float, lift: int = 0) -> Colour:
    r, g, b = (min(255, round(channel * factor) + lift) for channel in colour)
    return r, g, b


def _light(scene: Scene, size: tuple[int, int]) -> np.ndarray:
    gain = np.linspace(*scene.gain, size[0])[None, :, None]
    return np.broadcast_to(gain, (size[1], size[0], 3)).astype(np.float32)


def _noise(sigma: float, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    # One large field, of which every frame sees another window: as good to the eye, far cheaper.
    return np.rint(rng.normal(0, sigma, (size[1] + 16, size[0] + 16, 3))).astype(np.int16)
