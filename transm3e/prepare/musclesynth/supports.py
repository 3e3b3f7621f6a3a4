"""What carries the figure, as convex hulls: mat, seat, bench, bars, box, wall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transm3e.prepare.musclesynth.body import Points
from transm3e.prepare.musclesynth.postures import Posture

Hull = np.ndarray  # (n, 3) metres
TRUNK_DEPTH = 0.062  # half the thickness of the trunk, of stature
BOARD = 0.06  # metres, thickness of pads


def hulls(posture: Posture, rest: Points, stature: float) -> list[Hull]:
    """Solids under, over or behind a figure whose resting joints are `rest`, (1, 3) metres each."""
    points = {name: xyz[0] for name, xyz in rest.items()}
    return SUPPORTS[posture.support](points, posture.top * stature, stature)


def _box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Hull:
    return np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])


def _block(point: np.ndarray, top: float, half: tuple[float, float], back: float = 0.0) -> Hull:
    # From the floor to `top`, under a point; `back` moves it to the figure's rear.
    x, _, z = point
    return _box((x - half[0], 0, z - back - half[1]), (x + half[0], top, z - back + half[1]))


def _board(first: np.ndarray, second: np.ndarray, depth: float) -> Hull:
    # A pad behind the trunk, from one of its points to another.
    along = second - first
    behind = np.cross((1.0, 0.0, 0.0), along)  # of an upright trunk: to the front
    behind = -behind / np.linalg.norm(behind)
    ends = [end + away * behind for end in (first, second) for away in (depth, depth + BOARD)]
    return np.array([np.add(end, (x, 0, 0)) for end in ends for x in (-0.15, 0.15)])


def _rail(first: np.ndarray, second: np.ndarray) -> Hull:
    return np.array(
        [np.add(end, (x, y, z)) for end in (first, second) for x, y, z in ((0, -0.015, 0), (0, 0.015, 0.015))]
    )


def _floor(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    all_points = np.array(list(points.values()))
    low, high = all_points.min(axis=0) - 0.12, all_points.max(axis=0) + 0.12
    return [_box((low[0], 0, low[2]), (high[0], 0, high[2]))]


def _seat(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    return [_block(points["pelvis"], top, (0.24, 0.21))]


def _backrest(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    back = _board(points["pelvis"], points["crown"], TRUNK_DEPTH * stature)
    return [_block(points["pelvis"], top, (0.2, 0.2)), back]


def _bench(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    hip, head = points["pelvis"], points["crown"]
    return [
        _block(hip, top - BOARD, (0.05, 0.05)),
        _block(head, top - BOARD, (0.05, 0.05), -0.1),
        _board(hip, head, hip[1] - top),
    ]


def _bar(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    left, right = (points[f"{side}_wrist"] for side in "lr")
    reach = 0.3 * (left - right) / np.linalg.norm(left - right)
    posts = [_block(end, end[1], (0.025, 0.025)) for end in (left + reach, right - reach)]
    return [*posts, _rail(left + reach, right - reach)]


def _rails(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    parts = []
    for side in "lr":
        hand = points[f"{side}_wrist"] * (1, 0, 1) + (0, top, 0)
        ends = [np.add(hand, (0, 0, z)) for z in (-0.3, 0.25)]
        parts += [_rail(*ends), *(_block(end, top, (0.02, 0.02)) for end in ends)]
    return parts


def _box_behind(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    # Under hands that are behind the back, or under shoulders.
    point = points["neck"] if abs(points["neck"][1] - top) < 0.2 * stature else points["l_wrist"] * (0, 1, 1)
    return [_block(point, top, (0.45, 0.16))]


def _wall(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    z = points["pelvis"][2] - TRUNK_DEPTH * stature
    return [_box((-0.6, 0, z - 0.05), (0.6, 1.25 * stature, z))]


def _step(points: dict[str, np.ndarray], top: float, stature: float) -> list[Hull]:
    return [_block(points["l_ankle"], top, (0.3, 0.2), -0.05)]


SUPPORTS: dict[str, Callable[[dict[str, np.ndarray], float, float], list[Hull]]] = {
    "none": lambda points, top, stature: [],
    "floor": _floor,
    "seat": _seat,
    "backrest": _backrest,
    "bench": _bench,
    "bar": _bar,
    "rails": _rails,
    "box": _box_behind,
    "wall": _wall,
    "step": _step,
    "pad": lambda points, top, stature: [_block(points["pelvis"], top, (0.2, 0.12), -0.06)],
}
