"""Skeleton layouts: the detectors' orders, bones that form a tree, left and right that mirror each other."""

from __future__ import annotations

import json

import pytest

from transm3e.errors import UserError
from transm3e.joints import LAYOUTS, find_layout

each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@each_layout
def test_every_joint_but_the_centre_has_one_parent_and_leads_to_the_centre(layout):
    parents = dict(layout.bones)
    assert len(parents) == len(layout.bones)
    assert set(parents) == set(range(len(layout.names))) - {layout.centre}
    for joint in parents:
        way = [joint]
        while way[-1] != layout.centre:
            way.append(parents[way[-1]])
            assert len(way) <= len(layout.names), f"{layout.names[joint]} leads in a circle"


@each_layout
def test_a_flip_swaps_every_left_joint_with_its_right_one_and_keeps_the_bones(layout):
    sides = [[name for name in layout.names if name.startswith(side)] for side in ("left_", "right_")]
    assert [layout.names[left] for left, _ in layout.pairs] == sides[0]
    assert {layout.names[right] for _, right in layout.pairs} == set(sides[1])
    assert all(layout.names[a][5:] == layout.names[b][6:] for a, b in layout.pairs)
    flip = {a: b for pair in layout.pairs for a, b in (pair, pair[::-1])}
    flipped = {(flip.get(joint, joint), flip.get(parent, parent)) for joint, parent in layout.bones}
    assert flipped == set(layout.bones)


def test_orders_are_the_detectors():
    coco, halpe, openpose = (LAYOUTS[name].names for name in ("coco17", "halpe26", "openpose18"))
    assert halpe[:17] == coco
    assert halpe[17:20] == ("head", "neck", "hip")
    assert set(openpose) == {*coco, "neck"}
    # OpenPose counts the right side first.
    assert [openpose.index(name) for name in ("neck", "right_wrist", "left_wrist", "left_ankle", "left_ear")] == [
        *(1, 4, 7, 13, 17)
    ]


def test_ntu_is_the_tree_of_st_gcn_and_ctr_gcn():
    """Joints from 1, as the data set's paper counts them: each with the one it hangs on."""
    ntu = LAYOUTS["ntu25"]
    trunk, arms = {(1, 2), (2, 21), (3, 21), (4, 3)}, {(5, 21), (6, 5), (7, 6), (8, 7), (9, 21), (10, 9), (11, 10)}
    hands, legs = {(12, 11), (22, 23), (23, 8), (24, 25), (25, 12)}, {(13, 1), (14, 13), (15, 14), (16, 15), (17, 1)}
    feet = {(18, 17), (19, 18), (20, 19)}
    assert {(joint + 1, parent + 1) for joint, parent in ntu.bones} == trunk | arms | hands | legs | feet
    assert (ntu.centre, ntu.names[ntu.centre]) == (20, "spine")
    numbered = {"spine_base": 1, "head": 4, "left_hand": 8, "right_shoulder": 9, "left_hip": 13, "right_foot": 20}
    numbered |= {"left_hand_tip": 22, "left_thumb": 23, "right_hand_tip": 24, "right_thumb": 25}
    assert {name: ntu.names.index(name) + 1 for name in numbered} == numbered
    assert {(left + 1, right + 1) for left, right in ntu.pairs} == {
        *((joint, joint + 4) for joint in (5, 6, 7, 8, 13, 14, 15, 16)),
        *((22, 24), (23, 25)),
    }


def test_blazepose_is_mediapipes_order_with_cocos_tree_for_cocos_joints():
    blaze, coco = LAYOUTS["blazepose33"], LAYOUTS["coco17"]
    numbered = {"nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_mouth": 9}
    numbered |= {"left_shoulder": 11, "right_elbow": 14, "left_wrist": 15, "right_pinky": 18, "left_index": 19}
    numbered |= {"left_thumb": 21, "left_hip": 23, "right_knee": 26, "left_heel": 29, "right_foot_index": 32}
    assert {name: blaze.names.index(name) for name in numbered} == numbered
    assert len(blaze.names) == 33
    tree = {blaze.names[joint]: blaze.names[parent] for joint, parent in blaze.bones}
    below_the_head = {(coco.names[joint], coco.names[parent]) for joint, parent in coco.bones if joint > 4}
    assert below_the_head <= set(tree.items())
    assert [tree[f"left_{name}"] for name in ("eye", "ear", "thumb", "foot_index")] == [
        *("left_eye_inner", "left_eye_outer", "left_wrist", "left_heel")
    ]


def test_coco_is_the_tree_of_pyskl_and_mmaction2():
    legs, arms = {(15, 13), (13, 11), (16, 14), (14, 12)}, {(9, 7), (7, 5), (10, 8), (8, 6)}
    trunk, face = {(11, 5), (12, 6), (5, 0), (6, 0)}, {(1, 0), (2, 0), (3, 1), (4, 2)}
    assert set(LAYOUTS["coco17"].bones) == legs | arms | trunk | face


def test_coco_order_is_that_of_a_real_annotation_file(shared):
    file = shared / "data" / "skeleton" / "mmpose_test_coco.json"
    category = json.loads(file.read_text(encoding="utf-8"))["categories"][0]
    assert list(LAYOUTS["coco17"].names) == category["keypoints"]


def test_an_unknown_layout_is_named_with_the_nearest():
    assert find_layout("halpe26") is LAYOUTS["halpe26"]
    with pytest.raises(
        UserError, match=r"SKELETON.LAYOUT is 'coco', .* did you mean coco17\? allowed: coco17, halpe26"
    ):
        find_layout("coco")
