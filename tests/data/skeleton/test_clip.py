"""From everybody in a video to the persons, joints and coordinates of one view."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.data.randaugment import GEOMETRIC, parse_policy
from transm3e.data.skeleton import Skeleton, read_skeleton
from transm3e.data.skeleton.clip import POSSIBLE, mirror_order, pick_persons, skeleton_clip, to_layout
from transm3e.data.transforms import Augmentation, Box, ViewParams, apply, draw_train, eval_params
from transm3e.errors import UserError
from transm3e.joints import LAYOUTS


def figures(rng, frames, persons, joints=17):
    """(T, P, V, 3): boxes of 20 to 60 pixels, each person walking slowly from its own place."""
    start = rng.uniform(40, 60, (persons, 2)) + 120.0 * np.arange(persons)[:, None]
    places = start[None, :, None] + 2.0 * np.arange(frames)[:, None, None, None]
    xy = places + rng.uniform(-1, 1, (1, persons, joints, 2)) * rng.uniform(10, 30, (1, persons, 1, 1))
    return np.concatenate([xy, rng.uniform(0.3, 1, (frames, persons, joints, 1))], axis=-1).astype(np.float32)


@pytest.mark.parametrize("tracked", [False, True])
def test_persons_are_followed_through_shuffled_slots(tracked):
    rng = np.random.default_rng(3)
    people = figures(rng, 12, 3)
    people[4:6, 1] = 0  # one is not seen for a while
    orders = np.stack([rng.permutation(3) for _ in range(12)])
    shuffled = np.take_along_axis(people, orders[..., None, None], axis=1)
    areas = np.ptp(people[..., :2], axis=2).prod(axis=-1)
    ranks = np.argsort(-(people[..., 2].mean(axis=-1) * areas).mean(axis=0))
    picked = pick_persons(shuffled, 2, orders if tracked else None)
    np.testing.assert_array_equal(picked, people[:, ranks[:2]])
    padded = pick_persons(shuffled, 5, orders if tracked else None)
    np.testing.assert_array_equal(padded[:, :3], people[:, ranks])
    assert not padded[:, 3:].any()


def test_nobody_and_a_jump_across_the_picture():
    assert pick_persons(np.zeros((4, 0, 17, 3), np.float32), 2).shape == (4, 2, 17, 3)
    assert not pick_persons(np.zeros((4, 3, 17, 3), np.float32), 2).any()
    joints = figures(np.random.default_rng(0), 4, 1)
    joints[2:, ..., :2] += 500  # somebody else
    picked = pick_persons(joints, 2)
    assert [[bool(picked[t, m].any()) for m in range(2)] for t in (0, 3)] in ([[1, 0], [0, 1]], [[0, 1], [1, 0]])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), persons=st.integers(1, 5), wanted=st.integers(1, 4))
def test_the_order_of_slots_does_not_matter(seed, persons, wanted):
    rng = np.random.default_rng(seed)
    joints = figures(rng, 6, persons)
    again = joints[:, rng.permutation(persons)]
    np.testing.assert_array_equal(pick_persons(joints, wanted), pick_persons(again, wanted))


def test_a_body_that_is_detected_twice_stays_one_person():
    joints = figures(np.random.default_rng(0), 6, 1)
    twice = np.concatenate([joints, np.zeros_like(joints)], axis=1)
    twice[2, 1] = twice[2, 0] + [1, 1, -0.01]  # nearly the same, a little later in the file
    twice[3] = twice[3, ::-1]  # and the body continues in the other slot
    picked = pick_persons(twice, 2)
    np.testing.assert_array_equal(picked[:, 0], joints[:, 0])
    assert not picked[:, 1].any()


def test_a_single_joint_is_followed():
    joints = np.zeros((5, 2, 17, 3), np.float32)
    joints[:, 0, 3] = [[10 * t, 5, 0.5] for t in range(5)]
    np.testing.assert_array_equal(pick_persons(joints, 1)[:, 0], joints[:, 0])


def test_layouts_keep_the_names_of_joints():
    rng = np.random.default_rng(1)
    to_coco, to_openpose = (
        {(source, target) for source in ("coco17", "openpose18", "halpe26", "blazepose33") if source != target}
        for target in ("coco17", "openpose18")
    )
    from_body = {("body23", "coco17"), ("body23", "openpose18")}
    to_body = {(source, "body23") for source in ("coco17", "openpose18", "halpe26", "blazepose33")}
    assert to_coco | to_openpose | from_body | to_body == POSSIBLE
    for source, target in sorted(POSSIBLE - to_body):
        joints = rng.uniform(1, 9, (2, 3, len(LAYOUTS[source].names), 3)).astype(np.float32)
        result = to_layout(joints, source, target)
        assert result.shape == (2, 3, len(LAYOUTS[target].names), 3)
        for number, name in enumerate(LAYOUTS[target].names):
            if name != "neck":
                np.testing.assert_array_equal(result[:, :, number], joints[:, :, LAYOUTS[source].names.index(name)])
    coco = rng.uniform(1, 9, (17, 3)).astype(np.float32)
    neck = to_layout(coco, "coco17", "openpose18")[1]
    np.testing.assert_allclose(neck, [*coco[5:7, :2].mean(axis=0), coco[5:7, 2].min()], rtol=1e-6)
    np.testing.assert_array_equal(to_layout(to_layout(coco, "coco17", "openpose18"), "openpose18", "coco17"), coco)
    coco[5] = 0
    assert not to_layout(coco, "coco17", "openpose18")[1].any()


def test_hands_and_feet_that_a_layout_lacks_are_missing():
    names = LAYOUTS["body23"].names
    for source, ends in {
        "coco17": (),
        "halpe26": ("heel", "foot_index"),
        "blazepose33": ("heel", "foot_index", "index"),
    }.items():
        joints = np.random.default_rng(2).uniform(1, 9, (2, len(LAYOUTS[source].names), 3)).astype(np.float32)
        there = to_layout(joints, source, "body23").all(axis=(0, 2))
        assert [name for name, found in zip(names[17:], there[17:], strict=True) if found] == [
            f"{side}_{end}" for end in ends for side in ("left", "right")
        ]
        assert there[:17].all()
    halpe = joints = np.zeros((26, 3), np.float32)
    halpe[LAYOUTS["halpe26"].names.index("left_big_toe")] = [3, 4, 1]
    np.testing.assert_array_equal(to_layout(joints, "halpe26", "body23")[names.index("left_foot_index")], [3, 4, 1])


def test_ntu_stays_as_it_is_and_its_flip_swaps_hands_and_feet():
    joints = np.random.default_rng(1).uniform(1, 9, (4, 25, 3)).astype(np.float32)
    assert to_layout(joints, "ntu25", "ntu25") is joints
    order, names = mirror_order("ntu25"), LAYOUTS["ntu25"].names
    assert [order[names.index(f"left_{end}")] for end in ("hand_tip", "thumb", "foot")] == [
        names.index(f"right_{end}") for end in ("hand_tip", "thumb", "foot")
    ]
    assert [names[joint] for joint in range(25) if order[joint] == joint] == [
        *("spine_base", "spine_mid", "neck", "head", "spine")
    ]


def test_a_layout_that_cannot_be_made_is_a_mistake_in_the_config():
    pairs = [("coco17", "halpe26"), ("openpose18", "halpe26")]
    pairs += [way for other in ("coco17", "openpose18", "halpe26") for way in ((other, "ntu25"), ("ntu25", other))]
    for source, target in pairs:
        with pytest.raises(UserError, match=f"SKELETON.LAYOUT is '{target}' but the skeleton files hold '{source}'"):
            to_layout(np.zeros((1, len(LAYOUTS[source].names), 3)), source, target)


def video_of_dots(points, height, width):
    """(T, H, W, 3) uint8: a white dot on black at each (x, y) of (T, 2)."""
    frames = np.zeros((len(points), height, width, 3), np.uint8)
    for frame, point in zip(frames, points, strict=True):
        cv2.circle(frame, tuple(round(float(v)) for v in point), 4, (255, 255, 255), -1)
    return frames


@pytest.mark.parametrize("seed", range(4))
def test_joints_follow_the_pictures(seed):
    rng = np.random.default_rng(seed)
    height, width, size = 120, 160, 96
    points = np.round(rng.uniform([70, 50], [90, 70], (3, 2)))
    frames = video_of_dots(points, height, width)
    # A person found in frames of half the size; the dot is the left wrist.
    half = figures(rng, 3, 1)
    half[:, 0, 9, :2] = (points + 0.5) / 2 - 0.5
    skeleton = Skeleton(half, "coco17", height // 2, width // 2)
    aug = Augmentation(area=(0.7, 1.0), rand_augment=parse_policy("rand-m5-n4") if seed % 2 else None)
    params = draw_train(rng, height, width, size, aug)
    params = replace(params, ops=tuple(op for op in params.ops if op.name in GEOMETRIC))
    clip = skeleton_clip(skeleton, np.arange(3), params, size, (height, width), 2, "coco17")
    pictures = apply(frames, params, size)
    assert clip.shape == (3, 3, 17, 2)
    assert clip.dtype == np.float32
    wrist = 10 if params.flip else 9
    for t in range(3):
        y, x = np.nonzero(pictures[t].min(axis=-1) > 200)  # brighter than the border that a warp fills in
        assert len(x) > 9, "the dot is in the view"
        np.testing.assert_allclose(clip[:2, t, wrist, 0] * size - 0.5, [x.mean(), y.mean()], atol=1)


def test_a_flip_mirrors_and_swaps_sides_and_missing_stays_zero():
    joints = figures(np.random.default_rng(0), 4, 2, 18)
    joints[:, 0, 3] = 0
    skeleton = Skeleton(joints, "openpose18")
    box = Box(0, 0, 240, 240)
    plain, flipped = (
        skeleton_clip(skeleton, np.arange(4), ViewParams(box, flip=flip), 112, (240, 320), 3, "openpose18")
        for flip in (False, True)
    )
    there = plain[2] > 0
    assert (~there).sum() == 4 + 4 * 18
    assert not plain[:, ~there].any()
    expected = np.where(there, np.stack([1 - plain[0], plain[1], plain[2]]), 0)[:, :, mirror_order("openpose18")]
    np.testing.assert_allclose(flipped, expected, atol=1e-6)


def test_the_real_joints_lie_in_the_whole_frame(shared):
    skeleton = read_skeleton(shared / "data" / "skeleton" / "v_ApplyEyeMakeup_g01_c01_coco17.npz")
    clip = skeleton_clip(skeleton, np.arange(0, 64, 4), eval_params(240, 320, 0, 1), 224, (240, 320), 2, "coco17")
    found = clip[2, :, :, 0] > 0.3
    # The whole frame is 4/3 as wide as the centred square; the detector guessed some joints beyond its edge.
    x, y = np.abs(clip[:2, :, :, 0][:, found] - 0.5)
    assert found.sum() > 50
    assert ((x <= 2 / 3) & (y <= 0.5)).mean() > 0.9


def test_joints_in_space_are_mirrored_and_neither_cropped_nor_made_up():
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.uniform(10, 90, (4, 1, 33, 2)), np.full((4, 1, 33, 1), 0.8)], -1).astype(np.float32)
    points[:, :, 5] = 0
    world = rng.normal(size=(4, 1, 33, 3)).astype(np.float32)
    skeleton = Skeleton(points, "blazepose33", 100, 100, world=world)
    sizes = (64, (100, 100), 1, "blazepose33", "world")
    plain = skeleton_clip(skeleton, range(4), ViewParams(Box(10, 10, 50, 50)), *sizes)
    assert plain.shape == (4, 4, 33, 1)
    there = np.delete(np.arange(33), 5)
    np.testing.assert_array_equal(plain[:3, :, there, 0], world[:, 0, there].transpose(2, 0, 1))
    assert not plain[:, :, 5].any()
    flipped = skeleton_clip(skeleton, range(4), ViewParams(Box(0, 0, 100, 100), flip=True), *sizes)
    order = mirror_order("blazepose33")
    np.testing.assert_array_equal(flipped[:, :, order], plain * np.array([-1, 1, 1, 1]).reshape(4, 1, 1, 1))
    with pytest.raises(UserError, match=r"no 3D joints; .*--detector blazepose"):
        skeleton_clip(replace(skeleton, world=None), range(4), ViewParams(Box(0, 0, 100, 100)), *sizes)
