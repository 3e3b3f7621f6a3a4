"""An articulated 3D figure: body proportions, forward kinematics, and two-bone inverse kinematics.

World axes of a figure that stands upright: x to its left, y up, z to its front; metres. Segment lengths are
fractions of stature after Drillis & Contini (1966), as reprinted in D. A. Winter, "Biomechanics and Motor
Control of Human Movement", chapter "Anthropometry".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Segment lengths as fractions of stature.
PELVIS_TO_WAIST, WAIST_TO_NECK, NECK_TO_HEAD = 0.10, 0.195, 0.115
UPPER_ARM, FOREARM, HAND = 0.186, 0.146, 0.085
THIGH, SHANK, ANKLE_HEIGHT = 0.245, 0.246, 0.039
HALF_SHOULDERS, HALF_HIPS = 0.115, 0.060
HEEL, TOE = 0.045, 0.125
GRIP = 0.065  # half the length of the dumbbell's handle
HEAD_RADIUS = 0.062

CENTRE_ANGLES = ("roll", "lean", "spine_flex", "spine_side", "spine_twist", "neck_flex", "neck_twist")
ARM_ANGLES = ("shrug", "shoulder_flex", "shoulder_abd", "shoulder_twist", "elbow", "wrist")
LEG_ANGLES = ("hip_flex", "hip_abd", "hip_twist", "knee", "ankle")
ANGLES = (*CENTRE_ANGLES, *(f"{side}_{name}" for side in "lr" for name in ARM_ANGLES + LEG_ANGLES))

Points = dict[str, np.ndarray]


@dataclass(frozen=True)
class BodyShape:
    """Proportions of one subject; 1.0 is the average of the table above.

    Attributes:
        stature: height in metres.
        arms, legs, trunk, shoulders, hips, head: factors on the lengths of those parts.
        girth: factor on the thickness of trunk and limbs.
    """

    stature: float = 1.72
    arms: float = 1.0
    legs: float = 1.0
    trunk: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    head: float = 1.0
    girth: float = 1.0


def sample_body(rng: np.random.Generator) -> BodyShape:
    """A random subject."""
    low = (1.5, 0.94, 0.94, 0.94, 0.88, 0.88, 0.92, 0.88)
    high = (1.95, 1.06, 1.06, 1.06, 1.12, 1.12, 1.1, 1.25)
    return BodyShape(*rng.uniform(low, high).tolist())


def rotation(axis: str, degrees: np.ndarray) -> np.ndarray:
    """Right-handed rotations about a coordinate axis: (T,) degrees -> (T, 3, 3)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.zeros((len(c), 3, 3))
    matrix[:] = np.eye(3)
    matrix[:, i, i], matrix[:, i, j], matrix[:, j, i], matrix[:, j, j] = c, -s, s, c
    return matrix


def forward(body: BodyShape, angles: dict[str, np.ndarray]) -> Points:
    """Forward kinematics with the pelvis at the origin.

    Args:
        body: the subject.
        angles: every name of ANGLES -> (T,) degrees. Flexion bends forward (the knee: backward), abduction
            leads away from the midline, twist +90 turns the forearm of a sideways arm up, ankle > 0 lifts the toes,
            shrug lifts the shoulder, roll +90 lays the figure on its right side.

    Returns:
        point name -> (T, 3) metres: pelvis, waist, neck, head, crown, nose, chin, and l_ / r_ shoulder, elbow, wrist,
        fingers, grip_in, grip_out, hip, knee, ankle, heel, toe, eye, ear.
    """
    pelvis = rotation("z", angles["roll"]) @ rotation("x", angles["lean"])
    waist = pelvis @ _spine(angles)
    thorax = waist @ _spine(angles)
    size = body.stature * body.trunk
    points: Points = {"pelvis": np.zeros((len(pelvis), 3))}
    points["waist"] = _at(points["pelvis"], pelvis, (0, PELVIS_TO_WAIST * size, 0))
    points["neck"] = _at(points["waist"], waist, (0, WAIST_TO_NECK * size, 0))
    _head(body, points, thorax @ rotation("x", angles["neck_flex"]) @ rotation("y", angles["neck_twist"]))
    for side, sign in (("l", 1), ("r", -1)):
        _arm(body, points, thorax, angles, side, sign)
        _leg(body, points, pelvis, angles, side, sign)
    return points


