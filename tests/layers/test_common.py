"""Drop path, the residual addition, class tokens and the starting weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from transm3e.layers.common import DropPath, add_branch, class_tokens, init_weights


def test_drop_path_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(20000, 1, 1))
    assert out.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_drops_whole_samples_in_training_only():
    torch.manual_seed(0)
    drop, x = DropPath(0.5), torch.rand(64, 3, 5) + 1
    ratio = drop(x) / x
    assert torch.allclose(ratio, ratio[:, :1, :1])
    assert sorted(ratio[:, 0, 0].unique().tolist()) == [0.0, pytest.approx(2.0)]
    assert drop.eval()(x) is x
    assert drop.factors(x) is None
    assert DropPath(0.0)(x) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_factors_fit_their_tensor(dtype):
    assert DropPath(0.5).factors(torch.zeros(4, 7, 3, dtype=dtype)).shape == (4, 1, 1)
    assert DropPath(0.5).factors(torch.zeros(4, 7, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("factors", [None, (0.0, 2.0)])
@pytest.mark.parametrize("branch_dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_add_branch(factors, branch_dtype):
    torch.manual_seed(0)
    shortcut = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    source = torch.randn(2, 3, 4, dtype=branch_dtype, requires_grad=True)
    scale = None if factors is None else torch.tensor(factors, dtype=branch_dtype).view(2, 1, 1)
    # The branch is the result of something whose backward pass needs its input, not its output.
    out = add_branch(shortcut, source.square(), scale)
    expected = shortcut + source.square() * (1 if scale is None else scale)
    assert out.dtype == torch.float64
    assert torch.equal(out, expected)
    reading = torch.randn_like(out)
    ours, theirs = (torch.autograd.grad(result, [shortcut, source], reading) for result in (out, expected))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_add_branch_writes_over_the_branch_and_not_the_shortcut():
    shortcut, branch = torch.ones(2, 3), torch.full((2, 3), 5.0)
    out = add_branch(shortcut, branch, torch.tensor([[0.0], [2.0]]))
    assert out.data_ptr() == branch.data_ptr()
    assert out.tolist() == [[1.0] * 3, [11.0] * 3]
    assert (shortcut == 1).all()


def test_add_branch_notices_a_branch_that_backward_needs():
    source = torch.ones(2, 3, requires_grad=True)
    out = add_branch(torch.ones(2, 3), source.exp(), None)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_class_tokens_and_linear_weights_start_as_mvitv2s():
    torch.manual_seed(0)
    tokens, layer = class_tokens(50, 400), nn.Linear(200, 100)
    init_weights(layer)
    for weights in (tokens, layer.weight):
        assert weights.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(weights.mean().item()) < 1e-3
    assert tokens.shape == (1, 50, 400)
    assert not layer.bias.any()
    assert not class_tokens(3, 4, "zeros").any()
    norm = nn.LayerNorm(4)
    init_weights(norm)
    assert (norm.weight == 1).all()
