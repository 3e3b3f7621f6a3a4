"""Normalisation, bones and motion against their formulas written out joint by joint."""

import pytest
import torch

from transm3e.data.modalities import ModalityInput
from transm3e.data.skeleton.streams import NORMALIZATIONS, bones, motion, normalize
from transm3e.joints import LAYOUTS
from transm3e.modalities import JOINTS, names_of


def clips(layout="coco17", missing=0.3):
    """(2, 3, 4, V, 2) with a share of joints missing."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 4, len(LAYOUTS[layout].names), 2, generator=generator) * 0.6 + 0.3
    return x * (torch.rand(x[:, :1].shape, generator=generator) >= missing)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bones_and_motion_joint_by_joint(layout):
    x = clips(layout)
    expected_bones, expected_motion = torch.zeros_like(x), torch.zeros_like(x)
    for b, t, m in torch.cartesian_prod(*map(torch.arange, (2, 4, 2))):
        for joint, parent in LAYOUTS[layout].bones:
            a, c = x[b, :, t, joint, m], x[b, :, t, parent, m]
            if a[2] > 0 and c[2] > 0:
                expected_bones[b, :, t, joint, m] = torch.stack([a[0] - c[0], a[1] - c[1], min(a[2], c[2])])
        for joint in range(x.shape[3]):
            if t < 3 and x[b, 2, t, joint, m] > 0 and x[b, 2, t + 1, joint, m] > 0:
                step = x[b, :, t + 1, joint, m] - x[b, :, t, joint, m]
                step[2] = x[b, 2, t : t + 2, joint, m].min()
                expected_motion[b, :, t, joint, m] = step
    torch.testing.assert_close(bones(x, layout), expected_bones)
    torch.testing.assert_close(motion(x), expected_motion)


def test_frame_normalisation():
    x = clips()
    result = normalize(x, "frame", "coco17")
    there = x[:, 2:] > 0
    torch.testing.assert_close(result[:, :2], torch.where(there, (x[:, :2] - 0.5) * 2, 0.0))
    torch.testing.assert_close(result[:, 2], x[:, 2])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_body_normalisation_is_invariant_to_the_camera(layout):
    x = clips(layout, missing=0)
    hips = [LAYOUTS[layout].names.index(f"{side}_hip") for side in ("left", "right")]
    shoulders = [LAYOUTS[layout].names.index(f"{side}_shoulder") for side in ("left", "right")]
    x[:, 1][:, :, hips] += 0.3  # torsos long enough to measure by
    x[0, :, 0, hips[0], 0] = 0  # frame 1 is the first that shows the torso
    x[0, 2, 1:] = 0.9
    result = normalize(x, "body", layout)
    centre = result[:, :2, :, hips, 0].mean(-1)
    top = result[:, :2, :, shoulders, 0].mean(-1)
    for clip, frame in ((0, 1), (1, 0)):
        torch.testing.assert_close(centre[clip, :, frame], torch.zeros(2), atol=1e-6, rtol=0)
        torch.testing.assert_close((top - centre)[clip, :, frame].norm(), torch.tensor(1.0))
    moved = torch.cat([x[:, :2] * 0.5 + 0.2, x[:, 2:]], dim=1) * (x[:, 2:] > 0)
    torch.testing.assert_close(normalize(moved, "body", layout), result, atol=1e-5, rtol=1e-5)


def test_body_normalisation_without_a_torso_is_frame_normalisation():
    x = clips()
    x[0, :, :, LAYOUTS["coco17"].names.index("left_hip"), 0] = 0
    x[1] = 0
    result = normalize(x, "body", "coco17")
    torch.testing.assert_close(result, normalize(x, "frame", "coco17"))
    assert not result[1].any()


@pytest.mark.parametrize("layout", ["coco17", "ntu25"])
@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_streams_are_zero_where_joints_are_missing(how, layout):
    x = clips(layout)
    joints = normalize(x, how, layout)
    expected = (joints, bones(joints, layout), motion(joints), motion(bones(joints, layout)))
    names = names_of(JOINTS)
    made = ModalityInput(names, [0] * 3, [1] * 3, how, layout)({"skeleton": x})
    torch.testing.assert_close(made, dict(zip(names, expected, strict=True)), rtol=0, atol=0)
    for stream in made.values():
        assert stream.shape == x.shape
        assert stream.isfinite().all()
        assert not (stream * ~(x[:, 2:] > 0)).any()
        assert not stream[:, :2][(stream[:, 2:] == 0).expand(-1, 2, -1, -1, -1)].any()


def test_3d_joints_are_rotated_to_face_the_camera():
    x = torch.rand(3, 4, 5, 23, 2, generator=torch.Generator().manual_seed(0))
    turned = x.clone()
    angle = torch.tensor(1.1)
    turned[:, 0], turned[:, 2] = (
        angle.cos() * x[:, 0] + angle.sin() * x[:, 2],
        angle.cos() * x[:, 2] - angle.sin() * x[:, 0],
    )
    faced = normalize(x, "body", "body23")
    torch.testing.assert_close(normalize(turned, "body", "body23"), faced, rtol=1e-4, atol=1e-5)
    names = LAYOUTS["body23"].names
    across = sum(
        (faced[..., names.index(f"left_{end}"), :] - faced[..., names.index(f"right_{end}"), :]).sum(2)
        for end in ("hip", "shoulder")
    )
    assert (across[:, 0] > 0).all()
    torch.testing.assert_close(across[:, 2], torch.zeros(3, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalize(x, "frame", "body23"), x)
