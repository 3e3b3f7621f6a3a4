"""Skeletons of one view of a clip, with the same frames, crop and flip as its images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transm3e.data.skeleton.layouts import mirror_order, to_layout
from transm3e.data.skeleton.persons import pick_persons
from transm3e.data.skeleton.sequence import Skeleton
from transm3e.data.transforms import ViewParams, apply_points

# Joints are in pixels; the first pixel has its centre at 0 and its edge at -0.5.
PIXEL_CENTRE = 0.5
# Channels x, y, score and 3D x, y, z: the 3D coordinates and the score.
WORLD, WORLD_X = [3, 4, 5, 2], slice(3, 4)


def skeleton_clip(
    skeleton: Skeleton,
    indices: Sequence[int] | np.ndarray,
    params: ViewParams,
    size: int,
    source_size: Sequence[int],
    num_persons: int,
    layout: str,
    coordinates: str = "image",
) -> np.ndarray:
    """One view -> (C, T, V, M) float32: x, y, (in 3D) z, and score of V joints of M persons in T frames.

    x and y are shares of the finished clip, 0 at its left or upper edge and 1 at the opposite one; joints outside the crop
    are kept. 3D coordinates are metres as in the file, mirrored with the clip but not cropped. A missing joint or person
    is zero in all channels. Persons are chosen before the crop, so every view shows the same ones. Erased boxes hide
    pixels, not joints.

    Args:
        indices: T frame numbers of the video, 0 or more.
        params: the view's crop, flip and geometric operations.
        size: side of the finished clip in pixels.
        source_size: (height, width) of the video's frames in pixels.
        num_persons: M.
        layout: of the result, one of transm3e.joints.LAYOUTS.
        coordinates: key of transm3e.joints.COORDINATES.

    Raises:
        UserError: the file's layout cannot be converted to `layout`, or it has no 3D joints.
    """
    everybody = skeleton.joints(indices)
    if coordinates == "world":
        everybody = np.concatenate([everybody, skeleton.world_joints(indices)], axis=-1)
    joints = to_layout(everybody, skeleton.layout, layout)
    joints = pick_persons(joints, num_persons, skeleton.track_numbers(indices))
    missing = joints[..., 2] == 0
    if skeleton.height and skeleton.width:
        scale = np.array([source_size[1] / skeleton.width, source_size[0] / skeleton.height], np.float32)
        joints[..., :2] = (joints[..., :2] + PIXEL_CENTRE) * scale - PIXEL_CENTRE
    joints[..., :2] = (apply_points(joints[..., :2], params, size) + PIXEL_CENTRE) / size
    if params.flip:
        joints, missing = joints[..., mirror_order(layout), :], missing[..., mirror_order(layout)]
        joints[..., WORLD_X] *= -1
    joints[missing] = 0
    if coordinates == "world":
        joints = joints[..., WORLD]
    if params.joints:
        joints = params.joints.apply(joints, layout)
    return np.ascontiguousarray(joints.transpose(3, 0, 2, 1))
