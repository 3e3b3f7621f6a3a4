"""From an activity to 3D points over time: tempo, phase, range of motion, held limbs, sway, and the ground."""

from __future__ import annotations

import numpy as np

from transm3e.data.musclesynth.activities import Activity, compatible
from transm3e.data.musclesynth.body import (
    ANGLES,
    ANKLE_HEIGHT,
    CENTRE_ANGLES,
    FOREARM,
    SHANK,
    THIGH,
    UPPER_ARM,
    Body,
    Points,
    forward,
    two_bone,
)
from transm3e.data.musclesynth.primitives import POSTURES, PRIMITIVES, Posture, Primitive

PERIOD = (0.95, 1.7)  # seconds per repetition; one-sided primitives take ALTERNATION times as long for both sides
ALTERNATION = 1.5
HELD_SHARE = 0.55  # clips in which a limb that is not trained is held in another primitive's pose
SOLE = 0.018  # half the thickness of a shoe, of stature
TRUNK_DEPTH = 0.062  # half the thickness of the trunk, of stature
SEAT_HEIGHT = SHANK + ANKLE_HEIGHT  # of the hips above the floor, of stature
SWAY = {"spine_side": 2.5, "spine_flex": 2.5, "neck_flex": 4.0, "neck_twist": 9.0, "shoulder_abd": 3.0, "elbow": 4.0}

Angles = dict[str, np.ndarray]
Levels = dict[str, np.ndarray]  # "l" and "r" -> (T,) effort, 0 at the start of the motion, 1 at its end


def animate(activity: Activity, body: Body, rng: np.random.Generator, frames: int, fps: float) -> tuple[Points, bool]:
    """Move a subject through an activity.

    Returns:
        points as body.forward gives them, in world coordinates (the floor is y = 0), and whether the hands hold dumbbells.
    """
    posture = POSTURES[activity.posture]
    angles = _rest(posture, frames)
    held = _held(activity, rng)
    if held is not None:
        _apply(angles, held, posture.name, _still(held, posture.name, rng, frames))
    phase = _phase(rng, frames, fps)
    for index, name in enumerate(activity.primitives):
        primitive = PRIMITIVES[name]
        shift = rng.uniform(-0.06, 0.06) + 0.5 * (index > 0 and rng.random() < 0.35)
        _apply(angles, primitive, posture.name, _levels(primitive, posture.name, phase + shift, rng))
    _sway(angles, rng, frames, fps)
    shown = [PRIMITIVES[name] for name in activity.primitives] + ([held] if held is not None else [])
    load = any(primitive.load for primitive in shown)
    return place(forward(body, angles), body, activity), load


def place(points: Points, body: Body, activity: Activity) -> Points:
    """Put a figure whose pelvis is at the origin on the floor and fix the limbs that keep their place there."""
    posture = POSTURES[activity.posture]
    rest = forward(body, _rest(posture, 1))
    shift = _grounding(points, rest, body, posture)
    points = {name: xyz + shift for name, xyz in points.items()}
    rest_shift = _grounding(rest, rest, body, posture)
    rest = {name: xyz + rest_shift for name, xyz in rest.items()}
    planted = set(posture.planted).union(*(PRIMITIVES[name].planted for name in activity.primitives))
    for side, sign in (("l", 1.0), ("r", -1.0)):
        if "arms" in planted:
            _plant_arm(points, rest, body, side, sign)
        if "legs" in planted:
            _plant_leg(points, rest, body, side)
    return points


def _rest(posture: Posture, frames: int) -> Angles:
    angles = {name: np.zeros(frames) for name in ANGLES}
    for name, degrees in posture.angles.items():
        for key in _keys(name):
            angles[key] = np.full(frames, float(degrees))
    return angles


def _keys(name: str) -> tuple[str, ...]:
    return (name,) if name in CENTRE_ANGLES else (f"l_{name}", f"r_{name}")


def _held(activity: Activity, rng: np.random.Generator) -> Primitive | None:
    # A pose without movement: what a single frame shows of a primitive must not give its muscles away.
    choices = [primitive for primitive in compatible(activity) if "trunk" not in primitive.parts]
    if not choices or rng.random() > HELD_SHARE:
        return None
    return choices[rng.integers(len(choices))]


def _phase(rng: np.random.Generator, frames: int, fps: float) -> np.ndarray:
    # Repetitions since the clip's start, with a random start and a tempo that drifts by up to 12 percent.
    tempo = 1 / rng.uniform(*PERIOD)
    time = np.arange(frames) / fps
    drift = rng.uniform(-0.12, 0.12) * np.sin(2 * np.pi * (0.3 * time + rng.random()))
    return rng.random() + np.cumsum(tempo * (1 + drift)) / fps


