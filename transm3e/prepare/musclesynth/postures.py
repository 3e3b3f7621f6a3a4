"""Postures: what the rest of the body does, and the support (floor, bench, bar, ...) that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from transm3e.prepare.musclesynth.body import ANGLES, CENTRE_ANGLES

# Angle names -> degrees at the start and at the end; a name without l_ / r_ stands for both sides.
Motion = Mapping[str, tuple[float, float]]

ANKLES = ("l_ankle", "r_ankle")
FEET = ("l_heel", "r_heel", "l_toe", "r_toe")
TRUNK = ("pelvis", "waist", "neck")
HANDS = ("l_wrist", "r_wrist")
KNEES = ("l_knee", "r_knee")
PELVIS = ("pelvis",)
SEAT_TOP = 0.225  # of stature: the hips of one who sits there are as high as the knees


@dataclass(frozen=True)
class Posture:
    """How a figure stands, sits, lies or hangs.

    Attributes:
        name: key of POSTURES.
        angles: joint angles in degrees where they differ from 0.
        anchor: points of which the lowest keep their horizontal place.
        contact: points of which the lowest touches the support.
        support: key of supports.SUPPORTS.
        top: height of the support's surface, of stature.
        planted: limbs ("arms", "legs") whose ends keep their place.
        azimuth: centre of the camera's azimuth in degrees, 0 = in front of the figure.
        elevation: lowest and highest camera elevation in degrees.
    """

    name: str
    angles: Mapping[str, float]
    anchor: tuple[str, ...] = ANKLES
    contact: tuple[str, ...] = FEET
    support: str = "floor"
    top: float = 0.0
    planted: tuple[str, ...] = ()
    azimuth: float = 0.0
    elevation: tuple[float, float] = (3.0, 22.0)


def parse_motion(text: str) -> Motion:
    """ "elbow 8>138, shoulder_flex 5" -> {"elbow": (8, 138), "shoulder_flex": (5, 5)}."""
    motion = {}
    for part in text.split(","):
        name, degrees = part.split()
        start, _, end = degrees.partition(">")
        assert set(sides(name)) <= set(ANGLES), name
        motion[name] = (float(start), float(end or start))
    return motion


def sides(name: str) -> tuple[str, ...]:
    """The angles a name stands for: "elbow" -> ("l_elbow", "r_elbow"), "l_elbow" and "lean" -> themselves."""
    return (name,) if name in CENTRE_ANGLES or name[:2] in ("l_", "r_") else (f"l_{name}", f"r_{name}")


def _angles(text: str) -> dict[str, float]:
    return {name: start for name, (start, _) in parse_motion(text).items()}


class _View(TypedDict):
    azimuth: float
    elevation: tuple[float, float]


# Cameras: of who lies, from the side and from above.
_LOW: _View = {"azimuth": 90.0, "elevation": (4.0, 26.0)}
_LYING: _View = {"azimuth": 90.0, "elevation": (10.0, 34.0)}
_STAND = _angles("shoulder_abd 10, elbow 12, hip_abd 4, knee 2")
_BENCH = _angles("lean -90, shoulder_flex 45, shoulder_abd 20, elbow 60, hip_flex 8, hip_abd 12, knee 92, ankle 4")
_KNEEL = _angles("shoulder_abd 12, elbow 12, hip_abd 3, knee 90, ankle -70")
_FOURS = _angles("lean 86, shoulder_flex 86, shoulder_abd 4, hip_flex 86, hip_abd 4, knee 90, ankle -70, neck_flex -15")
_PLANK = _angles("lean 77, shoulder_flex 77, shoulder_abd 16, hip_flex 1, hip_abd 3, ankle 2")
_SIDE = _angles("roll 90, r_shoulder_flex 150, r_elbow 70, l_shoulder_abd 8, l_shoulder_flex 20, l_elbow 30")

POSTURES = {
    posture.name: posture
    for posture in (
        Posture("stand", _STAND, support="none"),
        Posture("bent", _STAND | _angles("lean 62, hip_flex 70, knee 22, ankle 12, shoulder_flex 62"), support="none"),
        Posture(
            "lunge",
            _STAND | _angles("l_hip_flex 30, l_knee 16, r_hip_flex -30, r_knee 20"),
            ANKLES,
            (*FEET, *KNEES),
            "none",
        ),
        Posture("step", _STAND, ("l_ankle",), ("l_heel", "l_toe"), "step", 0.2),
        Posture("wall", _angles("hip_flex 88, knee 88, hip_abd 5, shoulder_abd 8, elbow 10"), support="wall"),
        Posture(
            "seat",
            _angles("shoulder_abd 14, elbow 25, hip_flex 88, hip_abd 9, knee 88"),
            PELVIS,
            PELVIS,
            "seat",
            top=SEAT_TOP,
        ),
        Posture(
            "incline",
            _angles("lean -42, shoulder_abd 14, shoulder_flex 20, elbow 40, hip_flex 46, hip_abd 12, knee 84"),
            PELVIS,
            PELVIS,
            "backrest",
            top=SEAT_TOP,
            azimuth=60.0,
        ),
        Posture(
            "machine",
            _angles("lean -38, shoulder_flex 8, shoulder_abd 14, elbow 20, hip_flex 98, hip_abd 9, knee 92"),
            PELVIS,
            PELVIS,
            "backrest",
            top=0.12,
            azimuth=70.0,
        ),
        Posture("bench", _BENCH, PELVIS, TRUNK, "bench", SEAT_TOP, **_LYING),
        Posture(
            "floor_seat",
            _angles("lean -12, hip_flex 78, hip_abd 5, shoulder_flex -25, shoulder_abd 12, elbow 8"),
            PELVIS,
            PELVIS,
            **_LOW,
        ),
        Posture(
            "supine",
            _angles("lean -90, shoulder_flex 12, shoulder_abd 22, elbow 15, hip_flex 50, knee 98, ankle 5, hip_abd 4"),
            PELVIS,
            TRUNK,
            **_LYING,
        ),
        Posture(
            "prone",
            _angles(
                "lean 90, neck_flex -20, shoulder_flex 174, shoulder_abd 20, elbow 10, hip_abd 4, knee 4, ankle -50"
            ),
            PELVIS,
            TRUNK,
            **_LYING,
        ),
        Posture("side", _SIDE, PELVIS, ("r_shoulder", "r_hip", "pelvis"), elevation=(8.0, 30.0)),
        Posture("kneel", _KNEEL, KNEES, (*KNEES, "l_toe", "r_toe"), azimuth=40.0),
        Posture(
            "half_kneel",
            _KNEEL | _angles("l_hip_flex 90, l_ankle 0, r_ankle -70"),
            ("r_knee",),
            ("r_knee", *FEET[::2]),
            azimuth=60.0,
        ),
        Posture("fours", _FOURS, KNEES, (*KNEES, "l_toe", "r_toe"), planted=("arms",), **_LOW),
        Posture("plank", _PLANK, planted=("arms",), **_LOW),
        Posture(
            "forearms",
            _angles("lean 83, shoulder_flex 83, shoulder_abd 4, elbow 90, hip_abd 3, ankle 2"),
            ("l_elbow", "r_elbow"),
            ("l_elbow", "r_elbow", *FEET),
            **_LOW,
        ),
        Posture(
            "side_plank",
            _angles("roll 77, r_shoulder_abd 76, r_elbow 88, l_shoulder_abd 4, l_elbow 20"),
            ("r_elbow",),
            ("r_elbow", "r_ankle"),
            elevation=(4.0, 26.0),
        ),
        Posture("hang", _angles("shoulder_abd 164, elbow 6, knee 8"), HANDS, HANDS, "bar", 1.24, ("arms",)),
        Posture("dip", _angles("shoulder_abd 8, elbow 6, knee 35"), HANDS, HANDS, "rails", 0.62, ("arms",), 45.0),
        Posture(
            "bench_dip",
            _angles("shoulder_flex -42, shoulder_abd 6, elbow 8, lean 4, hip_flex 82, knee 28"),
            HANDS,
            HANDS,
            "box",
            SEAT_TOP + 0.03,
            ("arms", "legs"),
            **_LOW,
        ),
        Posture(
            "bridge",
            _angles(
                "lean -90, shoulder_flex 20, shoulder_abd 40, elbow 20, hip_flex 4, hip_abd 6, knee 94, neck_flex 20"
            ),
            ("neck",),
            ("neck",),
            "box",
            SEAT_TOP,
            ("legs",),
            **_LYING,
        ),
        Posture(
            "roman",
            _angles("lean 45, shoulder_flex 60, elbow 110, shoulder_abd 20"),
            PELVIS,
            PELVIS,
            "pad",
            0.46,
            **_LOW,
        ),
        Posture(
            "inverted",
            _angles("lean -68, shoulder_flex 84, shoulder_abd 12, elbow 6, hip_abd 4, ankle 0"),
            HANDS,
            HANDS,
            "bar",
            0.55,
            ("arms",),
            **_LOW,
        ),
    )
}
