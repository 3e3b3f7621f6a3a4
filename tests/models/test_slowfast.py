"""SlowFast: sizes, the slow pathway's frames, messages. Its values: tests/parity/test_resnet3d.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transm3e.errors import UserError
from transm3e.models import build_model, count_parameters
from transm3e.models.slowfast import SlowFast, slow_frames, slow_indices


@pytest.mark.parametrize(("alpha", "kernel", "parameters"), [(4, 7, 33_690_588), (8, 5, 33_604_316)])
def test_parameters_of_the_published_sizes(tiny_cfg, alpha, kernel, parameters):
    tiny_cfg.MODEL.MODEL_NAME, tiny_cfg.SLOWFAST.ALPHA = "SlowFast", alpha
    tiny_cfg.SLOWFAST.FUSION_KERNEL_SZ = kernel
    with torch.device("meta"):
        model = build_model(tiny_cfg)
    assert count_parameters(model) == parameters
    fusion = model.net.blocks[0].multipathway_fusion.conv_fast_to_slow
    assert (fusion.weight.shape, fusion.stride) == ((16, 8, kernel, 1, 1), (alpha, 1, 1))


# As PySlowFast's pack_pathway_output gives them.
@pytest.mark.parametrize(
    ("frames", "alpha", "indices"),
    [
        (32, 4, [0, 4, 8, 13, 17, 22, 26, 31]),
        (32, 8, [0, 10, 20, 31]),
        (16, 4, [0, 5, 10, 15]),
        (4, 4, [0]),
        (3, 1, [0, 1, 2]),
    ],
)
def test_frames_of_the_slow_pathway(frames, alpha, indices):
    assert slow_indices(frames, alpha).tolist() == indices


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 16), st.integers(1, 16))
def test_they_run_from_the_first_to_the_last_frame_rounded_down(slow, alpha):
    indices, exact = slow_indices(slow * alpha, alpha).numpy(), np.linspace(0, slow * alpha - 1, slow)
    # Below the exact place by less than a frame; float32 may round a whole number down by one.
    assert ((exact - indices > -1e-4) & (exact - indices < 1 + 1e-4)).all()
    assert indices[0] == 0
    assert slow == 1 or indices[-1] == slow * alpha - 1


def test_the_slow_pathway_sees_these_frames_only():
    torch.manual_seed(0)
    model = SlowFast(5, width=8).double().eval()
    seen = {}
    for path, stem in enumerate(model.net.blocks[0].multipathway_blocks):
        stem.register_forward_pre_hook(lambda _, x, path=path: seen.__setitem__(path, x[0]))
    clip = torch.rand(2, 3, 16, 32, 48, dtype=torch.float64)
    before = clip.clone()
    model({"rgb": clip})
    assert torch.equal(seen[0], clip[:, :, [0, 5, 10, 15]])
    assert torch.equal(seen[0], slow_frames(clip, 4))
    assert torch.equal(seen[1], clip)
    assert torch.equal(clip, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 34}, r"RESNET\.DEPTH is 34; allowed: 50, 101, 152"),
        ({"width": 20}, r"RESNET\.WIDTH_PER_GROUP 20 must be a multiple of SLOWFAST\.BETA_INV 8"),
        ({"fusion_kernel": 4}, r"SLOWFAST\.FUSION_KERNEL_SZ is 4; allowed: odd"),
        ({"alpha": 0}, r"SLOWFAST\.ALPHA is 0; it must be 1 or more"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SlowFast(5, **options)


def test_frames_that_alpha_does_not_divide_are_refused():
    model = SlowFast(5, width=8)
    with pytest.raises(UserError, match=r"6 frames, which SLOWFAST\.ALPHA 4 does not divide.*multiple of 4"):
        model({"rgb": torch.rand(1, 3, 6, 32, 32)})
