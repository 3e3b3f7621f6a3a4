"""What differs from clip to clip besides the motion: colours, room, light, things that move or stand in the way."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from transm3e.prepare.musclesynth.camera import Camera

Colour = tuple[int, int, int]

SKIN: tuple[Colour, ...] = (
    (246, 215, 190),
    (230, 188, 152),
    (206, 157, 115),
    (165, 114, 74),
    (120, 78, 50),
    (84, 56, 40),
)
HAIR: tuple[Colour, ...] = ((30, 24, 22), (72, 46, 28), (122, 82, 44), (196, 160, 96), (150, 150, 150), (128, 52, 30))
TEXTURES = ("plain", "stripes", "planks", "checker", "bricks", "clouds")
MIN_CONTRAST = 95.0  # Euclidean distance in RGB between clothes and room


@dataclass(frozen=True)
class Look:
    """Colours of one subject.

    Attributes:
        shirt, trousers, skin, hair, shoes, dumbbell: RGB, 0..255.
        sleeves: whether the forearms are covered.
        long_trousers: whether the shanks are covered.
    """

    shirt: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    shoes: Colour
    dumbbell: Colour
    sleeves: bool
    long_trousers: bool


@dataclass(frozen=True)
class Surface:
    """A textured wall or floor: base colour, second colour, pattern, size of the pattern in metres, and its seed."""

    base: Colour
    second: Colour
    texture: str
    scale: float
    seed: int


@dataclass(frozen=True)
class Mover:
    """A moving distractor: a ball that bounces or a lamp that swings.

    Attributes:
        place: metres to the camera's right, up from the floor, and away from the camera, seen from the figure.
        swing: metres, how far it moves along each of these.
        rate: cycles per second.
        start: phase at the first frame, cycles.
        radius: metres.
        colour: RGB.
    """

    place: tuple[float, float, float]
    swing: tuple[float, float, float]
    rate: float
    start: float
    radius: float
    colour: Colour

    def positions(self, time: np.ndarray, camera: Camera) -> np.ndarray:
        """(T,) seconds -> (T, 3) metres in the world; upward movement is a bounce."""
        wave = np.sin(2 * np.pi * (self.rate * time + self.start))
        path = np.asarray(self.place) + np.stack([wave, np.abs(wave), wave], axis=1) * np.asarray(self.swing)
        ahead, across = camera.level_axes()
        return path @ np.stack([across, (0, 1, 0), ahead])


@dataclass(frozen=True)
class Scene:
    """Everything random about a clip except body, motion and camera.

    Attributes:
        look: the subject's colours.
        wall, floor: surfaces of the room.
        mat: RGB of the exercise mat or the seat.
        posters: rectangles on the wall (left, bottom, width, height in metres, colour).
        movers: moving distractors.
        occluder: a pole before the figure (x of its middle and its width as shares of the frame, colour), or None.
        light: (2,) unit vector on the screen towards the light, y down.
        gain: brightness at the left and the right edge of the frame.
        noise: standard deviation of the sensor noise, grey levels.
        crf: x264 quality.
        shake: amplitude of the camera's shake, pixels.
    """

    look: Look
    wall: Surface
    floor: Surface
    mat: Colour
    posters: tuple[tuple[float, float, float, float, Colour], ...]
    movers: tuple[Mover, ...]
    occluder: tuple[float, float, Colour] | None
    light: np.ndarray
    gain: tuple[float, float]
    noise: float
    crf: int
    shake: float


def sample_scene(rng: np.random.Generator) -> Scene:
    """A random room and subject with enough contrast between them."""
    wall, floor = _surface(rng, 0.62, 0.95), _surface(rng, 0.45, 0.85)
    room = (wall.base, wall.second, floor.base)
    angle = np.radians(rng.uniform(-150, -30))
    pole = (float(rng.uniform(0.12, 0.88)), float(rng.uniform(0.025, 0.05)), _colour(rng, 0.1, 0.9))
    return Scene(
        look=_look(rng, room),
        wall=wall,
        floor=floor,
        mat=_colour(rng, 0.3, 0.75),
        posters=tuple(_poster(rng) for _ in range(rng.integers(0, 4))),
        movers=tuple(_mover(rng) for _ in range(rng.integers(0, 3))),
        occluder=pole if rng.random() < 0.3 else None,
        light=np.array([np.cos(angle), np.sin(angle)]),
        gain=(float(rng.uniform(0.8, 1.12)), float(rng.uniform(0.8, 1.12))),
        noise=float(rng.uniform(1, 5)),
        crf=int(rng.integers(24, 32)),
        shake=float(rng.uniform(0, 1.0)),
    )


def background(scene: Scene, camera: Camera, depth: float, width: int, height: int) -> np.ndarray:
    """The empty room seen by the camera: (height, width, 3) uint8 RGB.

    Args:
        scene: gives wall, floor and posters.
        camera: the viewpoint.
        depth: how far behind the world's origin the wall stands, metres, as the camera looks.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    rays = camera.rays(width, height)
    ahead, across = camera.level_axes()
    to_wall = (depth - camera.position @ ahead) / np.maximum(rays @ ahead, 1e-3)
    to_floor = np.where(rays[..., 1] < -1e-6, -camera.position[1] / np.minimum(rays[..., 1], -1e-6), np.inf)
    hit = camera.position + rays * np.minimum(to_wall, to_floor)[..., None]
    image = np.where(
        (to_wall < to_floor)[..., None],
        _wall(scene, hit @ across, hit[..., 1]),
        paint(scene.floor, hit[..., 0], hit[..., 2]),
    )
    return image.astype(np.uint8)


