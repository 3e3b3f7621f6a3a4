"""Skeletons of one view of a clip: its persons, the layout of their joints, and the frames, crop and flip of its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transm3e.data.skeleton.sequence import Skeleton
from transm3e.data.transforms import ViewParams, apply_points
from transm3e.errors import UserError
from transm3e.joints import EXTREMITIES, LAYOUTS

OPENPOSE, BODY = "openpose18", "body23"
# Another name of a joint: Halpe's toes.
ALIASES = {f"{side}_foot_index": f"{side}_big_toe" for side in ("left", "right")}
# A person is not linked across more than this many diagonals of the larger of the two boxes.
REACH = 1.0
# A detection that appears with so much of its box inside of another one's is that body detected twice, as detectors
# now and then do, and no new person.
INSIDE = 0.8
# Joints are in pixels; the first pixel has its centre at 0 and its edge at -0.5.
PIXEL_CENTRE = 0.5
# Channels x, y, score and 3D x, y, z: the 3D coordinates and the score.
WORLD, WORLD_X = [3, 4, 5, 2], slice(3, 4)
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


def pick_persons(joints: np.ndarray, num_persons: int, tracks: np.ndarray | None = None) -> np.ndarray:
    """(T, P, V, C) joints of everybody -> (T, M, V, C) float32 of the M most visible, one person per slot.

    Persons are ranked by mean score times the area of the box around their joints, averaged over the clip's frames
    (0 where they are not seen); the earlier one wins a tie. Slots without a person are zero. Nothing is drawn at
    random.

    Args:
        joints: x, y, score in [0, 1], and what else there is; zeros where missing.
        num_persons: M.
        tracks: (T, P) which person each slot holds, -1 for nobody, from a tracker. None: slots are linked to the
            nearest person of the frames before, at most one box diagonal away; what is left over is a new person,
            unless it lies INSIDE one who is there.
    """
    seen: np.ndarray = np.any(joints[..., 2] > 0, axis=-1)
    corners = _corners(joints, seen)
    weights = joints[..., 2].mean(axis=-1) * (corners[..., 1, :] - corners[..., 0, :]).prod(axis=-1)
    tracks = np.where(seen, _link(corners, seen) if tracks is None else tracks, -1)
    # In the order of their first frame, so that a stable sort lets the earlier one win.
    present = tracks[tracks >= 0]
    numbers, firsts = np.unique(present, return_index=True)
    numbers = numbers[np.argsort(firsts)]
    totals = np.array([weights[tracks == number].sum() for number in numbers])
    picked = np.zeros((len(joints), num_persons, *joints.shape[2:]), np.float32)
    for person, number in enumerate(numbers[np.argsort(-totals, kind="stable")][:num_persons]):
        of_person = np.where(tracks == number, weights, -1.0)
        frames = np.flatnonzero(of_person.max(axis=1) >= 0)
        # Where a tracker gives one number twice in a frame, the larger is meant.
        picked[frames, person] = joints[frames, of_person[frames].argmax(axis=1)]
    return picked


def _corners(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(T, P, 2, 2) lower and upper (x, y) of the boxes around the joints; 0 for nobody."""
    found = joints[..., 2:3] > 0
    low = np.where(found, joints[..., :2], np.inf).min(axis=2)
    high = np.where(found, joints[..., :2], -np.inf).max(axis=2)
    return np.where(seen[..., None, None], np.stack([low, high], axis=2), 0).astype(np.float64)


