"""The product as a convolution equals torch.nn.functional.linear, and is taken where no gradient is asked for only."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from transm3e.layers.linear import LEAST_ROWS, _by_convolution, linear

WIDTH_IN, WIDTH_OUT = 24, 40


def make(shape, dtype=torch.float32):
    torch.manual_seed(0)
    x = torch.randn(*shape, WIDTH_IN, dtype=dtype)
    weight = torch.randn(WIDTH_OUT, WIDTH_IN, dtype=dtype, requires_grad=True)
    return x, weight, torch.randn(WIDTH_OUT, dtype=dtype, requires_grad=True)


def assert_near(given, expected):
    assert given.shape == expected.shape
    assert given.dtype == expected.dtype
    assert (given - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("shape", [(LEAST_ROWS,), (2, 77), (2, 5, 9), (1, 3, 5, 7), (3, 5), (1,), (0,), (2, 0)])
@pytest.mark.parametrize("with_bias", [True, False])
@torch.no_grad()
def test_equals_torchs_without_gradient(shape, with_bias):
    x, weight, bias = make(shape)
    bias = bias if with_bias else None
    given, expected = linear(x, weight, bias), functional.linear(x, weight, bias)
    if x.numel():
        assert_near(given, expected)
    assert given.shape == expected.shape


@pytest.mark.parametrize("part", [slice(None, 16), slice(16, None), slice(None, None, 2)])
@torch.no_grad()
def test_slices_of_weights_and_turned_inputs(part):
    x, weight, bias = make((2, 50))
    assert_near(linear(x, weight[part], bias[part]), functional.linear(x, weight[part], bias[part]))
    turned = x.transpose(0, 1)
    assert_near(linear(turned, weight[part], bias[part]), functional.linear(turned, weight[part], bias[part]))
    narrow = x[..., 3:19]
    assert_near(linear(narrow, weight[part, 3:19], None), functional.linear(narrow, weight[part, 3:19]))


def test_a_transposed_weight():
    x, _, _ = make((2, 50))
    with torch.no_grad():
        turned = torch.randn(WIDTH_IN, WIDTH_OUT).t()
        assert_near(linear(x, turned, None), functional.linear(x, turned))


@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_flow(with_bias):
    x, weight, bias = make((2, 50))
    x.requires_grad_()
    wanted = [x, weight, bias] if with_bias else [x, weight]
    given, expected = (f(x, weight, bias if with_bias else None) for f in (linear, functional.linear))
    reading = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(out, wanted, reading) for out in (given, expected))
    assert torch.equal(given, expected)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_where_the_convolution_is_taken():
    x, weight, _ = make((LEAST_ROWS,))
    assert not _by_convolution(x, weight), "gradients are on"
    with torch.no_grad():
        assert _by_convolution(x, weight) == torch.backends.mkldnn.is_available()
        assert not _by_convolution(x[1:], weight), "few rows"
        assert not _by_convolution(x.double(), weight.double())
        assert not _by_convolution(x.to("meta"), weight)
        with torch.autocast("cpu", torch.bfloat16):
            assert not _by_convolution(x, weight)
    with torch.inference_mode():
        assert _by_convolution(x, weight) == torch.backends.mkldnn.is_available()


@torch.no_grad()
def test_float64_is_exact():
    x, weight, bias = make((2, 50), torch.float64)
    assert torch.equal(linear(x, weight, bias), functional.linear(x, weight, bias))


@torch.inference_mode()
def test_autocast_decides_the_type():
    x, weight, bias = make((2, 50))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(x, weight, bias), functional.linear(x, weight, bias))
        assert linear(x, weight, bias).dtype == torch.bfloat16
