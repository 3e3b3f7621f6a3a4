"""Activities: an exercise in a posture, or several exercises together; the new ones never occur in train."""

from __future__ import annotations

from dataclasses import dataclass

from transm3e.data.musclesynth.primitives import Primitive
from transm3e.data.musclesynth.vocabulary import PRIMITIVES, muscles_of

# Pairs and triples, beside every primitive alone in each of its postures.
KNOWN_COMBINATIONS: dict[str, tuple[str, ...]] = {
    "stand": (
        "overhead_press+leg_curl",
        "curl+hip_abduction",
        "curl+trunk_rotation",
        "triceps_extension+hip_adduction",
        "lateral_raise+calf_raise",
        "lateral_raise+neck_flexion",
        "row+squat",
        "row+ankle_dorsiflexion",
        "front_raise+hip_flexion",
        "chest_fly+trunk_rotation",
        "wrist_curl+leg_curl",
        "row+hip_adduction+neck_flexion",
        "wrist_curl+hip_abduction+neck_flexion",
        "curl+leg_curl+ankle_dorsiflexion",
        "lateral_raise+trunk_rotation+calf_raise",
    ),
    "seat": (
        "row+leg_extension",
        "curl+ankle_dorsiflexion",
        "overhead_press+hip_adduction",
        "chest_fly+neck_flexion",
    ),
    "supine": (
        "pullover+crunch",
        "triceps_extension+leg_raise",
        "chest_fly+hip_adduction",
    ),
    "lunge": ("curl+lunge", "overhead_press+split_squat"),
}

NEW_COMBINATIONS: dict[str, tuple[str, ...]] = {
    "stand": (
        "curl+squat",
        "overhead_press+calf_raise",
        "lateral_raise+hip_abduction",
        "wrist_curl+ankle_dorsiflexion",
        "straight_arm_pulldown+hip_adduction",
        "neck_flexion+hip_hinge",
        "front_raise+squat",
    ),
    "seat": ("triceps_extension+leg_extension", "chest_fly+ankle_dorsiflexion+neck_flexion"),
    "supine": ("crunch+leg_raise", "bench_press+hip_bridge"),
    "lunge": ("lateral_raise+lunge",),
}

# Primitives that train shows in other postures only, or not at all.
NEW_EXERCISES: dict[str, tuple[str, ...]] = {
    "stand": ("pistol_squat", "thruster", "side_bend"),
    "seat": ("overhead_press", "shoulder_rotation", "triceps_stretch", "hip_abduction"),
    "kneel": ("curl", "straight_arm_pulldown", "trunk_rotation"),
    "bent": ("shrug",),
    "incline": ("bench_press", "row"),
    "bench": ("pullover", "leg_raise"),
    "hang": ("chin_up",),
    "bench_dip": ("dip",),
    "prone": ("leg_curl",),
    "side": ("hip_adduction",),
    "machine": ("calf_raise",),
    "side_plank": ("side_plank_hold",),
    "roman": ("back_extension",),
    "floor_seat": ("hamstring_stretch",),
}


@dataclass(frozen=True)
class Activity:
    """One to three primitives done together in one posture.

    Attributes:
        posture: key of postures.POSTURES.
        primitives: keys of vocabulary.PRIMITIVES.
        new: whether it is kept out of train and the known splits.
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


def _exercises() -> tuple[Activity, ...]:
    return tuple(
        Activity(posture, (primitive.name,), primitive.name in NEW_EXERCISES.get(posture, ()))
        for primitive in PRIMITIVES.values()
        for posture in primitive.motions
    )


ALL = (*_exercises(), *_activities(KNOWN_COMBINATIONS, new=False), *_activities(NEW_COMBINATIONS, new=True))
KNOWN = tuple(activity for activity in ALL if not activity.new)
NEW = tuple(activity for activity in ALL if activity.new)


def compatible(activity: Activity) -> list[Primitive]:
    """Primitives that could be added to an activity: same posture, other body parts."""
    taken = frozenset[str]().union(*(PRIMITIVES[name].parts for name in activity.primitives))
    return [p for p in PRIMITIVES.values() if activity.posture in p.motions and not taken & p.parts]
