"""Which persons of a clip a model sees: the same ones in every frame, the most visible first."""

from __future__ import annotations

import numpy as np

# A person is not linked across more than this many diagonals of the larger of the two boxes.
REACH = 1.0


def pick_persons(joints: np.ndarray, num_persons: int, tracks: np.ndarray | None = None) -> np.ndarray:
    """(T, P, V, 3) joints of everybody -> (T, M, V, 3) float32 of the M most visible, one person per slot.

    Persons are ranked by mean score times the area of the box around their joints, averaged over the clip's frames
    (0 where they are not seen); the earlier one wins a tie. Slots without a person are zero. Nothing is drawn at
    random.

    Args:
        joints: x, y and score in [0, 1]; zeros where missing.
        num_persons: M.
        tracks: (T, P) which person each slot holds, -1 for nobody, from a tracker. None: slots are linked to the
            nearest person of the frames before, at most one box diagonal away.
    """
    seen: np.ndarray = np.any(joints[..., 2] > 0, axis=-1)
    centres, diagonals, weights = _boxes(joints, seen)
    tracks = np.where(seen, _link(centres, diagonals, seen) if tracks is None else tracks, -1)
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


def _boxes(joints: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, P, 2) centres, (T, P) diagonals and (T, P) mean score x area of the boxes around the joints; 0 for nobody."""
    found = joints[..., 2:] > 0
    low = np.where(found, joints[..., :2], np.inf).min(axis=2)
    high = np.where(found, joints[..., :2], -np.inf).max(axis=2)
    low, high = (np.where(seen[..., None], corner, 0).astype(np.float64) for corner in (low, high))
    sides = high - low
    weights = joints[..., 2].mean(axis=-1) * sides.prod(axis=-1)
    return (low + high) / 2, np.hypot(sides[..., 0], sides[..., 1]), weights


def _link(centres: np.ndarray, diagonals: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Slots of each frame to persons, nearest pairs first -> (T, P) person numbers, -1 for nobody."""
    tracks = np.full(seen.shape, -1, np.int64)
    # Of each person so far, when last seen.
    last_centres, last_diagonals = np.empty((0, 2)), np.empty(0)
    for t in range(len(tracks)):
        slots = np.flatnonzero(seen[t])
        for slot, person in _nearest(centres[t, slots], diagonals[t, slots], last_centres, last_diagonals):
            tracks[t, slots[slot]] = person
        new = [slot for slot in slots if tracks[t, slot] < 0]
        tracks[t, new] = len(last_centres) + np.arange(len(new))
        last_centres = np.concatenate([last_centres, centres[t, new]])
        last_diagonals = np.concatenate([last_diagonals, diagonals[t, new]])
        persons = tracks[t, slots]
        last_centres[persons], last_diagonals[persons] = centres[t, slots], diagonals[t, slots]
    return tracks


def _nearest(
    centres: np.ndarray, diagonals: np.ndarray, last_centres: np.ndarray, last_diagonals: np.ndarray
) -> list[tuple[int, int]]:
    """(slot, person) pairs, each of them once, nearest first, none beyond REACH."""
    distance = np.linalg.norm(centres[:, None] - last_centres[None], axis=-1)
    reach = REACH * np.maximum(diagonals[:, None], last_diagonals[None])
    pairs: list[tuple[int, int]] = []
    for flat in np.argsort(distance, axis=None, kind="stable"):
        slot, person = divmod(int(flat), distance.shape[1])
        free = all(slot != s and person != p for s, p in pairs)
        if free and distance[slot, person] <= reach[slot, person]:
            pairs.append((slot, person))
    return pairs
