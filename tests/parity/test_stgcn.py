"""ST-GCN in float64 against its formulas written out: logits, and the gradient of every parameter."""

from __future__ import annotations

import pytest
import torch

from transm3e.layers.graph import Graph
from transm3e.models.stgcn import STGCN

EPS = 1e-5  # of every batch norm
CLIPS, FRAMES, PERSONS = 2, 7, 2


def norm(x_CTV, model, name):
    """A batch norm in evaluation, channel by channel."""
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    mean, var, scale, shift = (
        weights[f"{name}.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x_CTV - mean) / (var + EPS).sqrt() * scale + shift


def over_time(x_CTV, conv, stride):
    """sum over tau of W_tau x[t * stride + tau - kernel // 2], frames before and after being zero."""
    kernel, frames = conv.weight.shape[2], x_CTV.shape[1]
    out = []
    for t in range(0, frames, stride):
        taps = [(tau, t + tau - kernel // 2) for tau in range(kernel)]
        out.append(sum(conv.weight[:, :, tau, 0] @ x_CTV[:, at] for tau, at in taps if 0 <= at < frames))
    return torch.stack(out, 1) + conv.bias.view(-1, 1, 1)


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
    """One skeleton (3, T, V) -> (256,)."""
    joints = x_CTV.shape[2]
    # data_norm counts joint by joint: its channel is 3 v + c.
    rows = norm(x_CTV.permute(2, 0, 1).reshape(joints * 3, -1, 1), model, "data_norm")
    x = rows.view(joints, 3, -1).permute(1, 2, 0)
    for i, block in enumerate(model.blocks):
        stride, name = 2 if i in (4, 7) else 1, f"blocks.{i}"
        y = norm(over_joints(x, block.spatial, adjacency), model, f"{name}.temporal.0").clamp(min=0)
        y = norm(over_time(y, block.temporal[2], stride), model, f"{name}.temporal.3")
        if i in (4, 7):
            y = y + norm(over_time(x, block.around[0], stride), model, f"{name}.around.1")
        elif i > 0:
            y = y + x
        x = y.clamp(min=0)
    return x.mean((1, 2))


def formula(clips_BCTVM, model, partition):
    adjacency = Graph("openpose18").adjacency(partition).double()
    persons = [[features(clip[..., m], model, adjacency) for m in range(PERSONS)] for clip in clips_BCTVM]
    return torch.stack([sum(each) / PERSONS for each in persons]) @ model.head.weight.T + model.head.bias


@pytest.mark.parametrize("partition", ["uniform", "spatial"])
def test_logits_and_gradients_equal_the_formula(partition):
    torch.manual_seed(0)
    model = STGCN("openpose18", partition, 20).double().eval()
    # Every number away from where it starts, at a size that keeps ten blocks of signals alive.
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.dtype == torch.float64 and "adjacency" not in name:
            with torch.no_grad():
                value.mul_(2).add_(0.1 * torch.rand_like(value))
    clips = torch.randn(CLIPS, 3, FRAMES, 18, PERSONS, dtype=torch.float64)
    ours, expected = model({"skeleton": clips}).logits, formula(clips, model, partition)
    assert expected.std() > 1e-3
    assert (ours - expected).abs().max() < 1e-10 * expected.abs().max()
    names, parameters = zip(*model.named_parameters(), strict=True)
    reading = torch.randn_like(ours)
    gradients = (torch.autograd.grad(result, parameters, reading) for result in (ours, expected))
    for name, one, other in zip(names, *gradients, strict=True):
        assert other.abs().max() > 0, f"{name} has no gradient"
        assert (one - other).abs().max() < 1e-10 * other.abs().max(), name
