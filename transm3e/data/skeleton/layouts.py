"""From one layout of joints to another, where the joints of the second are there or follow from the first."""

from __future__ import annotations

import numpy as np

from transm3e.errors import UserError
from transm3e.joints import LAYOUTS

OPENPOSE = "openpose18"
# A layout can be made of each that has its joints by name; the neck is made of the shoulders.
POSSIBLE = {
    (source, target)
    for source in LAYOUTS
    for target in LAYOUTS
    if source != target and set(LAYOUTS[target].names) - {"neck"} <= set(LAYOUTS[source].names)
}


def to_layout(joints: np.ndarray, source: str, target: str) -> np.ndarray:
    """Joints (..., V, 3) in layout `source` -> (..., V', 3) in layout `target`, float32; the input stays as it was.

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
    picked = joints[..., [LAYOUTS[source].names.index(name) for name in names], :]
    if target == OPENPOSE:
        return np.insert(picked, LAYOUTS[OPENPOSE].names.index("neck"), _neck(joints, source), axis=-2)
    return picked


def mirror_order(layout: str) -> list[int]:
    """Joint numbers with left and right exchanged: joints[..., mirror_order(layout), :] names a flipped person."""
    order = list(range(len(LAYOUTS[layout].names)))
    for left, right in LAYOUTS[layout].pairs:
        order[left], order[right] = right, left
    return order


def _neck(joints: np.ndarray, source: str) -> np.ndarray:
    shoulders = joints[..., [LAYOUTS[source].names.index(f"{side}_shoulder") for side in ("left", "right")], :]
    neck = shoulders.mean(axis=-2)
    neck[..., 2] = shoulders[..., 2].min(axis=-1)
    neck[neck[..., 2] <= 0] = 0
    return neck
