"""From one layout of joints to another: joints of the second are in the first, follow from it, or may be missing."""

from __future__ import annotations

import numpy as np

from transm3e.errors import UserError
from transm3e.joints import EXTREMITIES, LAYOUTS

OPENPOSE, BODY = "openpose18", "body23"
# Another name of a joint: Halpe's toes.
ALIASES = {f"{side}_foot_index": f"{side}_big_toe" for side in ("left", "right")}
# A layout can be made of each that has its joints by name; the neck is made of the shoulders, and hands and feet, which
# body23 alone has beside COCO's joints, may be missing.
POSSIBLE = {
    (source, target)
    for source in LAYOUTS
    for target in LAYOUTS
    if source != target
    and set(LAYOUTS[target].names) - {"neck", *(EXTREMITIES if target == BODY else ())} <= set(LAYOUTS[source].names)
}


def to_layout(joints: np.ndarray, source: str, target: str) -> np.ndarray:
    """Joints (..., V, C) in layout `source` -> (..., V', C) in layout `target`, float32; the input stays as it was.

    The third of the C numbers of a joint is its score. Hands and feet of body23 that the source has not are zero.

    OpenPose's neck is the middle of the shoulders, as AlphaPose makes it, with the lower of their scores; it is
    missing where a shoulder is, from Halpe-26 too, whose own neck is another point.

    Raises:
        UserError: the target has joints (head, feet) that the source has not, or a layout does not exist.
    """
    if source == target:
        return joints
    if (source, target) not in POSSIBLE:
        ways = ", ".join(f"{a} to {b}" for a, b in sorted(POSSIBLE))
        raise UserError(
            f"SKELETON.LAYOUT is {target!r} but the skeleton files hold {source!r}; set SKELETON.LAYOUT {source}, "
            f"or choose another that can be made of it (possible: {ways})"
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
    """Joint numbers with left and right exchanged: joints[..., mirror_order(layout), :] names a flipped person."""
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
