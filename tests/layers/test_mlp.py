"""The lean MLP against its plain composition: values, gradients, mixed precision, and what is kept for backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from transm3e.layers import mlp as module
from transm3e.layers.mlp import Mlp


def plain(mlp, x):
    return mlp.fc2(functional.gelu(mlp.fc1(x)))


def make(dtype=torch.float64, shape=(2, 9, 6), dropout=0.0):
    torch.manual_seed(0)
    mlp = Mlp(shape[-1], 16, dropout)
    for bias in (mlp.fc1.bias, mlp.fc2.bias):
        torch.nn.init.normal_(bias)
    return mlp.to(dtype), torch.randn(shape, dtype=dtype, requires_grad=True)


def assert_equal_with_gradients(given, expected, inputs, tolerance=1e-12):
    assert given.dtype == expected.dtype
    assert torch.allclose(given, expected, rtol=0, atol=tolerance)
    for reading in (
        torch.randn_like(expected),
        torch.randn(expected.shape[-1], dtype=expected.dtype).expand_as(expected),
    ):
        ours, theirs = (torch.autograd.grad(out, inputs, reading, retain_graph=True) for out in (given, expected))
        for one, other in zip(ours, theirs, strict=True):
            assert (one - other).abs().max() <= tolerance * max(1, other.abs().max())


# 18 rows of 16: one part, parts of 5, 5, 5, 3 rows, and one row each.
@pytest.mark.parametrize("chunk", [1 << 20, 80, 1])
@pytest.mark.parametrize("shape", [(2, 9, 6), (18, 6), (2, 3, 3, 6)])
def test_values_and_gradients_are_those_of_the_plain_composition(chunk, shape, monkeypatch):
    monkeypatch.setattr(module, "CPU_CHUNK", chunk)
    mlp, x = make(shape=shape)
    assert_equal_with_gradients(mlp(x), plain(mlp, x), [x, *mlp.parameters()])
    with torch.no_grad():
        assert torch.allclose(mlp(x), plain(mlp, x), rtol=0, atol=1e-12)


def test_parts_do_not_divide_the_rows(monkeypatch):
    monkeypatch.setattr(module, "CPU_CHUNK", 80)
    parts = module._parts(torch.arange(18 * 6).view(18, 6), 16)
    assert [len(part) for part in parts] == [5, 5, 5, 3]
    assert torch.equal(torch.cat(parts), torch.arange(18 * 6).view(18, 6))


@pytest.mark.parametrize("gradient", [True, False])
def test_float32_with_many_rows_equals_float64(gradient, monkeypatch):
    """As many rows as take the convolution's path."""
    monkeypatch.setattr(module, "CPU_CHUNK", 16 * 150)
    mlp, x = make(shape=(2, 200, 6))
    expected = plain(mlp, x).detach()
    mlp.float()
    with torch.set_grad_enabled(gradient):
        assert torch.allclose(mlp(x.float()).double(), expected, rtol=0, atol=1e-5)


def test_a_gradient_that_is_not_contiguous_and_an_input_that_is_not():
    mlp, x = make(shape=(6, 9, 6))
    turned = x.transpose(0, 1)
    given, expected = mlp(turned).transpose(0, 2), plain(mlp, turned).transpose(0, 2)
    assert_equal_with_gradients(given, expected, [x, *mlp.parameters()])


@pytest.mark.parametrize("frozen", [(), ("fc1.weight", "fc1.bias"), ("fc2.weight", "fc2.bias"), ("fc1.bias",)])
@pytest.mark.parametrize("input_frozen", [False, True])
def test_frozen_weights_and_an_input_without_gradient(frozen, input_frozen):
    mlp, x = make()
    x.requires_grad_(not input_frozen)
    for name in frozen:
        mlp.get_parameter(name).requires_grad_(False)
    wanted = [tensor for tensor in (x, *mlp.parameters()) if tensor.requires_grad]
    assert_equal_with_gradients(mlp(x), plain(mlp, x), wanted)


def test_everything_frozen_gives_no_graph():
    mlp, x = make()
    out = mlp.requires_grad_(False)(x.detach())
    assert not out.requires_grad
    assert torch.allclose(out, plain(mlp, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1 << 20, 16 * 50])
def test_bf16_is_as_near_to_float64_as_plain_autocast(chunk, monkeypatch):
    monkeypatch.setattr(module, "CPU_CHUNK", chunk)
    mlp, x = make(shape=(2, 200, 6))
    reading = torch.randn_like(x)

    def run(function, dtype):
        mlp.to(dtype)
        leaf = x.detach().to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float64):
            out = function(leaf)
        gradients = torch.autograd.grad(out, [leaf, *mlp.parameters()], reading.to(out.dtype))
        return out.dtype, [part.detach() for part in (out, *gradients)]

    _, exact = run(lambda x: plain(mlp, x), torch.float64)
    (dtype, ours), (their_dtype, theirs) = (run(f, torch.float32) for f in (mlp, lambda x: plain(mlp, x)))
    assert dtype == their_dtype == torch.bfloat16
    for one, other, right in zip(ours, theirs, exact, strict=True):
        assert one.dtype == other.dtype
        error, theirs_error = ((part.double() - right).square().mean().sqrt() for part in (one, other))
        assert error <= 1.5 * theirs_error + 1e-3 * right.square().mean().sqrt()


def test_dropout_drops_in_training_only():
    mlp, x = make(dropout=0.5, dtype=torch.float32)
    assert torch.equal(mlp.eval()(x), plain(mlp, x))
    mlp.train()
    torch.manual_seed(3)
    out = mlp(x)
    torch.manual_seed(3)
    hidden = functional.dropout(functional.gelu(mlp.fc1(x)), 0.5)
    assert torch.equal(out, functional.dropout(mlp.fc2(hidden), 0.5))


def test_less_is_kept_for_the_backward_pass(monkeypatch):
    mlp, x = make(torch.float32, (2, 50, 6))

    def kept(function):
        storages = {}

        def note(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            # Held, so that no storage's place is used again.
            out = function(x)
        return sum(storages.values()), out

    for chunk in (1 << 20, 16 * 30):
        monkeypatch.setattr(module, "CPU_CHUNK", chunk)
        ours, theirs = kept(mlp)[0], kept(lambda x: plain(mlp, x))[0]
        # All of GELU's output: 100 rows of 16 numbers.
        assert ours == theirs - 100 * 16 * 4


def test_saved_tensors_changed_in_place_are_noticed():
    mlp, x = make()
    out = mlp(x)
    with torch.no_grad():
        mlp.fc2.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
