"""Activities: combinations of primitives in one posture; the new ones never occur in train."""

from __future__ import annotations

from dataclasses import dataclass

from transm3e.data.musclesynth.primitives import PRIMITIVES, Primitive, muscles_of

# Mostly pairs and triples like the new ones, so that known and new clips carry about as many muscles.
KNOWN_COMBINATIONS: dict[str, tuple[str, ...]] = {
    "stand": (
        "wrist_curl",
        "squat",
        "hip_hinge",
        "trunk_rotation",
        "overhead_press+squat",
        "overhead_press+leg_curl",
        "elbow_flexion+hip_abduction",
        "elbow_flexion+trunk_rotation",
        "elbow_extension+hip_adduction",
        "lateral_raise+calf_raise",
        "lateral_raise+neck_flexion",
        "row+squat",
        "row+ankle_dorsiflexion",
        "straight_arm_pull+leg_raise",
        "chest_fly+trunk_rotation",
        "chest_fly+calf_raise",
        "wrist_curl+leg_curl",
        "row+hip_adduction+neck_flexion",
        "wrist_curl+hip_abduction+neck_flexion",
        "elbow_flexion+leg_curl+ankle_dorsiflexion",
        "lateral_raise+trunk_rotation+calf_raise",
    ),
    "seat": (
        "row+knee_extension",
        "knee_extension+trunk_rotation",
        "elbow_flexion+ankle_dorsiflexion",
        "overhead_press+hip_adduction",
        "chest_fly+neck_flexion",
        "elbow_extension+calf_raise",
        "overhead_press+knee_extension+neck_flexion",
    ),
    "supine": (
        "hip_bridge",
        "straight_arm_pull+crunch",
        "elbow_extension+leg_raise",
        "chest_fly+hip_adduction",
        "chest_fly+crunch+ankle_dorsiflexion",
    ),
    "prone": ("back_extension", "leg_curl"),
    "plank": ("push_up", "push_up+hip_abduction", "leg_raise"),
}

NEW_COMBINATIONS: dict[str, tuple[str, ...]] = {
    "stand": (
        "elbow_flexion+squat",
        "overhead_press+calf_raise",
        "lateral_raise+hip_abduction",
        "row+leg_curl",
        "wrist_curl+ankle_dorsiflexion",
        "trunk_rotation+leg_raise",
        "straight_arm_pull+hip_adduction",
        "neck_flexion+hip_hinge",
    ),
    "seat": ("elbow_extension+knee_extension", "chest_fly+ankle_dorsiflexion+neck_flexion"),
    "supine": ("crunch+leg_raise", "straight_arm_pull+hip_bridge"),
    "prone": ("back_extension+leg_curl",),
    "plank": ("push_up+leg_raise",),
}


@dataclass(frozen=True)
class Activity:
    """One to three primitives done together in one posture.

    Attributes:
        posture: key of primitives.POSTURES.
        primitives: keys of primitives.PRIMITIVES.
        new: whether the combination is kept out of train and the known splits.
    """

    posture: str
    primitives: tuple[str, ...]
    new: bool

    @property
    def name(self) -> str:
        """For example "stand_row_squat"."""
        return "_".join((self.posture, *self.primitives))

    @property
    def muscles(self) -> tuple[int, ...]:
        """Indices into MUSCLES, ascending."""
        return muscles_of(self.primitives)


def _activities(combinations: dict[str, tuple[str, ...]], new: bool) -> tuple[Activity, ...]:
    return tuple(
        Activity(posture, tuple(text.split("+")), new) for posture, texts in combinations.items() for text in texts
    )


KNOWN = _activities(KNOWN_COMBINATIONS, new=False)
NEW = _activities(NEW_COMBINATIONS, new=True)


def compatible(activity: Activity) -> list[Primitive]:
    """Primitives that could be added to an activity: same posture, other body parts."""
    taken = frozenset[str]().union(*(PRIMITIVES[name].parts for name in activity.primitives))
    return [p for p in PRIMITIVES.values() if activity.posture in p.motions and not taken & p.parts]
