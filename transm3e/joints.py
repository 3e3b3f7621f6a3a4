"""Joints and bones of the skeleton layouts, shared by the loader, the flip and the graph models.

Joints are ordered as in the detectors' files: COCO (Lin et al., ECCV 2014), Halpe-26 (AlphaPose; the COCO joints and
nine more), OpenPose-18 (Cao et al., PAMI 2019; COCO and the neck), NTU-25 (Shahroudy et al., CVPR 2016; the joints of
the Kinect), and BlazePose-33 (Bazarevsky et al., CVPRW 2020; MediaPipe Pose). body23 is ours: COCO's joints, heels, toes
and index fingers, without which calves, feet and wrists are hardly visible. Bones form a tree rooted at the centre joint.
COCO and BlazePose have no neck, so the shoulders are children of the nose and the hips of the shoulders, as in PYSKL and
MMAction2. NTU-25 uses the tree of ST-GCN and CTR-GCN: a hand's tip is a child of its thumb (in PYSKL both are children of
the hand).
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from transm3e.errors import UserError


class Layout(NamedTuple):
    """A skeleton's joints and bones.

    Attributes:
        names: of the joints, in the order of the data; V of them.
        pairs: (left, right) joint numbers that a horizontal flip swaps.
        bones: (joint, parent) joint numbers, V - 1 of them; the parent is one bone nearer to the centre.
        centre: the root, the joint without a parent.
    """

    names: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    bones: tuple[tuple[int, int], ...]
    centre: int


_COCO_NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
_HALPE_NAMES = (
    *_COCO_NAMES,
    *("head", "neck", "hip", "left_big_toe", "right_big_toe"),
    *("left_small_toe", "right_small_toe", "left_heel", "right_heel"),
)
_OPENPOSE_NAMES = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
_NTU_NAMES = (
    *("spine_base", "spine_mid", "neck", "head"),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hand")),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot")),
    *("spine", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb"),
)
_BLAZE_NAMES = (
    "nose",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("eye_inner", "eye", "eye_outer")),
    *(
        f"{side}_{joint}"
        for joint in (
            *("ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
            *("hip", "knee", "ankle", "heel", "foot_index"),
        )
        for side in ("left", "right")
    ),
)

# Joints of body23 in addition to COCO's.
EXTREMITIES = tuple(f"{side}_{joint}" for joint in ("heel", "foot_index", "index") for side in ("left", "right"))

# Joint -> parent, by name; their numbers follow from each layout's order.
_LIMBS = {
    **{f"{side}_eye": "nose" for side in ("left", "right")},
    **{f"{side}_ear": f"{side}_eye" for side in ("left", "right")},
    **{f"{side}_elbow": f"{side}_shoulder" for side in ("left", "right")},
    **{f"{side}_wrist": f"{side}_elbow" for side in ("left", "right")},
    **{f"{side}_knee": f"{side}_hip" for side in ("left", "right")},
    **{f"{side}_ankle": f"{side}_knee" for side in ("left", "right")},
}
_COCO_PARENTS = _LIMBS | {
    **{f"{side}_shoulder": "nose" for side in ("left", "right")},
    **{f"{side}_hip": f"{side}_shoulder" for side in ("left", "right")},
}
_OPENPOSE_PARENTS = _LIMBS | {
    "nose": "neck",
    **{f"{side}_shoulder": "neck" for side in ("left", "right")},
    **{f"{side}_hip": f"{side}_shoulder" for side in ("left", "right")},
}
_HALPE_PARENTS = _LIMBS | {
    **{"nose": "neck", "head": "neck", "hip": "neck"},
    **{f"{side}_shoulder": "neck" for side in ("left", "right")},
    **{f"{side}_hip": "hip" for side in ("left", "right")},
    **{f"{side}_heel": f"{side}_ankle" for side in ("left", "right")},
    **{f"{side}_{toe}": f"{side}_heel" for side in ("left", "right") for toe in ("big_toe", "small_toe")},
}
_NTU_PARENTS = _LIMBS | {
    **{"spine_mid": "spine", "spine_base": "spine_mid", "neck": "spine", "head": "neck"},
    **{f"{side}_shoulder": "spine" for side in ("left", "right")},
    **{f"{side}_hip": "spine_base" for side in ("left", "right")},
    **{f"{side}_hand": f"{side}_wrist" for side in ("left", "right")},
    **{f"{side}_thumb": f"{side}_hand" for side in ("left", "right")},
    **{f"{side}_hand_tip": f"{side}_thumb" for side in ("left", "right")},
    **{f"{side}_foot": f"{side}_ankle" for side in ("left", "right")},
}
_BLAZE_PARENTS = _COCO_PARENTS | {
    f"{side}_{joint}": "nose" if parent == "nose" else f"{side}_{parent}"
    for side in ("left", "right")
    for joint, parent in (
        *(("eye_inner", "nose"), ("eye", "eye_inner"), ("eye_outer", "eye"), ("ear", "eye_outer"), ("mouth", "nose")),
        *(("pinky", "wrist"), ("index", "wrist"), ("thumb", "wrist"), ("heel", "ankle"), ("foot_index", "heel")),
    )
}


def _layout(names: tuple[str, ...], parents: dict[str, str], centre: str) -> Layout:
    number = {name: joint for joint, name in enumerate(names)}
    lefts = [name for name in names if name.startswith("left_")]
    return Layout(
        names=names,
        pairs=tuple((number[left], number[left.replace("left_", "right_", 1)]) for left in lefts),
        bones=tuple((number[name], number[parents[name]]) for name in names if name != centre),
        centre=number[centre],
    )


# SKELETON.LAYOUT -> its joints.
LAYOUTS = {
    "coco17": _layout(_COCO_NAMES, _COCO_PARENTS, "nose"),
    "halpe26": _layout(_HALPE_NAMES, _HALPE_PARENTS, "neck"),
    "openpose18": _layout(_OPENPOSE_NAMES, _OPENPOSE_PARENTS, "neck"),
    "ntu25": _layout(_NTU_NAMES, _NTU_PARENTS, "spine"),
    "blazepose33": _layout(_BLAZE_NAMES, _BLAZE_PARENTS, "nose"),
    "body23": _layout((*_COCO_NAMES, *EXTREMITIES), _BLAZE_PARENTS | _COCO_PARENTS, "nose"),
}

# SKELETON.COORDINATES -> channels of a joint: x and y in the frame, or x, y and z in metres; and its score.
COORDINATES = {"image": 3, "world": 4}


def find_layout(name: str) -> Layout:
    """The layout that SKELETON.LAYOUT names.

    Raises:
        UserError: no layout has this name.
    """
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"SKELETON.LAYOUT is {name!r}, which does not exist; {hint}allowed: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
