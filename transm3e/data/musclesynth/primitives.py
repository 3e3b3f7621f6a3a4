"""Motion primitives: which joints move, from where to where, in which posture, and which muscles they train.

Muscles follow the primary movers (not stabilisers) that these sources give, mapped to the paper's regions (D.1):

NSCA    G. G. Haff & N. T. Triplett (eds.), Essentials of Strength Training and Conditioning, 4th ed.,
        Human Kinetics, 2016, chapter 15 (exercise technique, "major muscles involved")
ACSM    ACSM's Guidelines for Exercise Testing and Prescription, 11th ed., Wolters Kluwer, 2021
NEUMANN D. A. Neumann, Kinesiology of the Musculoskeletal System, 3rd ed., Elsevier, 2017
EXRX    ExRx.net, Exercise & Muscle Directory (target muscle and synergists per exercise)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transm3e.data.annotations import MUSCLES

# Joint angles in degrees at the start and the end of the effort; a name without l_ / r_ stands for both sides.
Motion = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Posture:
    """What the rest of the body does.

    Attributes:
        name: key of POSTURES.
        angles: joint angles in degrees where they differ from 0.
        anchor: points whose horizontal place stays fixed ("feet": the foot that carries the weight).
        contact: points of which the lowest touches the ground; empty: the figure sits at seat height.
        planted: limbs ("arms") that hold on to their place on the floor.
        azimuth: centre of the camera's azimuth in degrees, 0 = in front of the figure.
        elevation: lowest and highest camera elevation in degrees.
    """

    name: str
    angles: Mapping[str, float]
    anchor: str
    contact: tuple[str, ...]
    planted: tuple[str, ...] = ()
    azimuth: float = 0.0
    elevation: tuple[float, float] = (3.0, 22.0)


FEET = ("l_heel", "r_heel", "l_toe", "r_toe")
TRUNK = ("pelvis", "waist", "neck")
LYING = (14.0, 38.0)
_STAND = {"shoulder_abd": 10, "elbow": 12, "hip_abd": 4, "knee": 2}
_SEAT = {"shoulder_abd": 14, "elbow": 25, "hip_flex": 88, "hip_abd": 9, "knee": 88}
_SUPINE = {"lean": -90, "shoulder_flex": 50, "shoulder_abd": 25, "elbow": 125, "hip_flex": 50, "knee": 98, "ankle": 5}
_PRONE = {"lean": 90, "shoulder_flex": 174, "shoulder_abd": 20, "elbow": 10, "hip_abd": 4, "knee": 4, "ankle": -50}
_PLANK = {"lean": 80, "shoulder_flex": 80, "shoulder_abd": 6, "hip_flex": 16, "hip_abd": 3, "ankle": 6}

POSTURES = {
    posture.name: posture
    for posture in (
        Posture("stand", _STAND, anchor="feet", contact=FEET),
        Posture("seat", _SEAT, anchor="pelvis", contact=()),
        Posture("supine", _SUPINE, anchor="pelvis", contact=TRUNK, azimuth=90, elevation=LYING),
        Posture("prone", _PRONE, anchor="pelvis", contact=TRUNK, azimuth=90, elevation=LYING),
        Posture("plank", _PLANK, "feet", FEET, planted=("arms",), azimuth=90, elevation=(6.0, 28.0)),
    )
}


@dataclass(frozen=True)
class Primitive:
    """One repeated movement of a single muscle chain.

    Attributes:
        name: key of PRIMITIVES.
        muscles: indices into MUSCLES, ascending.
        parts: body parts it needs for itself; two primitives combine when these are disjoint.
        motions: posture name -> joint angles at the start and the end of the effort.
        source: where the muscles are from (module docstring).
        one_sided: postures in which one side moves at a time.
        planted: limbs ("legs") that keep their place on the floor while it is done.
        load: whether a dumbbell in each hand is the resistance.
    """

    name: str
    muscles: tuple[int, ...]
    parts: frozenset[str]
    motions: Mapping[str, Motion]
    source: str
    one_sided: tuple[str, ...] = ()
    planted: tuple[str, ...] = ()
    load: bool = False


def _primitive(
    name: str,
    muscles: str,
    parts: str,
    source: str,
    motions: Mapping[str, Motion],
    one_sided: tuple[str, ...] = (),
    planted: tuple[str, ...] = (),
) -> Primitive:
    numbers = tuple(sorted(MUSCLES.index(muscle) for muscle in muscles.split()))
    needs = frozenset(parts.split())
    load = "arms" in needs and "plank" not in motions
    return Primitive(name, numbers, needs, motions, source, one_sided, planted, load)


def _upright(**angles: tuple[float, float]) -> dict[str, Motion]:
    return {"stand": angles, "seat": angles}


_TABLE = (
    # NEUMANN ch. 6: biceps brachii and brachioradialis flex the elbow.
    _primitive(
        "elbow_flexion",
        "biceps forearms",
        "arms",
        "NSCA; NEUMANN ch. 6; EXRX",
        _upright(shoulder_flex=(4, 10), shoulder_abd=(8, 8), elbow=(8, 138)),
    ),
    _primitive(
        "elbow_extension",
        "triceps",
        "arms",
        "NSCA; NEUMANN ch. 6",
        {
            **_upright(shoulder_flex=(168, 168), shoulder_abd=(6, 6), elbow=(135, 10)),
            "supine": {"shoulder_flex": (88, 88), "shoulder_abd": (6, 6), "elbow": (125, 6)},
        },
    ),
    _primitive(
        "wrist_curl",
        "forearms wrists",
        "arms",
        "NSCA; NEUMANN ch. 7",
        _upright(shoulder_flex=(10, 10), shoulder_abd=(10, 10), elbow=(85, 85), wrist=(-70, 75)),
    ),
    _primitive(
        "overhead_press",
        "shoulder triceps",
        "arms",
        "NSCA; EXRX",
        _upright(shoulder_abd=(62, 165), shoulder_twist=(85, 85), elbow=(138, 12)),
    ),
    # NEUMANN ch. 5: the deltoid abducts the arm while the trapezius turns the scapula upward.
    _primitive(
        "lateral_raise",
        "shoulder upper_back",
        "arms",
        "NSCA; NEUMANN ch. 5",
        _upright(shoulder_abd=(6, 95), elbow=(10, 14)),
    ),
    _primitive(
        "row",
        "latissimus upper_back biceps",
        "arms",
        "NSCA; EXRX",
        _upright(shoulder_flex=(80, -45), shoulder_abd=(4, 14), elbow=(8, 118)),
    ),
    _primitive(
        "straight_arm_pull",
        "latissimus",
        "arms",
        "EXRX; NEUMANN ch. 5",
        {
            **_upright(shoulder_flex=(158, 12), shoulder_abd=(6, 6), elbow=(6, 6)),
            "supine": {"shoulder_flex": (152, 50), "shoulder_abd": (6, 6), "elbow": (8, 8)},
        },
    ),
    _primitive(
        "chest_fly",
        "chest",
        "arms",
        "NSCA; EXRX",
        {
            **_upright(shoulder_flex=(88, 88), shoulder_abd=(82, 2), elbow=(14, 14)),
            "supine": {"shoulder_flex": (88, 88), "shoulder_abd": (82, 2), "elbow": (14, 14)},
        },
    ),
    _primitive(
        "push_up",
        "chest shoulder triceps",
        "arms trunk",
        "NSCA; ACSM",
        {"plank": {"lean": (92, 80), "hip_flex": (10, 16)}},
    ),
    # NEUMANN ch. 10: the external and internal obliques rotate the trunk.
    _primitive("trunk_rotation", "obliques", "trunk", "NEUMANN ch. 10; EXRX", _upright(spine_twist=(-62, 62))),
    _primitive(
        "crunch",
        "upper_abdominis",
        "trunk",
        "NSCA; NEUMANN ch. 10",
        {"supine": {"spine_flex": (0, 62)}},
    ),
    _primitive(
        "leg_raise",
        "lower_abdominis",
        "legs",
        "NEUMANN chs. 10 and 12; EXRX",
        {
            "supine": {"hip_flex": (8, 88), "knee": (6, 10)},
            "stand": {"hip_flex": (2, 105), "knee": (4, 105)},
            "plank": {"hip_flex": (16, 118), "knee": (2, 140), "ankle": (2, -75)},
        },
        one_sided=("stand", "plank"),
    ),
    _primitive(
        "back_extension",
        "lower_back",
        "trunk",
        "NSCA; NEUMANN ch. 10",
        {"prone": {"spine_flex": (4, -66)}},
    ),
    # NSCA, "good morning": gluteus maximus, hamstrings, erector spinae.
    _primitive(
        "hip_hinge",
        "gluteus hamstring lower_back",
        "trunk legs",
        "NSCA; NEUMANN ch. 12",
        {"stand": {"lean": (76, 0), "hip_flex": (80, 2), "knee": (14, 4), "ankle": (10, 2)}},
    ),
    _primitive(
        "hip_bridge",
        "gluteus hamstring",
        "trunk legs",
        "NEUMANN ch. 12; EXRX",
        {"supine": {"lean": (-90, -122)}},
        planted=("legs",),
    ),
    _primitive(
        "squat",
        "quadriceps gluteus",
        "trunk legs",
        "NSCA; ACSM",
        {"stand": {"lean": (42, 0), "hip_flex": (112, 2), "hip_abd": (14, 8), "knee": (108, 4), "ankle": (38, 2)}},
    ),
    _primitive("knee_extension", "quadriceps", "legs", "NSCA; NEUMANN ch. 13", {"seat": {"knee": (92, 4)}}),
    _primitive(
        "leg_curl",
        "hamstring",
        "legs",
        "NSCA; NEUMANN ch. 13",
        {"prone": {"knee": (4, 118)}, "stand": {"knee": (6, 122), "hip_flex": (2, -8)}},
        one_sided=("stand",),
    ),
    # NEUMANN ch. 12: tensor fasciae latae (iliotibial tract) and the glutei abduct the hip.
    _primitive(
        "hip_abduction",
        "outer_thigh gluteus",
        "legs",
        "NEUMANN ch. 12; EXRX",
        {"stand": {"hip_abd": (2, 52)}, "plank": {"hip_abd": (2, 34)}},
        one_sided=("stand",),
    ),
    _primitive(
        "hip_adduction",
        "inner_thigh",
        "legs",
        "NEUMANN ch. 12; EXRX",
        {
            "stand": {"hip_abd": (10, -36), "hip_flex": (4, 28)},
            "seat": {"hip_abd": (46, 2)},
            "supine": {"hip_flex": (86, 86), "knee": (6, 6), "hip_abd": (48, 2)},
        },
        one_sided=("stand",),
    ),
    _primitive(
        "calf_raise",
        "calves",
        "feet",
        "NSCA; NEUMANN ch. 14",
        {"stand": {"ankle": (4, -52)}, "seat": {"ankle": (0, -46), "hip_flex": (88, 107), "knee": (88, 107)}},
    ),
    _primitive(
        "ankle_dorsiflexion",
        "feet_ankles",
        "feet",
        "NEUMANN ch. 14; EXRX",
        {
            "stand": {"ankle": (-2, 40), "lean": (0, -4)},
            "seat": {"ankle": (-8, 44)},
            "supine": {"ankle": (-48, 36), "hip_flex": (6, 6), "knee": (8, 8)},
        },
    ),
    # NEUMANN ch. 10: sternocleidomastoid and the deep cervical flexors.
    _primitive(
        "neck_flexion",
        "neck_and_head",
        "neck",
        "NEUMANN ch. 10; EXRX",
        {**_upright(neck_flex=(-38, 52)), "supine": {"neck_flex": (-10, 52)}},
    ),
)
PRIMITIVES = {primitive.name: primitive for primitive in _TABLE}


def muscles_of(names: tuple[str, ...]) -> tuple[int, ...]:
    """Primitive names -> the union of their muscles, ascending indices into MUSCLES."""
    return tuple(sorted({muscle for name in names for muscle in PRIMITIVES[name].muscles}))
