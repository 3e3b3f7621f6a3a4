"""All primitives by name, and what the limbs do that no primitive of an activity moves."""

from __future__ import annotations

from transm3e.prepare.musclesynth.lower_body import LOWER_BODY
from transm3e.prepare.musclesynth.postures import Motion, parse_motion
from transm3e.prepare.musclesynth.trunk import TRUNK
from transm3e.prepare.musclesynth.upper_body import UPPER_BODY

PRIMITIVES = {primitive.name: primitive for primitive in (*UPPER_BODY, *TRUNK, *LOWER_BODY)}

# Where idle arms are, and what they hold.
_UPRIGHT = (
    ("shoulder_abd 10, elbow 10", "dumbbells"),
    ("shoulder_abd 10, elbow 10", ""),
    ("shoulder_abd 38, shoulder_twist -52, elbow 92", ""),  # on the hips
    ("shoulder_flex 84, shoulder_abd 4, elbow 8", ""),
    ("shoulder_flex 58, shoulder_abd 8, shoulder_twist -48, elbow 128", ""),  # crossed
    ("shoulder_flex -22, shoulder_abd 46, shoulder_twist 58, elbow 132", "bar"),  # on the back
    ("shoulder_flex -22, shoulder_abd 46, shoulder_twist 58, elbow 132", "bar"),
    ("shoulder_flex 68, shoulder_abd 14, elbow 142", "bar"),  # before the shoulders
    ("shoulder_flex 30, shoulder_abd 8, shoulder_twist -28, elbow 132", "dumbbells"),  # at the chest
    ("shoulder_abd 122, shoulder_twist 78, elbow 138", ""),  # behind the head
)
_LYING = (
    ("shoulder_flex 4, shoulder_abd 24, elbow 10", ""),
    ("shoulder_abd 122, shoulder_twist 78, elbow 138", ""),
    ("shoulder_flex 58, shoulder_abd 8, shoulder_twist -48, elbow 128", ""),
    ("shoulder_flex 100, shoulder_abd 4, elbow 8", ""),
    ("shoulder_flex 168, shoulder_abd 14, elbow 10", ""),
)
IDLE_ARMS: dict[str, tuple[tuple[Motion, str], ...]] = {
    posture: tuple((parse_motion(text), load) for text, load in poses)
    for postures, poses in (
        ("stand lunge step wall seat kneel half_kneel", _UPRIGHT),
        ("supine bench incline machine", _LYING),
    )
    for posture in postures.split()
}


def muscles_of(names: tuple[str, ...]) -> tuple[int, ...]:
    """Primitive names -> the union of their muscles, ascending indices into MUSCLES."""
    return tuple(sorted({muscle for name in names for muscle in PRIMITIVES[name].muscles}))
