"""Mixed precision: which type, when the scaler works, and what autocast computes in."""

import pytest
import torch

from transm3e.config import get_cfg
from transm3e.config.node import merge_opts
from transm3e.engine.precision import Precision, fastest_dtype

CPU = torch.device("cpu")


def from_opts(*opts, testing=False):
    cfg = get_cfg()
    merge_opts(cfg, opts)
    return Precision.from_cfg(cfg, CPU, testing)


@pytest.mark.parametrize(
    ("opts", "dtype"),
    [
        ([], torch.float32),
        (["TRAIN.AMP_DTYPE", "fp16"], torch.float32),
        (["TRAIN.MIXED_PRECISION", True], torch.bfloat16),
        (["TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", "bf16"], torch.bfloat16),
        (["TRAIN.MIXED_PRECISION", True, "TRAIN.AMP_DTYPE", "fp16"], torch.float16),
    ],
)
def test_the_type_is_as_configured(opts, dtype):
    precision = from_opts(*opts)
    assert precision.dtype == dtype
    assert precision.scaler.is_enabled() == (dtype == torch.float16)
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize(
    ("opts", "dtype"),
    [
        ([], torch.float32),
        (["TRAIN.MIXED_PRECISION", True], torch.bfloat16),
        (["TRAIN.MIXED_PRECISION", True, "TEST.MIXED_PRECISION", "off"], torch.float32),
        (["TEST.MIXED_PRECISION", "fp16"], torch.float16),
    ],
)
def test_evaluation_is_as_trained_or_as_configured(opts, dtype):
    assert from_opts(*opts, testing=True).dtype == dtype


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_bf16_only_where_the_gpu_computes_it(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert fastest_dtype(torch.device("cuda", 0)) == dtype


def test_the_fp16_scaler_skips_a_step_that_overflows():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = Precision(CPU, torch.float16).scaler
    scaler.scale(weight * torch.inf).backward()
    scaler.unscale_(optimizer)
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    assert weight.item() == 1
    assert scaler.get_scale() < before
