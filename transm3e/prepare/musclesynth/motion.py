"""From an activity to 3D points over time: tempo, phase, range of motion, idle limbs, sway, supports, grips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transm3e.prepare.musclesynth.activities import Activity, compatible
from transm3e.prepare.musclesynth.body import (
    ANGLES,
    FOREARM,
    SHANK,
    THIGH,
    UPPER_ARM,
    BodyShape,
    Points,
    forward,
    two_bone,
)
from transm3e.prepare.musclesynth.postures import POSTURES, Motion, Posture, sides
from transm3e.prepare.musclesynth.primitives import Primitive
from transm3e.prepare.musclesynth.supports import TRUNK_DEPTH, Hull, hulls
from transm3e.prepare.musclesynth.vocabulary import IDLE_ARMS, PRIMITIVES

PERIOD = (0.95, 1.7)  # seconds per repetition; one-sided primitives take ALTERNATION times as long for both sides
ALTERNATION = 1.5
HELD_SHARE = 0.35  # clips in which a limb that is not trained is held in another primitive's pose
# Of stature: from a point to the skin or sole beneath it.
FLESH = {"heel": 0.018, "toe": 0.018, "wrist": 0.02, "elbow": 0.03, "knee": 0.037, "ankle": 0.026, "hip": 0.057}
SWAY = {"spine_side": 2.5, "spine_flex": 2.5, "neck_flex": 4.0, "neck_twist": 9.0, "shoulder_abd": 3.0, "elbow": 4.0}
HABIT = 4.0  # degrees, standard deviation of a subject's own angle of each joint
FOLDED = 150.0  # degrees; elbows and knees bend one way only
CARRYING = ("spine_flex", "spine_side", "hip_flex", "knee")  # likewise where hands or feet are planted
STILL = ("roll", "lean", "ankle")  # angles without it, on which the contact with the support rests

Angles = dict[str, np.ndarray]
Levels = dict[str, np.ndarray]  # "l" and "r" -> (T,) effort, 0 at the start of the motion, 1 at its end


@dataclass(frozen=True)
class Performance:
    """A subject's movement in a clip.

    Attributes:
        points: as body.forward gives them, (T, 3) metres in the world; the floor is y = 0.
        load: what the hands hold, "", "dumbbells" or "bar".
        props: hulls of what carries the subject.
    """

    points: Points
    load: str
    props: list[Hull]


def animate(activity: Activity, body: BodyShape, rng: np.random.Generator, frames: int, fps: float) -> Performance:
    """Move a subject through an activity."""
    posture = POSTURES[activity.posture]
    angles = _rest(posture, frames)
    primitives = [PRIMITIVES[name] for name in activity.primitives]
    load, idle = _idle(activity, rng)
    for motion in idle:
        _apply(angles, motion, {side: np.zeros(frames) for side in "lr"})
    held = _held(activity, rng)
    if held is not None:
        _apply(angles, _variant(held, posture.name, rng), _still(held, posture.name, rng, frames))
    grip = next((p.loads[rng.integers(len(p.loads))] for p in primitives if "arms" in p.parts), load)
    phase = _phase(rng, frames, fps)
    for index, primitive in enumerate(primitives):
        shift = rng.uniform(-0.06, 0.06) + 0.5 * (index > 0 and rng.random() < 0.35)
        levels = _levels(primitive, posture.name, phase + shift, rng, grip == "dumbbells")
        _apply(angles, _variant(primitive, posture.name, rng), levels)
    _vary(angles, posture, rng, frames, fps)
    points, rest = place(forward(body, angles), body, activity, grip)
    if rng.random() < 0.5:
        points, rest = _mirror(points), _mirror(rest)
    return Performance(points, grip, hulls(posture, rest, body.stature))


def place(points: Points, body: BodyShape, activity: Activity, grip: str = "") -> tuple[Points, Points]:
    """Put a figure whose pelvis is at the origin on its support, and fix the limbs that keep their place there.

    Returns:
        the figure's points, and those of its resting posture, (1, 3) each.
    """
    posture = POSTURES[activity.posture]
    rest = forward(body, _rest(posture, 1))
    away = _shift(points, rest, body, posture)
    points = {name: xyz + away for name, xyz in points.items()}
    away = _shift(rest, rest, body, posture)
    rest = {name: xyz + away for name, xyz in rest.items()}
    planted = set(posture.planted).union(*(PRIMITIVES[name].planted for name in activity.primitives))
    for side, sign in (("l", 1.0), ("r", -1.0)):
        if "arms" in planted:
            target = rest[f"{side}_wrist"].copy()
            target[:, 1] = (posture.top + FLESH["wrist"]) * body.stature
            _reach(points, np.broadcast_to(target, points["pelvis"].shape), body, side, sign)
            if posture.support in ("floor", "box"):  # the hand lies flat
                points[f"{side}_fingers"] = points[f"{side}_wrist"] + (0, 0, 0.08 * body.stature)
        if "legs" in planted:
            _plant_leg(points, rest, body, side)
    if grip == "bar" and "arms" not in planted:
        _hold_bar(points, body)
    _clear_floor(points, body)
    return points, rest


def _rest(posture: Posture, frames: int) -> Angles:
    angles = {name: np.zeros(frames) for name in ANGLES}
    for name, degrees in posture.angles.items():
        for key in sides(name):
            angles[key] = np.full(frames, float(degrees))
    return angles


def _idle(activity: Activity, rng: np.random.Generator) -> tuple[str, list[Motion]]:
    # What the hands hold and where the arms are that no primitive needs.
    poses = IDLE_ARMS.get(activity.posture, ())
    if not poses or any("arms" in PRIMITIVES[name].parts for name in activity.primitives):
        return "", []
    motion, load = poses[rng.integers(len(poses))]
    return load, [motion]


def _held(activity: Activity, rng: np.random.Generator) -> Primitive | None:
    # A pose without movement: what a single frame shows of a primitive must not give its muscles away.
    choices = [primitive for primitive in compatible(activity) if "trunk" not in primitive.parts]
    if not choices or POSTURES[activity.posture].planted or rng.random() > HELD_SHARE:
        return None
    return choices[rng.integers(len(choices))]


def _variant(primitive: Primitive, posture: str, rng: np.random.Generator) -> Motion:
    variants = primitive.motions[posture]
    return variants[rng.integers(len(variants))]


def _phase(rng: np.random.Generator, frames: int, fps: float) -> np.ndarray:
    # Repetitions since the clip's start, with a random start and a tempo that drifts by up to 12 percent.
    tempo = 1 / rng.uniform(*PERIOD)
    time = np.arange(frames) / fps
    drift = rng.uniform(-0.12, 0.12) * np.sin(2 * np.pi * (0.3 * time + rng.random()))
    return rng.random() + np.cumsum(tempo * (1 + drift)) / fps


def _levels(primitive: Primitive, posture: str, phase: np.ndarray, rng: np.random.Generator, dumbbells: bool) -> Levels:
    reach = rng.uniform(0.82, 1.05)
    if posture in primitive.one_sided:
        return _one_sided(phase / ALTERNATION, reach, rng)
    sharpness = rng.uniform(0.8, 1.3)
    both = reach * (0.5 - 0.5 * np.cos(2 * np.pi * phase)) ** sharpness
    alternate = dumbbells and primitive.parts == {"arms"} and rng.random() < 0.2
    return {"l": both, "r": reach - both if alternate else both}


def _one_sided(phase: np.ndarray, reach: float, rng: np.random.Generator) -> Levels:
    # Left and right take turns (half of the clips), or one side does every repetition.
    if rng.random() < 0.5:
        wave = np.sin(2 * np.pi * phase)
        return {"l": reach * np.maximum(wave, 0) ** 1.5, "r": reach * np.maximum(-wave, 0) ** 1.5}
    active = reach * (0.5 - 0.5 * np.cos(2 * np.pi * phase * ALTERNATION))
    return {"l": active, "r": np.zeros_like(active)}


def _still(primitive: Primitive, posture: str, rng: np.random.Generator, frames: int) -> Levels:
    level = np.full(frames, rng.uniform(0.1, 1.0))
    # Standing on one leg: the other one carries the weight.
    return {"l": level, "r": 0 * level if posture in primitive.one_sided else level}


def _apply(angles: Angles, motion: Motion, levels: Levels) -> None:
    for name, (start, end) in motion.items():
        for key in sides(name):
            level = levels[key[0]] if key[:2] in ("l_", "r_") else (levels["l"] + levels["r"]) / 2
            angles[key] = start + (end - start) * level


def _vary(angles: Angles, posture: Posture, rng: np.random.Generator, frames: int, fps: float) -> None:
    # Everybody has a way of their own, and nobody stands still: slow small movements.
    for name in ANGLES:
        carries = posture.planted and name.removeprefix("l_") in CARRYING
        if name.removeprefix("l_") not in STILL and name[:2] != "r_":
            habit = rng.normal(0, HABIT) * (not carries)
            for key in (name, name.replace("l_", "r_", 1)) if name[:2] == "l_" else (name,):
                angles[key] = angles[key] + habit
    time = np.arange(frames) / fps
    for name, degrees in SWAY.items():
        for key in sides(name):
            rate, start = rng.uniform(0.2, 0.7), rng.random()
            angles[key] = angles[key] + rng.uniform(0.3, 1.0) * degrees * np.sin(2 * np.pi * (rate * time + start))
    for key in (*sides("elbow"), *sides("knee")):
        angles[key] = np.clip(angles[key], 0, FOLDED)


def _shift(points: Points, rest: Points, body: BodyShape, posture: Posture) -> np.ndarray:
    """(T, 3) translation that puts the figure on its support; the lowest anchors stay where they are at rest."""
    feet = np.stack([points[name] for name in posture.anchor])
    height = feet[..., 1] - feet[..., 1].min(axis=0)
    weight = np.exp(-height / (0.02 * body.stature))
    away = np.stack([rest[name] for name in posture.anchor]) - feet
    shift = np.einsum("ft,ftc->tc", weight / weight.sum(axis=0), away)
    skin = [points[name][:, 1] - _flesh(name, body) for name in posture.contact]
    shift[:, 1] = posture.top * body.stature - np.min(skin, axis=0)
    return shift


def _flesh(name: str, body: BodyShape) -> float:
    return FLESH.get(name[2:], TRUNK_DEPTH * body.girth) * body.stature


def _reach(points: Points, target: np.ndarray, body: BodyShape, side: str, sign: float) -> None:
    # Bend the arm so that the wrist is at the target, the elbow on the side where it was, or else out and back.
    length = body.stature * body.arms
    shoulder, wrist = points[f"{side}_shoulder"], points[f"{side}_wrist"]
    bent = points[f"{side}_elbow"] - (shoulder + wrist) / 2
    pole = bent + 0.03 * np.array([sign * 0.8, 0.2, -0.6])
    elbow, end = two_bone(shoulder, target, UPPER_ARM * length, FOREARM * length, pole)
    for name in ("fingers", "grip_in", "grip_out"):
        points[f"{side}_{name}"] = points[f"{side}_{name}"] + end - wrist
    points |= {f"{side}_elbow": elbow, f"{side}_wrist": end}


def _hold_bar(points: Points, body: BodyShape) -> None:
    # Both hands on one bar: as far apart as they are on average.
    left, right = points["l_wrist"], points["r_wrist"]
    middle, half = (left + right) / 2, (left - right) / 2
    width = np.linalg.norm(half, axis=1, keepdims=True)
    half = half / np.maximum(width, 1e-6) * max(float(width.mean()), 0.06 * body.stature)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        _reach(points, middle + sign * half, body, side, sign)


def _plant_leg(points: Points, rest: Points, body: BodyShape, side: str) -> None:
    target = np.broadcast_to(rest[f"{side}_ankle"], points["pelvis"].shape)
    foot = {name: rest[f"{side}_{name}"] - rest[f"{side}_ankle"] for name in ("heel", "toe")}
    _step(points, target, body, side, np.array([0.0, 1.0, 0.2]), foot)


def _step(points: Points, target: np.ndarray, body: BodyShape, side: str, pole: np.ndarray, foot: Points) -> None:
    # Bend the leg so that the ankle is at the target; `foot`: heel and toe from the ankle.
    length = body.stature * body.legs
    knee, ankle = two_bone(points[f"{side}_hip"], target, THIGH * length, SHANK * length, pole)
    points |= {f"{side}_knee": knee, f"{side}_ankle": ankle}
    points |= {f"{side}_{name}": ankle + offset for name, offset in foot.items()}


def _clear_floor(points: Points, body: BodyShape) -> None:
    # Hands and feet that would be below the floor lie on it.
    for side, sign in (("l", 1.0), ("r", -1.0)):
        wrist, hip, knee, ankle = (points[f"{side}_{name}"] for name in ("wrist", "hip", "knee", "ankle"))
        lift = _depth(points, body, side, "wrist", "fingers")
        if lift.any():
            _reach(points, wrist + lift * (0, 1, 0), body, side, sign)
        lift = _depth(points, body, side, "heel", "toe")
        if lift.any():
            foot = {name: points[f"{side}_{name}"] - ankle for name in ("heel", "toe")}
            pole = knee - (hip + ankle) / 2 + 0.1 * (foot["toe"] - foot["heel"])
            _step(points, ankle + lift * (0, 1, 0), body, side, pole, foot)


def _depth(points: Points, body: BodyShape, side: str, *names: str) -> np.ndarray:
    lowest = np.min([points[f"{side}_{name}"][:, 1:2] for name in names], axis=0)
    return np.maximum(FLESH["toe"] * body.stature - lowest, 0)


def _mirror(points: Points) -> Points:
    other = {"l_": "r_", "r_": "l_"}
    return {other.get(name[:2], name[:2]) + name[2:]: xyz * (-1, 1, 1) for name, xyz in points.items()}
