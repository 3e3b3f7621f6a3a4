"""HD-GCN in float64 against its equations written out with loops on six joints: logits, and every gradient."""

from __future__ import annotations

import pytest
import torch

from transm3e.joints import LAYOUTS, Layout
from transm3e.layers.hierarchy import HierarchicalConv, Hierarchy
from transm3e.models.hdgcn import HDGCN

# 5 - 4 - 3 - 1 - 0 - 2: four pairs of levels, of which A-HA compares three, and six joints, of which five are nearest.
SMALL = Layout(names=tuple("abcdef"), pairs=(), bones=((1, 0), (2, 0), (3, 1), (4, 3), (5, 4)), centre=0)
LEVELS = [[0], [1, 2], [3], [4], [5]]
JOINTS, CLIPS, FRAMES, PERSONS = 6, 1, 5, 2
EPS = 1e-5  # of every batch norm


@pytest.fixture(autouse=True)
def small_layout(monkeypatch):
    monkeypatch.setitem(LAYOUTS, "small", SMALL)


class Reading:
    """A module's numbers by name; channels start .. start + width of a layer that holds several."""

    def __init__(self, module):
        self.numbers = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def linear(self, x, name, start=0, width=None):
        """W x + b over the first axis of x."""
        weight = self.numbers[f"{name}.weight"].flatten(1)
        rows = slice(start, len(weight) if width is None else start + width)
        out = torch.tensordot(weight[rows], x, 1)
        bias = self.numbers.get(f"{name}.bias")
        return out if bias is None else out + bias[rows].view(-1, *[1] * (x.dim() - 1))

    def norm(self, x, name, start=0):
        """A batch norm in evaluation."""
        mean, var, scale, shift = (
            self.numbers[f"{name}.{part}"][start : start + len(x)].view(-1, *[1] * (x.dim() - 1))
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + EPS).sqrt() * scale + shift


def edge_conv(x_CV, read, name, nearest, group=0):
    """max over the nearest u of LeakyReLU(norm(W [x_u - x_v; x_v]))."""
    points, width = list(x_CV.unbind(1)), len(x_CV)
    out = []
    for own in points:
        distance = [((other - own).detach() ** 2).sum().item() for other in points]
        near = sorted(range(len(points)), key=lambda joint: distance[joint])[:nearest]
        edges = [torch.cat([points[joint] - own, own]) for joint in near]
        values = [
            read.norm(read.linear(e, f"{name}.conv", group * width, width), f"{name}.norm", group * width)
            for e in edges
        ]
        out.append(torch.stack([torch.where(v > 0, v, 0.2 * v) for v in values]).amax(0))
    return torch.stack(out, 1)


def attention(pairs, read, name):
    """A-HA: sum over l of sigmoid(EdgeConv(mean over the pair's joints of the reduced maximum over time))_l x_l."""
    points = []
    for pair, x_CTV in enumerate(pairs):
        reduced = read.linear(x_CTV.amax(1), f"{name}.reduce.0")
        reduced = read.norm(reduced, f"{name}.reduce.1").clamp(min=0)
        joints = LEVELS[pair] + LEVELS[pair + 1]
        points.append(sum(reduced[:, joint] for joint in joints) / len(joints))
    scores = edge_conv(torch.stack(points, 1), read, f"{name}.edge_conv", 3)
    weights_CL = 1 / (1 + (-read.linear(scores, f"{name}.expand")).exp())
    return sum(weights_CL[:, pair, None, None] * x for pair, x in enumerate(pairs))


def graph_conv(x_CTV, read, name, with_attention):
    """One level pair after the other; three subsets and the EdgeConv beside each other."""
    edges, pairs = read.numbers[f"{name}edges"], []
    for pair in range(len(LEVELS) - 1):
        width = len(read.numbers[f"{name}reduce.1.weight"]) // (len(LEVELS) - 1)
        low = read.linear(x_CTV, f"{name}reduce.0", pair * width, width)
        low = read.norm(low, f"{name}reduce.1", pair * width).clamp(min=0)
        parts = []
        for subset in range(3):
            start, around = (3 * pair + subset) * width, edges[pair, subset]
            heard = [low @ around[v] for v in range(JOINTS)]
            heard = read.linear(torch.stack(heard, 2), f"{name}subsets.0", start, width)
            parts.append(read.norm(heard, f"{name}subsets.1", start))
        near = edge_conv(low.mean(1), read, f"{name}edge_conv", 5, pair)
        parts.append(torch.stack([near] * x_CTV.shape[1], 1))
        pairs.append(torch.cat(parts))
    out = read.norm(attention(pairs, read, f"{name}attention") if with_attention else sum(pairs), f"{name}norm")
    return (out + shortcut(x_CTV, read, f"{name}around")).clamp(min=0)


