"""Multi-scale attention against the textbook form: explicit attention matrix, explicit relative positions, float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from transm3e.layers.attention import MultiScaleAttention, MultiScaleBlock


def textbook(attn: MultiScaleAttention, x, num_tokens, size, stride_q, stride_kv):
    """MViTv2's attention written out position by position (Li et al. 2022, equations 3 to 5)."""
    heads = attn.num_heads
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in attn.qkv(x).chunk(3, dim=-1))

    def pool(tensor, conv, norm, stride):
        if not isinstance(conv, torch.nn.Conv3d):
            return tensor, size
        grid = tensor[:, :, num_tokens:].flatten(0, 1).transpose(1, 2).unflatten(2, size)
        grid = functional.conv3d(grid, conv.weight, stride=stride, padding=1, groups=grid.shape[1])
        pooled = grid.flatten(2).transpose(1, 2).unflatten(0, (len(x), heads))
        return norm(torch.cat((tensor[:, :, :num_tokens], pooled), dim=2)), tuple(grid.shape[2:])

    q, q_size = pool(q, attn.pool_q, attn.norm_q, stride_q)
    k, k_size = pool(k, attn.pool_k, attn.norm_k, stride_kv)
    v, _ = pool(v, attn.pool_v, attn.norm_v, stride_kv)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    tables = (attn.rel_pos_t, attn.rel_pos_h, attn.rel_pos_w)
    queries = torch.cartesian_prod(*(torch.arange(n) for n in q_size))
    keys = torch.cartesian_prod(*(torch.arange(n) for n in k_size))
    for i, query in enumerate(queries):
        for j, key in enumerate(keys):
            for axis in range(3):
                step_q = max(k_size[axis] / q_size[axis], 1.0)
                step_k = max(q_size[axis] / k_size[axis], 1.0)
                row = int(query[axis] * step_q - key[axis] * step_k + (k_size[axis] - 1) * step_k)
                bias = q[:, :, num_tokens + i] @ tables[axis][row]
                scores[:, :, num_tokens + i, num_tokens + j] += bias
    out = scores.softmax(-1) @ v
    out[:, :, num_tokens:] += q[:, :, num_tokens:]
    return attn.proj(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("num_tokens", [0, 1, 5])
@pytest.mark.parametrize(
    ("stride_q", "stride_kv"),
    [(None, (1, 2, 2)), ((1, 1, 1), (1, 2, 2)), ((1, 2, 2), (1, 1, 1)), ((2, 2, 2), (1, 4, 4))],
)
def test_attention_equals_the_textbook_form(num_tokens, stride_q, stride_kv):
    torch.manual_seed(0)
    size = (2, 4, 5)
    attn = MultiScaleAttention(12, 16, 2, size, (3, 3, 3), stride_q, stride_kv).double()
    for table in (attn.rel_pos_t, attn.rel_pos_h, attn.rel_pos_w):
        torch.nn.init.normal_(table)
    x = torch.randn(2, num_tokens + 40, 12, dtype=torch.float64)
    expected = textbook(attn, x, num_tokens, size, stride_q, stride_kv)
    assert torch.allclose(attn(x, num_tokens, size), expected, rtol=0, atol=1e-12)


def test_float32_stays_close_to_float64():
    torch.manual_seed(0)
    attn = MultiScaleAttention(16, 16, 2, (4, 8, 8), (3, 3, 3), (1, 1, 1), (1, 2, 2))
    x = torch.randn(2, 20 + 256, 16)
    assert torch.allclose(attn(x, 20, (4, 8, 8)).double(), attn.double()(x.double(), 20, (4, 8, 8)), rtol=0, atol=1e-5)


def test_another_input_size_interpolates_the_tables():
    torch.manual_seed(0)
    attn = MultiScaleAttention(8, 8, 1, (2, 4, 4), (3, 3, 3), (1, 1, 1), (1, 1, 1))
    assert attn(torch.randn(1, 1 + 2 * 6 * 6, 8), 1, (2, 6, 6)).shape == (1, 73, 8)


def test_block_pools_the_shortcut_of_patches_only():
    torch.manual_seed(0)
    block = MultiScaleBlock(8, 8, 1, (2, 4, 4), (3, 3, 3), (1, 2, 2), (1, 1, 1)).eval()
    for layer in (block.attn.proj, block.mlp.fc2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(1, 3 + 32, 8)
    out, size = block(x, 3, (2, 4, 4))
    assert size == (2, 2, 2)
    assert torch.equal(out[:, :3], x[:, :3])
    grid = x[0, 3:].T.reshape(1, 8, 2, 4, 4)
    pooled = functional.max_pool3d(grid, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    assert torch.equal(out[0, 3:], pooled[0].flatten(1).T)


def test_drop_path_keeps_the_mean():
    from transm3e.layers.common import DropPath

    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(20000, 1, 1))
    assert out.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert drop.eval()(torch.ones(3)).tolist() == [1, 1, 1]
