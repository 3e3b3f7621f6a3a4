"""Motion primitives: which joints move, from where to where, in which postures, and which muscles they train.

The table itself is in upper_body, trunk and lower_body; vocabulary joins it. Muscles are the primary movers and the
synergists (not the stabilisers) that these sources give, mapped to the paper's regions (D.1):

NSCA    G. G. Haff & N. T. Triplett (eds.), Essentials of Strength Training and Conditioning, 4th ed.,
        Human Kinetics, 2016, chapter 15 (exercise technique, "major muscles involved")
ACSM    ACSM's Guidelines for Exercise Testing and Prescription, 11th ed., Wolters Kluwer, 2021
NEUMANN D. A. Neumann, Kinesiology of the Musculoskeletal System, 3rd ed., Elsevier, 2017 (ch. 5 shoulder, 6 elbow,
        7 wrist, 10 trunk, 12 hip, 13 knee, 14 ankle)
EXRX    ExRx.net, Exercise & Muscle Directory (target muscle and synergists per exercise)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transm3e.data.annotations import MUSCLES
from transm3e.prepare.musclesynth.postures import POSTURES, Motion, parse_motion


@dataclass(frozen=True)
class Primitive:
    """One repeated movement, or one pose that is held.

    Attributes:
        name: key of vocabulary.PRIMITIVES.
        muscles: indices into MUSCLES, ascending.
        parts: body parts it needs for itself; two primitives combine when these are disjoint.
        motions: posture name -> variants: joint angles at the start and the end of the effort.
        source: where the muscles are from (module docstring).
        one_sided: postures in which one side moves at a time.
        loads: what the hands may hold, one at random: "" nothing, "dumbbells", or "bar", which fixes the hands' distance.
        planted: limbs ("legs") that keep their place while it is done, beside the posture's.
    """

    name: str
    muscles: tuple[int, ...]
    parts: frozenset[str]
    motions: Mapping[str, tuple[Motion, ...]]
    source: str
    one_sided: tuple[str, ...] = ()
    loads: tuple[str, ...] = ("",)
    planted: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether it is a pose without movement."""
        return all(a == b for variants in self.motions.values() for motion in variants for a, b in motion.values())


def primitive(
    name: str,
    muscles: str,
    parts: str,
    source: str,
    motions: Mapping[str, str],
    one_sided: str = "",
    loads: str = "none",
    planted: str = "",
) -> Primitive:
    """A row of the table, words separated by blanks.

    Args:
        motions: posture names -> "angle start>end, angle both; of another variant ...".
        loads: words "none", "dumbbells", "bar".
    """
    numbers = tuple(sorted(MUSCLES.index(muscle) for muscle in muscles.split()))
    parsed: dict[str, tuple[Motion, ...]] = {}
    for names, text in motions.items():
        variants = tuple(map(parse_motion, text.split(";")))
        for posture in names.split():
            assert posture in POSTURES, posture
            parsed[posture] = parsed.get(posture, ()) + variants
    held = tuple("" if load == "none" else load for load in loads.split())
    single, fixed = tuple(one_sided.split()), tuple(planted.split())
    return Primitive(name, numbers, frozenset(parts.split()), parsed, source, single, held, fixed)
