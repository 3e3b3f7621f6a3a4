"""MuscleSynth's figure: what a body can do, on a support that carries it, with labels that public tables share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transm3e.prepare.musclesynth.activities import ALL
from transm3e.prepare.musclesynth.agreement import compare, markdown
from transm3e.prepare.musclesynth.body import ANGLES, BodyShape, forward, sample_body
from transm3e.prepare.musclesynth.motion import FLESH, Performance, animate
from transm3e.prepare.musclesynth.postures import POSTURES, Motion, sides
from transm3e.prepare.musclesynth.primitives import primitive
from transm3e.prepare.musclesynth.supports import TRUNK_DEPTH
from transm3e.prepare.musclesynth.vocabulary import IDLE_ARMS, PRIMITIVES

ANNOTATIONS = Path(__file__).resolve().parents[2] / "datasets" / "annotations"
# Degrees; ends of motion of trained people (Neumann), a little more where the spine or the shoulder blade helps.
LIMITS = {
    "roll": (0, 90),
    "lean": (-122, 120),
    "spine_flex": (-66, 66),
    "spine_side": (-40, 40),
    "spine_twist": (-62, 62),
    "neck_flex": (-50, 56),
    "neck_twist": (-60, 60),
    "shrug": (0, 32),
    "shoulder_flex": (-70, 180),
    "shoulder_abd": (-45, 170),
    "shoulder_twist": (-90, 95),
    "elbow": (0, 145),
    "wrist": (-75, 80),
    "hip_flex": (-42, 150),
    "hip_abd": (-36, 70),
    "hip_twist": (0, 72),
    "knee": (0, 142),
    "ankle": (-70, 45),
}
FRAMES = 20


@pytest.fixture(scope="module")
def performances() -> dict[str, Performance]:
    """Every activity once, by its key."""
    rng = np.random.default_rng(7)
    return {activity.key: animate(activity, sample_body(rng), rng, FRAMES, 10) for activity in ALL}


def motions() -> list[tuple[str, Motion]]:
    found = [(p.name, motion) for p in PRIMITIVES.values() for some in p.motions.values() for motion in some]
    found += [(posture, motion) for posture, poses in IDLE_ARMS.items() for motion, _ in poses]
    return found + [(p.name, {name: (angle, angle) for name, angle in p.angles.items()}) for p in POSTURES.values()]


def test_angles_are_those_that_joints_have():
    for where, motion in motions():
        for name, ends in motion.items():
            low, high = LIMITS[name.removeprefix("l_").removeprefix("r_")]
            assert low <= min(ends) <= max(ends) <= high, f"{where}: {name} {ends}"


def test_every_primitive_moves_or_is_a_hold():
    assert {p.name for p in PRIMITIVES.values() if p.held} == {"plank_hold", "side_plank_hold", "wall_sit"}
    for p in PRIMITIVES.values():
        for posture, variants in p.motions.items():
            assert p.held or all(any(a != b for a, b in motion.values()) for motion in variants), (p.name, posture)


def test_a_row_of_the_table_is_read_whole():
    row = primitive(
        "x", "wrists chest", "arms", "NSCA", {"stand seat": "elbow 8>90, lean 5; l_knee 3", "seat": "knee 9"}
    )
    assert row.muscles == (1, 19)
    assert row.motions["stand"] == ({"elbow": (8, 90), "lean": (5, 5)}, {"l_knee": (3, 3)})
    assert row.motions["seat"] == (*row.motions["stand"], {"knee": (9, 9)})
    assert sides("elbow") == ("l_elbow", "r_elbow")


def test_figures_stand_on_the_floor_and_on_their_support(performances):
    for key, done in performances.items():
        lowest = np.min([xyz[:, 1] for name, xyz in done.points.items() if "grip" not in name], axis=0)
        assert lowest.min() > -0.05, f"{key}: metres below the floor"
        posture = POSTURES[next(activity.posture for activity in ALL if activity.key == key)]
        if posture.top == 0:
            assert lowest.max() < 0.2, f"{key}: metres above the floor"
        else:
            assert done.props, f"{key}: floats"


def test_knees_bend_one_way(performances):
    for key, done in performances.items():
        for side in "lr":
            hip, knee, ankle, toe, heel = (
                done.points[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "toe", "heel")
            )
            # A bent knee is before the line from hip to ankle, as the toes are.
            shank = (ankle - knee) / np.linalg.norm(ankle - knee, axis=1, keepdims=True)
            front = toe - heel - ((toe - heel) * shank).sum(axis=1, keepdims=True) * shank
            ahead = ((knee - (hip + ankle) / 2) * front).sum(axis=1) / np.linalg.norm(front, axis=1)
            assert ahead.min() > -0.02, f"{key}: {side} knee"


def test_hands_that_carry_stay_where_they_are(performances):
    for key in ["hang_pull_up", "dip_dip", "plank_push_up", "fours_hip_extension", "bench_dip_dip"]:
        done = performances[key]
        for side in "lr":
            wrist = done.points[f"{side}_wrist"]
            assert np.ptp(wrist, axis=0).max() < 0.03
        assert np.ptp(done.points["l_shoulder"], axis=0).max() > (0.1 if "hip_extension" not in key else 0)


def test_a_bar_is_held_with_both_hands_at_one_distance(performances):
    bars = {key: done.points for key, done in performances.items() if done.load == "bar"}
    assert len(bars) > 15
    for key, points in bars.items():
        apart = np.linalg.norm(points["l_wrist"] - points["r_wrist"], axis=1)
        reach = [np.linalg.norm(points[f"{s}_wrist"] - points[f"{s}_shoulder"], axis=1).max() for s in "lr"]
        assert np.ptp(apart) < 0.1, key
        assert max(reach) < 0.75, key


def test_who_lies_on_a_bench_has_it_under_the_back_and_the_face_up():
    for activity in (a for a in ALL if a.posture == "bench"):
        body = BodyShape()
        done = animate(activity, body, np.random.default_rng(3), FRAMES, 10)
        top = POSTURES["bench"].top * body.stature
        lowest = np.min([done.points[name][:, 1] for name in ("pelvis", "waist", "neck")], axis=0)
        np.testing.assert_allclose(lowest - TRUNK_DEPTH * body.stature, top, atol=1e-6)
        assert (done.points["nose"][:, 1] > done.points["head"][:, 1] - 0.05).mean() > 0.5
        board = max(done.props, key=lambda hull: np.ptp(hull[:, 2]))
        assert abs(board[:, 1].max() - top) < 0.05
        assert board[:, 2].min() < done.points["neck"][:, 2].mean() < board[:, 2].max()


def test_side_plank_rests_on_elbow_and_foot():
    points = animate(
        next(a for a in ALL if a.posture == "side_plank"), BodyShape(), np.random.default_rng(0), FRAMES, 10
    ).points
    low = {
        name: min(points[f"l_{name}"][:, 1].min(), points[f"r_{name}"][:, 1].min())
        for name in ("elbow", "ankle", "hip")
    }
    assert low["elbow"] < 0.1
    assert low["ankle"] < 0.16
    assert low["hip"] > FLESH["hip"] * 1.72


def test_shrug_and_roll_do_what_they_say():
    still = {name: np.zeros(1) for name in ANGLES}
    rest = forward(BodyShape(), still)
    up = forward(BodyShape(), still | {"l_shrug": np.full(1, 30.0), "r_shrug": np.full(1, 30.0)})
    for side in "lr":
        assert up[f"{side}_shoulder"][0, 1] - rest[f"{side}_shoulder"][0, 1] > 0.07
    on_the_right = forward(BodyShape(), still | {"roll": np.full(1, 90.0)})
    assert on_the_right["r_shoulder"][0, 1] < on_the_right["l_shoulder"][0, 1] - 0.3


def test_labels_agree_with_public_tables_or_say_why_not(shared):
    found = compare(
        [shared / "data" / "sources"], ANNOTATIONS / "muscle_vocabulary.csv", ANNOTATIONS / "musclesynth_votes.csv"
    )
    assert {each.primitive for each in found} == set(PRIMITIVES)
    assert not [each.primitive for each in found if each.label != each.voted and not each.note]
    assert not [each.primitive for each in found if each.label == each.voted and each.note]
    several = [each for each in found if each.sources >= 4]
    assert len(several) > 60
    assert np.mean([each.jaccard for each in several]) > 0.8
    assert markdown(found).count("\n") == len(found) + 3
