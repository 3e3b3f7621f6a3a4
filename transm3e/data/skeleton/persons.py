"""Choose the persons of a clip: the same ones in every frame, the most visible first."""

from __future__ import annotations

import numpy as np

# A person is not linked across more than this many diagonals of the larger of the two boxes.
REACH = 1.0
# A new detection with at least this share of its box inside another one's is a duplicate of that person.
INSIDE = 0.8


def pick_persons(joints: np.ndarray, num_persons: int, tracks: np.ndarray | None = None) -> np.ndarray:
    """(T, P, V, C) joints of all persons -> (T, M, V, C) float32 of the M most visible, one person per slot.

    Persons are ranked by mean score times the area of the box around their joints, averaged over the clip's frames
    (0 where they are not detected); the earlier one wins a tie. Slots without a person are zero. The choice is
    deterministic.

    Args:
        joints: x, y, score in [0, 1], then any further channels; zeros where missing.
        num_persons: M.
        tracks: (T, P) person in each slot from a tracker, -1 for nobody. None: slots are linked to the nearest person of
            the previous frames, at most one box diagonal away; remaining ones are new persons, unless they lie INSIDE
            another one.
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
        # Where a tracker gives one number twice in a frame, the larger person is taken.
        picked[frames, person] = joints[frames, of_person[frames].argmax(axis=1)]
    return picked


def _corners(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(T, P, 2, 2) lower and upper (x, y) of the boxes around the joints; 0 for nobody."""
    found = joints[..., 2:3] > 0
    low = np.where(found, joints[..., :2], np.inf).min(axis=2)
    high = np.where(found, joints[..., :2], -np.inf).max(axis=2)
    return np.where(seen[..., None, None], np.stack([low, high], axis=2), 0).astype(np.float64)


def _link(corners: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Assign the slots of each frame to persons, nearest pairs first -> (T, P) person numbers, -1 for nobody."""
    tracks = np.full(seen.shape, -1, np.int64)
    last = np.empty((0, 2, 2))  # the corners of each person so far, when last seen
    for t, boxes in enumerate(corners):
        slots = np.flatnonzero(seen[t])
        for slot, person in _nearest(boxes[slots], last):
            tracks[t, slots[slot]] = person
        there = [slot for slot in slots if tracks[t, slot] >= 0]
        # The largest first, so that of two new ones the smaller may be the duplicate.
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
    """(slot, person) pairs, each slot and person once, nearest centres first, none beyond REACH."""
    distance = np.linalg.norm(boxes.mean(axis=1)[:, None] - last.mean(axis=1)[None], axis=-1)
    diagonals, last_diagonals = (np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1) for corners in (boxes, last))
    larger = np.maximum(diagonals[:, None], last_diagonals[None])
    # A single joint has no size.
    reach = np.where(larger > 0, REACH * larger, np.inf)
    pairs: list[tuple[int, int]] = []
    for flat in np.argsort(distance, axis=None, kind="stable"):
        slot, person = divmod(int(flat), distance.shape[1])
        free = all(slot != s and person != p for s, p in pairs)
        if free and distance[slot, person] <= reach[slot, person]:
            pairs.append((slot, person))
    return pairs