def paint(surface: Surface, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours of a surface at positions (u, v) in metres: (..., 3) float in 0..255."""
    share = _pattern(surface, u / surface.scale, v / surface.scale)[..., None]
    return np.asarray(surface.base) * (1 - share) + np.asarray(surface.second) * share


def _pattern(surface: Surface, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    if surface.texture == "stripes":
        return np.mod(np.floor(2 * u), 2)
    if surface.texture == "planks":
        return np.mod(np.floor(u) * 0.381966 + surface.seed / 97, 1)
    if surface.texture == "checker":
        return np.mod(np.floor(u) + np.floor(v), 2)
    if surface.texture == "bricks":
        row = np.floor(2 * v)
        return ((np.mod(2 * v, 1) < 0.12) | (np.mod(u + 0.5 * np.mod(row, 2), 1) < 0.06)).astype(float)
    if surface.texture == "clouds":
        phase = np.random.default_rng(surface.seed).uniform(0, 2 * np.pi, 4)
        waves = np.sin(3 * u + phase[0]) + np.sin(4 * v + phase[1]) + np.sin(2 * (u + v) + phase[2])
        return 0.5 + (waves + np.sin(5 * (u - v) + phase[3])) / 8
    return np.zeros_like(u)


def _wall(scene: Scene, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    image = paint(scene.wall, across, up)
    for left, bottom, width, height, colour in scene.posters:
        inside = (across > left) & (across < left + width) & (up > bottom) & (up < bottom + height)
        image[inside] = colour
    image[up < 0.1] = np.asarray(scene.wall.base) * 0.7  # skirting board
    return image


def _colour(rng: np.random.Generator, low: float, high: float, saturation: float = 0.85) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(rng.random(), saturation * rng.random(), rng.uniform(low, high))
    return round(255 * r), round(255 * g), round(255 * b)


def _surface(rng: np.random.Generator, low: float, high: float) -> Surface:
    base = _colour(rng, low, high, saturation=0.3)
    factor = rng.uniform(0.78, 0.93)
    second = tuple(round(channel * factor) for channel in base)
    texture = TEXTURES[rng.integers(len(TEXTURES))]
    return Surface(
        base, (second[0], second[1], second[2]), texture, float(rng.uniform(0.2, 0.6)), int(rng.integers(97))
    )


def _look(rng: np.random.Generator, room: tuple[Colour, ...]) -> Look:
    return Look(
        shirt=_contrasting(rng, room),
        trousers=_contrasting(rng, room),
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        shoes=_contrasting(rng, room),
        dumbbell=_colour(rng, 0.05, 0.4),
        sleeves=bool(rng.random() < 0.3),
        long_trousers=bool(rng.random() < 0.55),
    )


def _contrasting(rng: np.random.Generator, room: tuple[Colour, ...]) -> Colour:
    # The farthest of a few colours when none is far enough: always ends, nearly always contrasts.
    tries = [_colour(rng, 0.08, 1.0, saturation=1.0) for _ in range(12)]
    distance = [min(np.linalg.norm(np.subtract(colour, other)) for other in room) for colour in tries]
    far = [colour for colour, d in zip(tries, distance, strict=True) if d > MIN_CONTRAST]
    return far[0] if far else tries[int(np.argmax(distance))]


def _poster(rng: np.random.Generator) -> tuple[float, float, float, float, Colour]:
    left, bottom, width, height = rng.uniform((-2.5, 0.4, 0.3, 0.3), (2.0, 1.6, 1.0, 0.9))
    return float(left), float(bottom), float(width), float(height), _colour(rng, 0.4, 0.95, saturation=0.6)


def _mover(rng: np.random.Generator) -> Mover:
    bounces = rng.random() < 0.5
    low, high = ((-1.4, 0.1, 0.6), (1.4, 0.2, 1.1)) if bounces else ((-1.5, 0.8, 0.6), (1.5, 1.9, 1.1))
    least, most = ((0.0, 0.3, 0), (0.5, 0.9, 0.1)) if bounces else ((0.15, 0.02, 0), (0.5, 0.1, 0.2))
    place, swing = rng.uniform(low, high).tolist(), rng.uniform(least, most).tolist()
    rate, start, radius = rng.uniform((0.3, 0, 0.06), (1.1, 1, 0.13)).tolist()
    if rng.random() < 0.15:
        place[2] = -0.6  # passes between camera and figure
    return Mover(tuple(place), tuple(swing), rate, start, radius, _colour(rng, 0.3, 1.0))
