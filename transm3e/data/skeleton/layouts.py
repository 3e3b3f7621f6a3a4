"""Convert between layouts of joints: the target's joints are in the source, are computed from it, or may be missing."""

from __future__ import annotations

import numpy as np

from transm3e.errors import UserError
from transm3e.joints import EXTREMITIES, LAYOUTS

OPENPOSE, BODY = "openpose18", "body23"
# Other names of joints: Halpe's toes.
ALIASES = {f"{side}_foot_index": f"{side}_big_toe" for side in ("left", "right")}
# A layout can be made from any other that has its joints by name; the neck is computed from the shoulders, and body23's
# hands and feet may be missing.
POSSIBLE = {
    (source, target)
    for source in LAYOUTS
    for target in LAYOUTS
    if source != target
    and set(LAYOUTS[target].names) - {"neck", *(EXTREMITIES if target == BODY else ())} <= set(LAYOUTS[source].names)
}


def to_layout(joints: np.ndarray, source: str, target: str) -> np.ndarray:
    """Joints (..., V, C) in layout `source` -> (..., V', C) in layout `target`, float32; the input is not changed.

    Channel 2 is the score. Hands and feet of body23 that the source lacks are zero.

    OpenPose's neck is the midpoint of the shoulders, as in AlphaPose, with the lower of their scores; it is missing where a
    shoulder is. This also applies to Halpe-26, whose own neck is a different point.

    Raises:
        UserError: the source lacks joints of the target (head, feet), or a layout does not exist.
    """
    if source == target:
        return joints
    if (source, target) not in POSSIBLE:
        ways = ", ".join(f"{a} to {b}" for a, b in sorted(POSSIBLE))
        raise UserError(
            f"SKELETON.LAYOUT is {target!r} but the skeleton files hold {source!r}; set SKELETON.LAYOUT {source}, "
            f"or another that can be made from it (possible: {ways})"
        )
    names = [name for name in LAYOUTS[target].names if name != "neck"]
    there = LAYOUTS[source].names
    numbers = [there.index(name) if name in there else _alias(name, there) for name in names]
    picked = joints[..., numbers, :]
    picked[..., [number < 0 for number in numbers], :] = 0
    if target == OPENPOSE:
        return np.insert(picked, LAYOUTS[OPENPOSE].names.index("neck"), _neck(joints, source), axis=-2)
    return picked


def mirror_order(layout: str) -> list[int]:
    """Joint numbers with left and right swapped: joints[..., mirror_order(layout), :] relabels a flipped person."""
    order = list(range(len(LAYOUTS[layout].names)))
    for left, right in LAYOUTS[layout].pairs:
        order[left], order[right] = right, left
    return order


def _alias(name: str, there: tuple[str, ...]) -> int:
    """The joint's number by its other name, or -1 where it is missing."""
    return there.index(ALIASES[name]) if ALIASES.get(name) in there else -1


def _neck(joints: np.ndarray, source: str) -> np.ndarray:
    shoulders = joints[..., [LAYOUTS[source].names.index(f"{side}_shoulder") for side in ("left", "right")], :]
    neck = shoulders.mean(axis=-2)
    neck[..., 2] = shoulders[..., 2].min(axis=-1)
    neck[neck[..., 2] <= 0] = 0
    return neck
