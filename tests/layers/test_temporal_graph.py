"""Convolutions over a skeleton's frames: lengths, alignment with the way around, and joints left to themselves.

Their values are compared in tests/parity/test_ctrgcn.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from transm3e.layers.temporal_graph import MultiScaleTemporalConv, he_shortcut, over_time, shortcut


@pytest.mark.parametrize("frames", [1, 2, 7, 16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "dilations"), [(5, (1, 2)), (3, (1, 2, 3)), (9, ())])
def test_all_branches_and_the_shortcut_have_the_same_length(frames, stride, kernel, dilations):
    torch.manual_seed(0)
    out_channels = 2 * (len(dilations) + 2)
    layer = MultiScaleTemporalConv(3, out_channels, kernel, stride, dilations).eval()
    x = torch.randn(2, 3, frames, 4)
    assert layer(x).shape == (2, out_channels, -(-frames // stride), 4)
    assert shortcut(3, out_channels, stride)(x).shape == layer(x).shape


def test_a_joint_sees_its_own_frames_only_as_far_as_the_kernels_reach():
    torch.manual_seed(0)
    layer = MultiScaleTemporalConv(3, 8, 5, 1, (1, 2)).eval()
    x = torch.randn(1, 3, 16, 4)
    changed = x.clone()
    changed[:, :, 8, 1] += 1.0
    differs = (layer(x) != layer(changed)).squeeze(0)
    assert differs.any(0).any(0).tolist() == [False, True, False, False]
    reach = [part[:, :, 1].any(0).nonzero().flatten().tolist() for part in differs.split(2)]
    assert reach[0] == [6, 7, 8, 9, 10]
    assert reach[1] == [4, 6, 8, 10, 12]
    assert set(reach[2]) <= {7, 8, 9}
    assert reach[3] == [8]


def test_the_shortcut_is_the_identity_where_the_shape_stays():
    assert isinstance(shortcut(8, 8), nn.Identity)
    assert isinstance(shortcut(8, 8, 2), nn.Sequential)
    torch.manual_seed(0)
    around = he_shortcut(64, 128, 2)
    assert around[0].weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert not around[0].bias.any()
    assert isinstance(he_shortcut(8, 8), nn.Identity)


def test_a_dilated_convolution_keeps_the_frames():
    conv = over_time(1, 1, 5, dilation=3)
    assert conv(torch.zeros(1, 1, 7, 2)).shape == (1, 1, 7, 2)