def _link(corners: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Slots of each frame to persons, nearest pairs first -> (T, P) person numbers, -1 for nobody."""
    tracks = np.full(seen.shape, -1, np.int64)
    last = np.empty((0, 2, 2))  # the corners of each person so far, when last seen
    for t, boxes in enumerate(corners):
        slots = np.flatnonzero(seen[t])
        for slot, person in _nearest(boxes[slots], last):
            tracks[t, slots[slot]] = person
        there = [slot for slot in slots if tracks[t, slot] >= 0]
        # The largest first, so that of two new ones the smaller may be the other's double.
        for slot in sorted(set(slots.tolist()) - set(there), key=lambda slot: (-_area(boxes[slot]), slot)):
            if not any(_is_inside(boxes[slot], boxes[other]) for other in there):
                tracks[t, slot] = len(last)
                last = np.concatenate([last, boxes[slot][None]])
                there.append(slot)
        last[tracks[t, there]] = boxes[there]
    return tracks


def _area(box: np.ndarray) -> float:
    return float((box[1] - box[0]).clip(0).prod())


def _is_inside(box: np.ndarray, other: np.ndarray) -> bool:
    shared = np.stack([np.maximum(box[0], other[0]), np.minimum(box[1], other[1])])
    return _area(shared) > INSIDE * _area(box)


def _nearest(boxes: np.ndarray, last: np.ndarray) -> list[tuple[int, int]]:
    """(slot, person) pairs, each of them once, those with the nearest centres first, none beyond REACH."""
    distance = np.linalg.norm(boxes.mean(axis=1)[:, None] - last.mean(axis=1)[None], axis=-1)
    diagonals, last_diagonals = (np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1) for corners in (boxes, last))
    larger = np.maximum(diagonals[:, None], last_diagonals[None])
    # A single joint has no size to measure by.
    reach = np.where(larger > 0, REACH * larger, np.inf)
    pairs: list[tuple[int, int]] = []
    for flat in np.argsort(distance, axis=None, kind="stable"):
        slot, person = divmod(int(flat), distance.shape[1])
        free = all(slot != s and person != p for s, p in pairs)
        if free and distance[slot, person] <= reach[slot, person]:
            pairs.append((slot, person))
    return pairs


def skeleton_clip(
    skeleton: Skeleton,
    indices: Sequence[int] | np.ndarray,
    params: ViewParams,
    size: int,
    source_size: Sequence[int],
    num_persons: int,
    layout: str,
    coordinates: str = "image",
) -> np.ndarray:
    """One view -> (C, T, V, M) float32: x, y, (in 3D) z, and score of V joints of M persons in T frames.

    x and y are shares of the finished clip, 0 at its left or upper edge and 1 at the opposite one; joints outside the crop
    are kept. 3D coordinates are metres as in the file, mirrored with the clip but not cropped. A missing joint or person
    is zero in all channels. Persons are chosen before the crop, so every view shows the same ones. Erased boxes hide
    pixels, not joints.

    Args:
        indices: T frame numbers of the video, 0 or more.
        params: the view's crop, flip and geometric operations.
        size: side of the finished clip in pixels.
        source_size: (height, width) of the video's frames in pixels.
        num_persons: M.
        layout: of the result, one of transm3e.joints.LAYOUTS.
        coordinates: key of transm3e.joints.COORDINATES.

    Raises:
        UserError: the file's layout cannot be converted to `layout`, or it has no 3D joints.
    """
    everybody = skeleton.joints(indices)
    if coordinates == "world":
        everybody = np.concatenate([everybody, skeleton.world_joints(indices)], axis=-1)
    joints = to_layout(everybody, skeleton.layout, layout)
    joints = pick_persons(joints, num_persons, skeleton.track_numbers(indices))
    missing = joints[..., 2] == 0
    if skeleton.height and skeleton.width:
        scale = np.array([source_size[1] / skeleton.width, source_size[0] / skeleton.height], np.float32)
        joints[..., :2] = (joints[..., :2] + PIXEL_CENTRE) * scale - PIXEL_CENTRE
    joints[..., :2] = (apply_points(joints[..., :2], params, size) + PIXEL_CENTRE) / size
    if params.flip:
        joints, missing = joints[..., mirror_order(layout), :], missing[..., mirror_order(layout)]
        joints[..., WORLD_X] *= -1
    joints[missing] = 0
    if coordinates == "world":
        joints = joints[..., WORLD]
    if params.joints:
        joints = params.joints.apply(joints, layout)
    return np.ascontiguousarray(joints.transpose(3, 0, 2, 1))