def two_bone(
    root: np.ndarray, target: np.ndarray, first: float, second: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse kinematics of a limb of two bones by the law of cosines.

    Args:
        root: (T, 3) where the limb starts.
        target: (T, 3) where it should end; out of reach, it ends on the line towards it.
        first: length of the first bone in metres.
        second: length of the second bone.
        pole: (3,) or (T, 3) direction towards which the middle joint bends; not along the limb.

    Returns:
        the middle joint and the end, (T, 3) each.
    """
    line = target - root
    reach = np.linalg.norm(line, axis=1, keepdims=True)
    line = line / np.maximum(reach, 1e-9)
    reach = np.clip(reach, abs(first - second) + 1e-6, first + second - 1e-6)
    along = (first**2 - second**2 + reach**2) / (2 * reach)
    side = pole - line * (line * pole).sum(axis=1, keepdims=True)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    middle = root + along * line + np.sqrt(np.maximum(first**2 - along**2, 0)) * side
    return middle, root + reach * line


def _at(origin: np.ndarray, frame: np.ndarray, offset: tuple[float, float, float]) -> np.ndarray:
    return origin + frame @ np.asarray(offset, float)


def _spine(angles: dict[str, np.ndarray]) -> np.ndarray:
    # The lumbar and the thoracic joint take half of each angle.
    flex, side, twist = (angles[f"spine_{name}"] / 2 for name in ("flex", "side", "twist"))
    return rotation("y", twist) @ rotation("z", side) @ rotation("x", flex)


def _limb(angles: dict[str, np.ndarray], joint: str, sign: int) -> np.ndarray:
    flex = rotation("x", -angles[f"{joint}_flex"])
    return flex @ rotation("z", sign * angles[f"{joint}_abd"]) @ rotation("y", sign * angles[f"{joint}_twist"])


def _head(body: BodyShape, points: Points, frame: np.ndarray) -> None:
    radius = HEAD_RADIUS * body.head * body.stature
    points["head"] = _at(points["neck"], frame, (0, NECK_TO_HEAD * body.stature, 0.15 * radius))
    features = {"crown": (0.0, 0.22, -0.05), "chin": (0.0, -0.35, 0.15), "nose": (0.0, -0.05, 1.1)}
    features |= {f"{side}_eye": (sign * 0.4, 0.2, 0.92) for side, sign in (("l", 1), ("r", -1))}
    features |= {f"{side}_ear": (sign * 0.98, 0.0, -0.05) for side, sign in (("l", 1), ("r", -1))}
    for name, (x, y, z) in features.items():
        points[name] = _at(points["head"], frame, (x * radius, y * radius, z * radius))


def _arm(
    body: BodyShape, points: Points, thorax: np.ndarray, angles: dict[str, np.ndarray], side: str, sign: int
) -> None:
    size = body.stature * body.arms
    upper = thorax @ _limb(angles, f"{side}_shoulder", sign)
    lower = upper @ rotation("x", -angles[f"{side}_elbow"])
    hand = lower @ rotation("x", -angles[f"{side}_wrist"])
    clavicle = HALF_SHOULDERS * body.shoulders * body.stature
    root = _at(points["neck"], thorax, (0, -0.012 * body.stature, 0))
    shoulder = _at(root, thorax @ rotation("z", sign * angles[f"{side}_shrug"]), (sign * clavicle, 0, 0))
    elbow = _at(shoulder, upper, (0, -UPPER_ARM * size, 0))
    wrist = _at(elbow, lower, (0, -FOREARM * size, 0))
    points |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist}
    points[f"{side}_fingers"] = _at(wrist, hand, (0, -HAND * size, 0))
    for name, x in (("grip_in", -sign), ("grip_out", sign)):
        points[f"{side}_{name}"] = _at(wrist, hand, (x * GRIP * body.stature, -0.55 * HAND * size, 0))


def _leg(
    body: BodyShape, points: Points, pelvis: np.ndarray, angles: dict[str, np.ndarray], side: str, sign: int
) -> None:
    size = body.stature * body.legs
    thigh = pelvis @ _limb(angles, f"{side}_hip", sign)
    shank = thigh @ rotation("x", angles[f"{side}_knee"])
    foot = shank @ rotation("x", -angles[f"{side}_ankle"])
    hip = _at(points["pelvis"], pelvis, (sign * HALF_HIPS * body.hips * body.stature, 0, 0))
    knee = _at(hip, thigh, (0, -THIGH * size, 0))
    ankle = _at(knee, shank, (0, -SHANK * size, 0))
    points |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}
    for name, z in (("heel", -HEEL), ("toe", TOE)):
        points[f"{side}_{name}"] = _at(ankle, foot, (0, -0.6 * ANKLE_HEIGHT * size, z * size))
