"""Every fusion of table 5 against its formula in float64, clip by clip and head by head."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from transm3e.layers.fusions import FUSIONS, BottleneckFusion, FusionSettings
from transm3e.layers.token_fusion import MAPS

K, D = 3, 8
SMALL = FusionSettings(
    num_tokens=K,
    dim=D,
    num_heads=1,
    qkv_bias=True,
    dropout=0.0,
    drop_path=0.0,
    mlp_ratio=1.0,
    scale=0.8,
    maps=MAPS,
    authors_view=False,
)
BLOCK = 4 * D + 4 * D * (D + 1) + 2 * D * (D + 1)
PARAMETERS = {
    "mean": 0,
    "sum": 0,
    "multiply": 0,
    "concat": 2 * D * D + D,
    "self_attention": BLOCK,
    "cross_attention": 2 * BLOCK,
    "bottleneck": 4 * BLOCK + 4 * D,
    # Q, K and V of two streams, six outputs, FC (2D -> D -> D), MLP, three norms over tokens and channels.
    "mctf": (6 + 6) * D * (D + 1) + D * (2 * D + 1) + D * (D + 1) + 2 * D * (D + 1) + 3 * 2 * K * D,
}


def drawn(name, settings=SMALL):
    """A fusion in evaluation with weights far from their start, in float64."""
    torch.manual_seed(0)
    fusion = FUSIONS[name](settings).double().eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return fusion


def norm(x, layer):
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-6) * layer.weight + layer.bias


def block_of(block, x, context, heads):
    """y = x + proj(heads side by side), then y + MLP(LN(y)); x (Q, D), context (K, D)."""
    queries, keys = norm(x, block.norm1), norm(context, block.norm1)
    q, k, v = block.q(queries), block.k(keys), block.v(keys)
    width, parts = math.ceil(D / heads), []
    for h in range(heads):
        cut = slice(h * width, (h + 1) * width)
        scores = torch.exp(q[:, cut] @ k[:, cut].T / math.sqrt(width))
        parts.append(scores / scores.sum(1, keepdim=True) @ v[:, cut])
    y = x + block.proj(torch.cat(parts, dim=1))
    hidden = block.mlp.fc1(norm(y, block.norm2))
    return y + block.mlp.fc2(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))))


def bottleneck_of(fusion, m, r, heads):
    shared = fusion.bottlenecks[0]
    for block_m, block_r in zip(fusion.blocks_m, fusion.blocks_r, strict=True):
        with_m, with_r = torch.cat((m, shared)), torch.cat((r, shared))
        with_m, with_r = block_of(block_m, with_m, with_m, heads), block_of(block_r, with_r, with_r, heads)
        m, r, shared = with_m[: len(m)], with_r[: len(r)], (with_m[len(m) :] + with_r[len(r) :]) / 2
    return (m + r) / 2


def self_attention_of(fusion, m, r, heads):
    both = torch.cat((m, r))
    both = block_of(fusion.block, both, both, heads)
    return (both[: len(m)] + both[len(m) :]) / 2


FORMULAS = {
    "mean": lambda fusion, m, r, heads: (m + r) / 2,
    "sum": lambda fusion, m, r, heads: m + r,
    "multiply": lambda fusion, m, r, heads: m * r,
    "concat": lambda fusion, m, r, heads: torch.cat((m, r), 1) @ fusion.reduce.weight.T + fusion.reduce.bias,
    "self_attention": self_attention_of,
    "cross_attention": lambda fusion, m, r, heads: (
        (block_of(fusion.block_m, m, r, heads) + block_of(fusion.block_r, r, m, heads)) / 2
    ),
    "bottleneck": bottleneck_of,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("tokens", "heads"), [(K, 1), (K, 2), (1, 3)])
def test_fusion_equals_its_formula(name, tokens, heads):
    """Also with one token, and with heads that do not divide the width: 3 heads of 3 for 8 channels."""
    fusion = drawn(name, replace(SMALL, num_tokens=tokens, num_heads=heads))
    m, r = torch.randn(2, 4, tokens, D, dtype=torch.float64)
    expected = torch.stack([FORMULAS[name](fusion, *clip, heads) for clip in zip(m, r, strict=True)])
    assert torch.allclose(fusion(m, r), expected, rtol=0, atol=1e-12)


def test_every_fusion_has_a_formula_here_or_in_its_own_file():
    assert set(FUSIONS) == {*FORMULAS, "mctf"} == set(PARAMETERS)


@pytest.mark.parametrize("name", [name for name, number in PARAMETERS.items() if number])
def test_every_parameter_gets_a_gradient_and_is_counted(name):
    fusion = drawn(name).train()
    fusion(*torch.randn(2, 4, K, D, dtype=torch.float64)).square().sum().backward()
    # Softmax does not see a shift of all scores of a query, and a bias of k is one.
    silent = [n for n, p in fusion.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]
    keys = [n for n, _ in fusion.named_parameters() if n.endswith(("k.bias", "k_m.bias", "k_r.bias"))]
    assert silent == keys
    assert sum(p.numel() for p in fusion.parameters()) == PARAMETERS[name]


def test_parameters_at_the_papers_size():
    """What fusions.py says of TransM3E-S."""
    settings, counts = replace(SMALL, num_tokens=20, dim=768), {}
    with torch.device("meta"):
        for name in PARAMETERS:
            counts[name] = sum(p.numel() for p in FUSIONS[name](settings).parameters())
    assert counts == {
        **dict.fromkeys(("mean", "sum", "multiply"), 0),
        "concat": 1_180_416,
        "self_attention": 3_546_624,
        "cross_attention": 7_093_248,
        "bottleneck": 14_189_568,
        "mctf": 10_131_456,
    }


@pytest.mark.parametrize("depth", [1, 2])
def test_streams_need_two_layers_of_bottlenecks_to_exchange(depth):
    """Without exchange the result is a function of the MCTs plus one of the receivers."""
    torch.manual_seed(0)
    fusion = BottleneckFusion(D, depth=depth).double().eval()
    m, r = torch.randn(2, 2, K, D, dtype=torch.float64)
    m2, r2 = m.flip(0), r.flip(0)
    difference = (fusion(m, r) + fusion(m2, r2) - fusion(m, r2) - fusion(m2, r)).abs().max()
    assert (difference < 1e-12) == (depth == 1)


def test_a_fusion_of_blocks_compiles_to_one_graph():
    fusion = drawn("cross_attention").train()
    m, r = torch.randn(2, 2, K, D, dtype=torch.float64)
    compiled = torch.compile(fusion, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(m, r), fusion(m, r), rtol=0, atol=1e-12)
    torch._dynamo.reset()


def test_dropout_and_drop_path_act_in_training_only():
    m, r = torch.randn(2, 64, K, D, dtype=torch.float64)
    for name in ("self_attention", "cross_attention", "bottleneck"):
        for rates in ({"dropout": 0.5}, {"drop_path": 0.5}):
            fusion = drawn(name, replace(SMALL, **rates))
            assert torch.equal(fusion(m, r), drawn(name)(m, r)), name
            assert not torch.equal(fusion.train()(m, r), fusion.eval()(m, r)), name