def shortcut(x_CTV, read, name, stride=1):
    if f"{name}.0.weight" not in read.numbers:
        return x_CTV
    return read.norm(read.linear(x_CTV[:, ::stride], f"{name}.0"), f"{name}.1")


def over_time(x_CTV, read, name, stride, dilation):
    weight, bias = read.numbers[f"{name}.weight"], read.numbers[f"{name}.bias"]
    kernel, frames, out = weight.shape[2], x_CTV.shape[1], []
    for t in range(0, frames, stride):
        taps = [(tau, t + dilation * (tau - kernel // 2)) for tau in range(kernel)]
        out.append(sum(weight[:, :, tau, 0] @ x_CTV[:, at] for tau, at in taps if 0 <= at < frames) + bias[:, None])
    return torch.stack(out, 1)


def temporal_conv(x_CTV, read, name, stride):
    """Dilations 1 and 2, the maximum of three frames, and a 1x1 convolution."""
    one, two, pooled = read.norm(read.linear(x_CTV, f"{name}.enter.0"), f"{name}.enter.1").clamp(min=0).chunk(3)
    frames = range(0, x_CTV.shape[1], stride)
    branches = [over_time(part, read, f"{name}.dilated.{i}", stride, i + 1) for i, part in enumerate((one, two))]
    branches.append(torch.stack([pooled[:, max(t - 1, 0) : t + 2].amax(1) for t in frames], 1))
    branches.append(read.linear(x_CTV[:, ::stride], f"{name}.point"))
    return read.norm(torch.cat(branches), f"{name}.norm")


def features(x_CTV, read):
    for i in range(10):
        name, stride = f"blocks.{i}", 2 if i in (4, 7) else 1
        out = graph_conv(x_CTV, read, f"{name}.spatial.", with_attention=i > 0)
        out = temporal_conv(out, read, f"{name}.temporal", stride)
        x_CTV = (out + shortcut(x_CTV, read, f"{name}.around", stride) if i else out).clamp(min=0)
    return x_CTV.mean((1, 2))


def formula(clips_BCTVM, model):
    read, logits = Reading(model), []
    for clip in clips_BCTVM:
        # data_norm counts person by person, joint by joint: its channel is (6 m + v) 3 + c.
        rows = read.norm(clip.permute(3, 2, 0, 1).flatten(0, 2), "data_norm")
        persons = rows.view(PERSONS, JOINTS, 3, FRAMES).permute(0, 2, 3, 1)
        logits.append(read.linear(sum(features(person, read) for person in persons) / PERSONS, "head"))
    return torch.stack(logits)


def shaken(module):
    """Every number away from where it starts, at a size that keeps ten blocks of signals alive."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if value.dtype == torch.float64:
            noise = torch.rand_like(value) if "running_var" in name else torch.randn_like(value)
            value.data.mul_(0.7).add_(0.2 * noise)
    return module.eval()


def test_small_hierarchy_is_the_one_written_here():
    hierarchy = Hierarchy("small")
    assert [list(level) for level in hierarchy.levels] == LEVELS
    # Levels {0} and {1, 2}: itself, outward, inward; a speaker's weights add up to 1.
    expected = torch.zeros(3, 6, 6)
    expected[0, [0, 1, 2], [0, 1, 2]], expected[1, [1, 2], 0], expected[2, 0, [1, 2]] = 1, 0.5, 1
    assert hierarchy.adjacency()[0].equal(expected)


@pytest.mark.parametrize("with_attention", [True, False])
def test_graph_convolution_equals_its_formula(with_attention):
    torch.manual_seed(1)
    layer = shaken(HierarchicalConv(5, 16, Hierarchy("small"), with_attention).double())
    x = torch.randn(3, 5, 4, JOINTS, dtype=torch.float64)
    expected = torch.stack([graph_conv(each, Reading(layer), "", with_attention) for each in x])
    assert expected.std() > 0.1
    assert (layer(x) - expected).abs().max() < 1e-12


def test_logits_and_gradients_equal_the_formula():
    torch.manual_seed(0)
    model = shaken(HDGCN("small", 20, PERSONS, width=8).double())
    clips = torch.randn(CLIPS, 3, FRAMES, JOINTS, PERSONS, dtype=torch.float64)
    ours, expected = model({"skeleton": clips}).logits, formula(clips, model)
    assert expected.std() > 1e-2
    assert (ours - expected).abs().max() < 1e-10 * expected.abs().max()
    names, parameters = zip(*model.named_parameters(), strict=True)
    reading = torch.randn_like(ours)
    gradients = (torch.autograd.grad(result, parameters, reading) for result in (ours, expected))
    for name, one, other in zip(names, *gradients, strict=True):
        assert other.abs().max() > 0, f"{name} has no gradient"
        assert (one - other).abs().max() < 1e-10 * other.abs().max(), name
