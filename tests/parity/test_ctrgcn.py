"""CTR-GCN in float64 against its formulas written out on five joints: logits, and the gradient of every parameter."""

from __future__ import annotations

import pytest
import torch

from tests.parity.test_stgcn import CLIPS, DEPTH, FIVE, FRAMES, PARENT, PERSONS, assert_same, norm, over_time
from transm3e.joints import LAYOUTS
from transm3e.layers.graph import Graph
from transm3e.layers.temporal_graph import MultiScaleTemporalConv
from transm3e.models.ctrgcn import CTRGCN

WIDTH, REDUCTION, DILATIONS, SUBSETS = 8, 4, (1, 2), 3


@pytest.fixture(autouse=True)
def _five_joints(monkeypatch):
    monkeypatch.setitem(LAYOUTS, "five", FIVE)


def drawn(model, clips):
    """Every number away from where it starts; batch norms near the statistics of `clips`, so that signals stay alive."""
    norms = [m for m in model.modules() if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))]
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.endswith("weight"):
                value.add_(0.3 * torch.randn_like(value))
        for each in norms:
            each.weight.uniform_(0.5, 1.5)
            each.momentum = 1.0
        model(clips)
        for each in norms:
            each.running_mean += 0.1 * torch.randn_like(each.running_mean)
            each.running_var *= 0.5 + torch.rand_like(each.running_var)
    return model.eval()


def test_the_topology_starts_as_itself_inward_and_outward():
    expected = torch.zeros(SUBSETS, 5, 5)
    for joint in range(5):
        expected[0, joint, joint] = 1
        if joint in PARENT:
            siblings = [child for child, parent in PARENT.items() if parent == PARENT[joint]]
            expected[1, PARENT[joint], joint] = 1  # a joint sends all of itself to its parent
            expected[2, joint, PARENT[joint]] = 1 / len(siblings)  # and a parent shares itself out
    assert DEPTH[FIVE.centre] == 0
    assert Graph("five").directions().equal(expected)


def refined(x_CTV, layer, width, pyskl=False):
    """z[c, u] = sum over k, v of (A[k, u, v] + alpha q[k, u, v, c]) (W_k x[v] + b_k)[c], joint pair by joint pair.

    As PYSKL, z[c, v] sums the same over k and u with the values of u.
    """
    channels = x_CTV.shape[0]
    out = torch.zeros(width, *x_CTV.shape[1:], dtype=x_CTV.dtype)
    phi, psi, xi, value = ([*zip(c.weight.chunk(SUBSETS), c.bias.chunk(SUBSETS), strict=True)] for c in (
        layer.phi, layer.psi, layer.xi, layer.value))  # fmt: skip
    for k in range(SUBSETS):
        flat = x_CTV.reshape(channels, -1)
        a, b, values = (
            (weight.flatten(1) @ flat + bias[:, None]).view(-1, *x_CTV.shape[1:])
            for weight, bias in (phi[k], psi[k], value[k])
        )
        for u in range(5):
            for v in range(5):
                related = torch.tanh(a[:, :, u].mean(1) - b[:, :, v].mean(1))
                q = xi[k][0].flatten(1) @ related + xi[k][1]
                weights = layer.topology[k, u, v] + layer.alpha * q
                to, of = (v, u) if pyskl else (u, v)
                out[:, :, to] += weights[:, None] * values[:, :, of]
    return out


def scales(x_CTV, layer, stride):
    """The branches one after another: dilated convolutions, max pooling, and a 1x1 convolution alone."""
    out, width, frames = [], layer.norm.num_features // (len(DILATIONS) + 2), x_CTV.shape[1]
    enter, enter_norm = layer.enter[0], layer.enter[1]
    for branch in range(len(DILATIONS) + 2):
        part = slice(branch * width, (branch + 1) * width)
        if branch == len(DILATIONS) + 1:
            y = over_time(x_CTV, layer.point, stride)
        else:
            y = torch.einsum("dc,ctv->dtv", enter.weight[part, :, 0, 0], x_CTV) + enter.bias[part].view(-1, 1, 1)
            y = norm(y, enter_norm, part).clamp(min=0)
            if branch < len(DILATIONS):
                y = over_time(y, layer.dilated[branch], stride, DILATIONS[branch])
            else:
                y = torch.stack([y[:, max(t - 1, 0) : t + 2].amax(1) for t in range(0, frames, stride)], 1)
        out.append(norm(y, layer.norm, part))
    return torch.cat(out)


def around(x_CTV, layers, stride=1):
    if isinstance(layers, torch.nn.Identity):
        return x_CTV
    return norm(over_time(x_CTV, layers[0], stride), layers[1])


def features(x_CTV, model, pyskl=False):
    """One normalised skeleton (3, T, V) -> (4 WIDTH,)."""
    x = x_CTV
    widths = [WIDTH] * 4 + [2 * WIDTH] * 3 + [4 * WIDTH] * 3
    for i, (block, width) in enumerate(zip(model.blocks, widths, strict=True)):
        stride = 2 if i in (4, 7) else 1
        y = norm(refined(x, block.spatial, width, pyskl), block.spatial_norm) + around(x, block.spatial_around)
        y = scales(y.clamp(min=0), block.temporal, stride)
        y = y.clamp(min=0) if pyskl else y
        x = (y + around(x, block.around, stride) if i else y).clamp(min=0)
    return x.mean((1, 2))


def formula(clips_BCTVM, model, pyskl=False):
    logits = []
    for clip in clips_BCTVM:
        # data_norm counts person by person and joint by joint: its channel is 15 m + 3 v + c.
        rows = norm(clip.permute(3, 2, 0, 1).reshape(15 * PERSONS, -1, 1), model.data_norm)
        persons = rows.view(PERSONS, 5, 3, -1).permute(0, 2, 3, 1)
        logits.append(model.head.weight @ (sum(features(x, model, pyskl) for x in persons) / PERSONS) + model.head.bias)
    return torch.stack(logits)


@pytest.mark.parametrize("pyskl", [False, True])
def test_logits_and_gradients_equal_the_formula(pyskl):
    torch.manual_seed(0)
    clips = torch.randn(CLIPS, 3, FRAMES, 5, PERSONS, dtype=torch.float64)
    model = drawn(CTRGCN("five", 20, PERSONS, WIDTH, 3, DILATIONS, REDUCTION, pyskl).double(), {"skeleton": clips})
    assert_same(model, model({"skeleton": clips}).logits, formula(clips, model, pyskl))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_convolutions_over_time_are_their_branches(stride):
    torch.manual_seed(0)
    x = torch.randn(2, 6, FRAMES, 5, dtype=torch.float64)
    layer = drawn(MultiScaleTemporalConv(6, WIDTH, 5, stride, DILATIONS).double(), x)
    expected = torch.stack([scales(each, layer, stride) for each in x])
    assert torch.allclose(layer(x), expected, rtol=0, atol=1e-12)