def _levels(primitive: Primitive, posture: str, phase: np.ndarray, rng: np.random.Generator) -> Levels:
    reach = rng.uniform(0.82, 1.05)
    if posture in primitive.one_sided:
        return _one_sided(phase / ALTERNATION, reach, rng)
    sharpness = rng.uniform(0.8, 1.3)
    both = reach * (0.5 - 0.5 * np.cos(2 * np.pi * phase)) ** sharpness
    alternate = primitive.load and rng.random() < 0.2
    return {"l": both, "r": reach - both if alternate else both}


def _one_sided(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Levels:
    # Left and right take turns (half of the clips), or one side does every repetition.
    mode = rng.integers(4)
    if mode < 2:
        wave = np.sin(2 * np.pi * phase)
        return {"l": reach * np.maximum(wave, 0) ** 1.5, "r": reach * np.maximum(-wave, 0) ** 1.5}
    active = reach * (0.5 - 0.5 * np.cos(2 * np.pi * phase * ALTERNATION))
    still = np.zeros_like(active)
    return {"l": active, "r": still} if mode == 2 else {"l": still, "r": active}


def _still(primitive: Primitive, posture: str, rng: np.random.Generator, frames: int) -> Levels:
    level = np.full(frames, rng.uniform(0.1, 1.0))
    if posture in primitive.one_sided:
        # Standing on one leg: the other one carries the weight.
        return {"l": level, "r": 0 * level} if rng.random() < 0.5 else {"l": 0 * level, "r": level}
    return {"l": level, "r": level}


def _apply(angles: Angles, primitive: Primitive, posture: str, levels: Levels) -> None:
    for name, (start, end) in primitive.motions[posture].items():
        for key in _keys(name):
            level = levels[key[0]] if key[:2] in ("l_", "r_") else (levels["l"] + levels["r"]) / 2
            angles[key] = start + (end - start) * level


def _sway(angles: Angles, rng: np.random.Generator, frames: int, fps: float) -> None:
    # Nobody stands still: slow small movements of joints that are not trained.
    time = np.arange(frames) / fps
    for name, degrees in SWAY.items():
        for key in _keys(name):
            rate, start = rng.uniform(0.2, 0.7), rng.random()
            angles[key] = angles[key] + rng.uniform(0.3, 1.0) * degrees * np.sin(2 * np.pi * (rate * time + start))


def _grounding(points: Points, rest: Points, body: Body, posture: Posture) -> np.ndarray:
    # (T, 3) translation that puts the figure on the floor without sliding.
    shift = np.zeros_like(points["pelvis"])
    if posture.anchor == "feet":
        shift = _feet_shift(points, rest, body)
    if not posture.contact:
        shift[:, 1] = SEAT_HEIGHT * body.stature * body.legs
        return shift
    radius = SOLE if posture.anchor == "feet" else TRUNK_DEPTH * body.girth
    lowest = np.min([points[name][:, 1] for name in posture.contact], axis=0)
    shift[:, 1] = radius * body.stature - lowest
    return shift


def _feet_shift(points: Points, rest: Points, body: Body) -> np.ndarray:
    # The lower foot carries the weight and stays where it is at rest; equally low feet share it.
    feet = np.stack([points["l_ankle"], points["r_ankle"]])
    away = np.stack([rest["l_ankle"], rest["r_ankle"]]) - feet
    height = feet[..., 1] - feet[..., 1].min(axis=0)
    weight = np.exp(-height / (0.02 * body.stature))
    return np.einsum("ft,ftc->tc", weight / weight.sum(axis=0), away)


def _plant_arm(points: Points, rest: Points, body: Body, side: str, sign: float) -> None:
    length = body.stature * body.arms
    place = rest[f"{side}_wrist"] * (1.35, 0, 1)
    place[:, 1] = SOLE * body.stature
    target = np.broadcast_to(place, points["pelvis"].shape)
    pole = np.array([sign * 0.8, 0.2, -0.6])
    elbow, wrist = two_bone(points[f"{side}_shoulder"], target, UPPER_ARM * length, FOREARM * length, pole)
    fingers = wrist + np.array([0, 0, 0.08 * body.stature])
    points |= {f"{side}_elbow": elbow, f"{side}_wrist": wrist, f"{side}_fingers": fingers}
    points |= {f"{side}_grip_in": wrist, f"{side}_grip_out": wrist}  # empty hands


def _plant_leg(points: Points, rest: Points, body: Body, side: str) -> None:
    length = body.stature * body.legs
    target = np.broadcast_to(rest[f"{side}_ankle"], points["pelvis"].shape)
    knee, ankle = two_bone(points[f"{side}_hip"], target, THIGH * length, SHANK * length, np.array([0.0, 1.0, 0.2]))
    points |= {f"{side}_knee": knee, f"{side}_ankle": ankle}
    for name in ("heel", "toe"):
        points[f"{side}_{name}"] = ankle + rest[f"{side}_{name}"] - rest[f"{side}_ankle"]
