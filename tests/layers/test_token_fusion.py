"""MCTF against equations 2 to 7 written out in float64."""

from __future__ import annotations

import math

import pytest
import torch

from transm3e.layers.token_fusion import MAPS, TokenFusion

K, D = 5, 12


# Table 12's cases 1 to 7, and what it leaves out: maps of one stream only.
ALONE, M_MR, M_RM = ("m_mm", "r_rr"), ("m_mr", "r_mr"), ("m_rm", "r_rm")
CASES = (ALONE, M_MR, M_RM, (*ALONE, *M_MR), (*ALONE, *M_RM), (*M_MR, *M_RM), MAPS)
ONE_STREAM = (("m_mm",), ("r_mr", "r_rm"))


def written_out(fusion: TokenFusion, m, r, heads, scale, view=lambda out: out, maps=MAPS):
    """Equations 2 to 7, head by head and clip by clip; `view` rearranges what a map gives, (K, D)."""

    def norm(x, layer):
        if isinstance(layer, torch.nn.Identity):  # No map reads this stream.
            return None
        mean, variance = x.mean(), x.var(unbiased=False)
        return (x - mean) / torch.sqrt(variance + 1e-5) * layer.weight + layer.bias

    def attend(q, k, v):
        width = math.ceil(D / heads)
        parts = []
        for h in range(heads):
            cut = slice(h * width, (h + 1) * width)
            weights = torch.exp(scale * q[:, cut] @ k[:, cut].T)
            parts.append(weights / weights.sum(1, keepdim=True) @ v[:, cut])
        return view(torch.cat(parts, dim=1))

    fused = []
    for cls_m, cls_r in zip(m, r, strict=True):
        normed = {"m": norm(cls_m, fusion.norm_m), "r": norm(cls_r, fusion.norm_r)}
        linear = {name: layer(normed[name[-1]]) for name, layer in fusion.inputs.items()}
        a_m = a_r = torch.zeros_like(cls_m)
        for name, i, j in (("m_mm", "m", "m"), ("m_mr", "m", "r"), ("m_rm", "r", "m")):
            if name in maps:
                a_m = a_m + fusion.outputs[name](attend(linear[f"q_{i}"], linear[f"k_{j}"], linear["v_m"]))
        for name, i, j in (("r_rr", "r", "r"), ("r_mr", "m", "r"), ("r_rm", "r", "m")):
            if name in maps:
                a_r = a_r + fusion.outputs[name](attend(linear[f"q_{i}"], linear[f"k_{j}"], linear["v_r"]))
        a_f = fusion.fuse[2](torch.relu(fusion.fuse[0](torch.cat((a_m, a_r), dim=1))))
        cls_a = (cls_m + cls_r) / 2
        cls_f = cls_a + a_f
        hidden = fusion.mlp.fc1(norm(cls_f, fusion.norm_f))
        gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        fused.append(cls_a + fusion.mlp.fc2(gelu))
    return torch.stack(fused)


@pytest.mark.parametrize(
    ("tokens", "heads", "scale", "maps"),
    [
        (K, 1, 0.8, MAPS),
        (K, 3, 0.8, MAPS),
        (K, 2, 0.0, MAPS),
        # Heads that do not divide the width are 3 wide, 15 together; and one token.
        (K, 5, 0.0, MAPS),
        (1, 5, 0.8, MAPS),
        *((K, 1, 0.8, maps) for maps in (*CASES[:-1], *ONE_STREAM)),
    ],
)
def test_fusion_equals_the_equations(tokens, heads, scale, maps):
    torch.manual_seed(0)
    fusion = TokenFusion(tokens, D, num_heads=heads, scale=scale, maps=maps).double().eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    m, r = torch.randn(2, 3, tokens, D, dtype=torch.float64)
    expected = written_out(fusion, m, r, heads, scale or math.ceil(D / heads) ** -0.5, maps=maps)
    assert torch.allclose(fusion(m, r), expected, rtol=0, atol=1e-12)


def scrambled(out):
    """(K, D): the numbers of the transposed map, channel by channel, filled into a new (K, D) row by row."""
    numbers = [out[k, d] for d in range(D) for k in range(K)]
    return torch.stack([torch.stack(numbers[row * D : (row + 1) * D]) for row in range(K)])


@pytest.mark.parametrize(("heads", "scale"), [(1, 0.8), (3, 0.0), (2, 0.0), (5, 0.0)])
def test_the_authors_view_equals_their_formula(heads, scale):
    """One softmax over all channels whatever the heads, which change the scale alone, then the scrambled view."""
    torch.manual_seed(0)
    fusion = TokenFusion(K, D, num_heads=heads, scale=scale, authors_view=True).double().eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    m, r = torch.randn(2, 3, K, D, dtype=torch.float64)
    expected = written_out(fusion, m, r, 1, scale or (D // heads) ** -0.5, scrambled)
    assert torch.allclose(fusion(m, r), expected, rtol=0, atol=1e-12)
    fusion.authors_view = False
    assert (fusion(m, r) - expected).abs().max() > 0.1


@pytest.mark.parametrize("maps", [*CASES, *ONE_STREAM])
def test_every_parameter_gets_a_gradient_whatever_maps_are_summed(maps):
    torch.manual_seed(0)
    fusion = TokenFusion(K, D, maps=maps)
    fusion(*torch.randn(2, 4, K, D)).square().sum().backward()
    # Softmax does not see a shift of all scores of a query, and a bias of k is one.
    silent = [n for n, p in fusion.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-6]
    assert all(name.startswith("inputs.k_") and name.endswith("bias") for name in silent), silent


def test_parameter_count_of_the_papers_size():
    biased = sum(p.numel() for p in TokenFusion(20, 768).parameters())
    unbiased = sum(p.numel() for p in TokenFusion(20, 768, qkv_bias=False).parameters())
    assert unbiased == 10_126_848
    assert biased == unbiased + 6 * 768
    # Five heads of 154: q, k and v of both streams are 2 wider, and so are the six output projections' inputs.
    assert sum(p.numel() for p in TokenFusion(20, 768, num_heads=5).parameters()) == biased + 6 * 2 * (769 + 768)
