"""The solid figure: spheres joined by their convex hull, grouped into limbs, with colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transm3e.prepare.musclesynth.body import HEAD_RADIUS, BodyShape, Points
from transm3e.prepare.musclesynth.scene import Colour, Look

# Per body part: the points that are its ends with the radius there, as fractions of stature.
Spheres = tuple[tuple[str, float], ...]
TORSO: dict[str, Spheres] = {
    "pelvis": (("l_hip", 0.057), ("r_hip", 0.057), ("waist", 0.066)),
    "chest": (("waist", 0.067), ("l_shoulder", 0.046), ("r_shoulder", 0.046), ("neck", 0.042)),
    "throat": (("neck", 0.028), ("head", 0.026)),
}
ARM: dict[str, Spheres] = {
    "sleeve": (("shoulder", 0.040), ("elbow", 0.031)),
    "forearm": (("elbow", 0.030), ("wrist", 0.021)),
    "hand": (("wrist", 0.021), ("fingers", 0.017)),
}
LEG: dict[str, Spheres] = {
    "thigh": (("hip", 0.056), ("knee", 0.038)),
    "shank": (("knee", 0.036), ("ankle", 0.024)),
    "foot": (("heel", 0.022), ("ankle", 0.024), ("toe", 0.018)),
}
DUMBBELL: dict[str, Spheres] = {
    "handle": (("grip_in", 0.010), ("grip_out", 0.010)),
    "plate_in": (("grip_in", 0.030),),
    "plate_out": (("grip_out", 0.030),),
}
BARBELL: dict[str, Spheres] = {
    "handle": (("l_bar", 0.010), ("r_bar", 0.010)),
    "plate_l": (("l_bar", 0.052), ("l_plate", 0.052)),
    "plate_r": (("r_bar", 0.052), ("r_plate", 0.052)),
}
BAR_OVER = 0.16  # of stature, from a hand to the end of its bar
FACE: dict[str, Spheres] = {
    "face": (("crown", HEAD_RADIUS * 0.82), ("chin", HEAD_RADIUS * 0.7)),
    "hair": (("scalp", HEAD_RADIUS * 0.98),),
    "nose": (("nose", HEAD_RADIUS * 0.17),),
    "l_eye": (("l_eye", HEAD_RADIUS * 0.14),),
    "r_eye": (("r_eye", HEAD_RADIUS * 0.14),),
}
FEATURES = ("nose", "l_eye", "r_eye")  # too small for an outline
# Arms and legs are drawn over the trunk where both are equally far away (metres).
GROUP_BIAS = {"torso": 0.0, "head": 0.03, "l_leg": 0.03, "r_leg": 0.03, "l_arm": 0.08, "r_arm": 0.08, "bar": 0.06}


@dataclass(frozen=True)
class Part:
    """A convex solid around spheres.

    Attributes:
        group: limb it belongs to, a key of GROUP_BIAS.
        name: what it is, for example "shank".
        centres: (T, n, 3) metres.
        radii: (n,) metres.
        colour: RGB.
    """

    group: str
    name: str
    centres: np.ndarray
    radii: np.ndarray
    colour: Colour


def build_figure(points: Points, body: BodyShape, look: Look, load: str) -> list[Part]:
    """Solids of a subject whose joints move along `points` (name -> (T, 3) metres); load: see motion.Performance."""
    scalp = points["crown"] + 0.32 * (points["crown"] - points["head"]) - 0.26 * (points["nose"] - points["head"])
    points = points | {"scalp": scalp}
    parts = _parts("torso", TORSO, points, body, look)
    parts += _parts("head", FACE, points, body, look)
    for side in "lr":
        parts += _parts(f"{side}_leg", _sided(LEG, side), points, body, look)
        arm = ARM | DUMBBELL if load == "dumbbells" else ARM
        parts += _parts(f"{side}_arm", _sided(arm, side), points, body, look)
    if load == "bar":
        parts += _parts("bar", BARBELL, _bar(points, body.stature), body, look)
    return parts


def _bar(points: Points, stature: float) -> Points:
    # Through both hands and beyond.
    left, right = ((points[f"{side}_wrist"] + points[f"{side}_fingers"]) / 2 for side in "lr")
    out = (left - right) / np.maximum(np.linalg.norm(left - right, axis=1, keepdims=True), 1e-6) * stature
    ends = {"l_bar": left + BAR_OVER * out, "r_bar": right - BAR_OVER * out}
    return ends | {"l_plate": ends["l_bar"] + 0.02 * out, "r_plate": ends["r_bar"] - 0.02 * out}


def _sided(limb: dict[str, Spheres], side: str) -> dict[str, Spheres]:
    return {name: tuple((f"{side}_{point}", radius) for point, radius in ends) for name, ends in limb.items()}


def _parts(group: str, limb: dict[str, Spheres], points: Points, body: BodyShape, look: Look) -> list[Part]:
    girth = body.stature * (body.head if group == "head" else body.girth)
    parts = []
    for name, ends in limb.items():
        centres = np.stack([points[point] for point, _ in ends], axis=1)
        radii = girth * np.array([radius for _, radius in ends])
        parts.append(Part(group, name, centres, radii, _colour(name, look)))
    return parts


def _colour(name: str, look: Look) -> Colour:
    cloth = {
        "chest": look.shirt,
        "sleeve": look.shirt,
        "forearm": look.shirt if look.sleeves else look.skin,
        "pelvis": look.trousers,
        "thigh": look.trousers,
        "shank": look.trousers if look.long_trousers else look.skin,
        "foot": look.shoes,
        "hair": look.hair,
        "l_eye": (25, 20, 20),
        "r_eye": (25, 20, 20),
        "handle": look.dumbbell,
        "plate_in": look.dumbbell,
        "plate_out": look.dumbbell,
        "plate_l": look.dumbbell,
        "plate_r": look.dumbbell,
    }
    return cloth.get(name, look.skin)
