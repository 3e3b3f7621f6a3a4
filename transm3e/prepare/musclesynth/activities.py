"""Activities: an exercise in a posture, or several exercises together; train shows none of the new ones."""

from __future__ import annotations

from dataclasses import dataclass

from transm3e.prepare.musclesynth.primitives import Primitive
from transm3e.prepare.musclesynth.vocabulary import PRIMITIVES, muscles_of

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
        "straight_arm_pulldown+hip_flexion",
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
    "lunge": ("curl+lunge", "overhead_press+lunge"),
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
        "side_bend+calf_raise",
    ),
    "seat": ("triceps_extension+leg_extension", "chest_fly+ankle_dorsiflexion+neck_flexion"),
    "supine": ("crunch+leg_raise", "bench_press+hip_bridge"),
    "lunge": ("wrist_curl+lunge",),
}

# What the small sizes show, posture by posture, so that a model can learn from a few hundred clips.
CORE_BY_POSTURE = {
    "stand": """
        squat hip_hinge wrist_curl trunk_rotation overhead_press calf_raise
        overhead_press_leg_curl curl_hip_abduction curl_trunk_rotation triceps_extension_hip_adduction
        lateral_raise_calf_raise lateral_raise_neck_flexion row_squat row_ankle_dorsiflexion
        straight_arm_pulldown_hip_flexion shrug wrist_curl_leg_curl
        row_hip_adduction_neck_flexion wrist_curl_hip_abduction_neck_flexion curl_leg_curl_ankle_dorsiflexion
        curl_squat overhead_press_calf_raise lateral_raise_hip_abduction wrist_curl_ankle_dorsiflexion
        straight_arm_pulldown_hip_adduction neck_flexion_hip_hinge side_bend_calf_raise""",
    "seat": """
        leg_extension pulldown row_leg_extension curl_ankle_dorsiflexion overhead_press_hip_adduction
        chest_fly_neck_flexion triceps_extension_leg_extension""",
    "supine": """
        hip_bridge pullover_crunch triceps_extension_leg_raise chest_fly_hip_adduction
        crunch_leg_raise bench_press_hip_bridge""",
    "bench": "bench_press",
    "lunge": "lunge curl_lunge split_squat wrist_curl_lunge",
    "hang": "pull_up chin_up",
    "dip": "dip",
    "prone": "back_extension leg_curl",
    "plank": "push_up",
    "side_plank": "side_plank_hold",
}
CORE = frozenset(f"{posture}_{name}" for posture, names in CORE_BY_POSTURE.items() for name in names.split())

# Exercises that train never shows, alone or in combination; other exercises train each of their muscles.
NEW_EXERCISES = frozenset(
    (
        *("concentration_curl", "chin_up", "inverted_row", "upright_row", "front_raise", "triceps_stretch"),
        *("side_bend", "jackknife", "side_plank_hold"),
        *("split_squat", "pistol_squat", "romanian_deadlift", "thruster", "swing"),
    )
)


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
        """What the clip table calls it, whatever the posture: for example "curl" or "row_squat"."""
        return "_".join(self.primitives)

    @property
    def key(self) -> str:
        """Its own name: for example "seat_curl"."""
        return f"{self.posture}_{self.name}"

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
        Activity(posture, (primitive.name,), primitive.name in NEW_EXERCISES)
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
