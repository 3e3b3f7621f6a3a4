"""MViTv2-S at the size it is trained with, 16 x 224 x 224: torchvision's logits, in float32 and float64."""

from __future__ import annotations

import pytest
import torch

from tests.parity.test_mvit_torchvision import cfg_s, ours_like, torchvision_s


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    theirs = torchvision_s(16, 224)
    return theirs, ours_like(theirs, cfg_s(16, 224))


@pytest.fixture(autouse=True)
def _two_threads(_one_thread):
    torch.set_num_threads(2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@torch.inference_mode()
def test_logits_equal_torchvision(models, dtype, tolerance):
    theirs, ours = (model.to(dtype) for model in models)
    torch.manual_seed(1)
    clip = torch.rand(1, 3, 16, 224, 224, dtype=dtype)
    assert (ours({"rgb": clip}).logits - theirs(clip)).abs().max() <= tolerance
