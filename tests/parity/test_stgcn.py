"""ST-GCN in float64 against its formulas written out on five joints: logits, and the gradient of every parameter."""

from __future__ import annotations

import pytest
import torch

from transm3e.joints import LAYOUTS, Layout
from transm3e.layers.graph import Graph
from transm3e.models.stgcn import STGCN

EPS = 1e-5  # of every batch norm
CLIPS, FRAMES, PERSONS, WIDTH = 2, 7, 2, 8
# Joint 2 is the centre, 0 and 1 hang on it, 3 and 4 on 1.
PARENT = {0: 2, 1: 2, 3: 1, 4: 1}
FIVE = Layout(tuple("abcde"), ((3, 4),), tuple(PARENT.items()), centre=2)
DEPTH = (1, 1, 0, 2, 2)


@pytest.fixture(autouse=True)
def _five_joints(monkeypatch):
    monkeypatch.setitem(LAYOUTS, "five", FIVE)


def norm(x_CTV, layer, part=slice(None)):
    """A batch norm in evaluation, channel by channel; of some of its channels."""
    numbers = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    mean, var, scale, shift = (each[part].view(-1, 1, 1) for each in numbers)
    return (x_CTV - mean) / (var + EPS).sqrt() * scale + shift


def over_time(x_CTV, conv, stride, dilation=1):
    """sum over tau of W_tau x[t * stride + (tau - kernel // 2) * dilation], frames before and after being zero."""
    kernel, frames = conv.weight.shape[2], x_CTV.shape[1]
    out = []
    for t in range(0, frames, stride):
        taps = [(tau, t + (tau - kernel // 2) * dilation) for tau in range(kernel)]
        out.append(sum(conv.weight[:, :, tau, 0] @ x_CTV[:, at] for tau, at in taps if 0 <= at < frames))
    return torch.stack(out, 1) + conv.bias.view(-1, 1, 1)


def subset(partition, v, w):
    """The paper's label of neighbour v of w; None where they are no neighbours. Farther comes before nearer."""
    if v != w and PARENT.get(v) != w and PARENT.get(w) != v:
        return None
    labels = {"uniform": 0, "distance": int(v != w), "spatial": {0: 0, 1: 1, -1: 2}[DEPTH[v] - DEPTH[w]]}
    return labels[partition]


def adjacency_of(partition, subsets):
    """A_k[v, w] = 1 / (neighbours of w and w itself) where v has label k."""
    matrix = torch.zeros(subsets, 5, 5, dtype=torch.float64)
    for w in range(5):
        around = [v for v in range(5) if subset(partition, v, w) is not None]
        for v in around:
            matrix[subset(partition, v, w), v, w] = 1 / len(around)
    return matrix


def over_joints(x_CTV, layer, adjacency):
    """sum over k of W_k x (A_k * M_k)."""
    subsets = zip(layer.conv.weight.chunk(len(adjacency)), layer.conv.bias.chunk(len(adjacency)), strict=True)
    out = 0
    for k, (weight, bias) in enumerate(subsets):
        per_frame = [
            (weight[:, :, 0, 0] @ x + bias[:, None]) @ (adjacency[k] * layer.importance[k]) for x in x_CTV.unbind(1)
        ]
        out = out + torch.stack(per_frame, 1)
    return out


def features(x_CTV, model, adjacency):
    """One skeleton (3, T, V) -> (4 WIDTH,)."""
    # data_norm counts joint by joint: its channel is 3 v + c.
    rows = norm(x_CTV.permute(2, 0, 1).reshape(15, -1, 1), model.data_norm)
    x = rows.view(5, 3, -1).permute(1, 2, 0)
    for i, block in enumerate(model.blocks):
        stride = 2 if i in (4, 7) else 1
        y = norm(over_joints(x, block.spatial, adjacency), block.temporal[0]).clamp(min=0)
        y = norm(over_time(y, block.temporal[2], stride), block.temporal[3])
        if i in (4, 7):
            y = y + norm(over_time(x, block.around[0], stride), block.around[1])
        elif i > 0:
            y = y + x
        x = y.clamp(min=0)
    return x.mean((1, 2))


def formula(clips_BCTVM, model, adjacency):
    persons = [[features(clip[..., m], model, adjacency) for m in range(PERSONS)] for clip in clips_BCTVM]
    return torch.stack([sum(each) / PERSONS for each in persons]) @ model.head.weight.T + model.head.bias


def drawn(model):
    """Every number away from where it starts, at a size that keeps ten blocks of signals alive."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.dtype == torch.float64 and "adjacency" not in name:
            with torch.no_grad():
                value.mul_(2).add_(0.1 * torch.rand_like(value))
    return model.eval()


def assert_same(model, ours, expected):
    """Equal logits, and equal gradients of every parameter, none of them zero."""
    assert expected.std() > 1e-3
    assert (ours - expected).abs().max() < 1e-10 * expected.abs().max()
    names, parameters = zip(*model.named_parameters(), strict=True)
    reading = torch.randn_like(ours)
    gradients = (torch.autograd.grad(result, parameters, reading) for result in (ours, expected))
    for name, one, other in zip(names, *gradients, strict=True):
        assert other.abs().max() > 0, f"{name} has no gradient"
        assert (one - other).abs().max() < 1e-10 * other.abs().max(), name


@pytest.mark.parametrize(("partition", "subsets"), [("uniform", 1), ("distance", 2), ("spatial", 3)])
def test_logits_and_gradients_equal_the_formula(partition, subsets):
    torch.manual_seed(0)
    adjacency = adjacency_of(partition, subsets)
    assert (Graph("five").adjacency(partition) - adjacency).abs().max() < 1e-7  # float32 there
    model = drawn(STGCN("five", partition, 20, width=WIDTH).double())
    for block in model.blocks:
        block.spatial.adjacency.copy_(adjacency)
    clips = torch.randn(CLIPS, 3, FRAMES, 5, PERSONS, dtype=torch.float64)
    assert_same(model, model({"skeleton": clips}).logits, formula(clips, model, adjacency))
