"""Multi-scale attention against the textbook form: explicit attention matrix, explicit relative positions, float64."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch.nn import functional

from transm3e.layers.attention import MultiScaleAttention, MultiScaleBlock

# (T, H, W), stride of q, stride of k and v: sizes that no stride divides, and strides above the kernel.
GRIDS = [
    ((2, 4, 5), None, (1, 2, 2)),
    ((2, 4, 5), (2, 2, 2), (1, 1, 1)),
    ((2, 9, 10), (1, 1, 1), (1, 4, 4)),
    ((2, 9, 10), (1, 2, 2), (1, 8, 8)),
    ((1, 8, 8), None, (1, 8, 8)),
    ((1, 8, 8), (1, 4, 4), (1, 4, 4)),
    ((3, 16, 17), (1, 4, 4), (1, 8, 8)),
    ((3, 16, 17), (1, 2, 2), (2, 4, 4)),
]
# What only the patches that come out depend on.
PATCHES_ONLY = {"rel_pos_t", "rel_pos_h", "rel_pos_w", "pool_q.weight"}


def drawn(module):
    """In float64, with parameters that all matter: norms too are drawn."""
    for name, parameter in module.named_parameters():
        scale = 0.3 if parameter.dim() > 1 and "rel_pos" not in name else 1.0
        torch.nn.init.normal_(parameter, std=scale)
    return module.double()


def inputs(batch, num_tokens, size, width):
    shapes = (batch, size[0] * size[1] * size[2], width), (batch, num_tokens, width)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def bias_rows(table, queries, keys):
    """The table's row for each query and key position of one axis, in exact fractions."""
    step_q, step_k = max(Fraction(keys, queries), Fraction(1)), max(Fraction(queries, keys), Fraction(1))
    rows = [[int(i * step_q - (j - keys + 1) * step_k) for j in range(keys)] for i in range(queries)]
    return table[torch.tensor(rows)]


def textbook(attn, patches, tokens, size):
    """MViTv2's attention written out (Li et al. 2022, equations 3 to 5), all q, k and v in one sequence."""
    heads, k_tokens = attn.num_heads, tokens.shape[1]
    x = torch.cat((tokens, patches), dim=1)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in attn.qkv(x).chunk(3, dim=-1))

    def pool(tensor, conv, norm):
        if not isinstance(conv, torch.nn.Conv3d):
            return tensor, size
        grid = tensor[:, :, k_tokens:].flatten(0, 1).transpose(1, 2).unflatten(2, size)
        grid = functional.conv3d(grid, conv.weight, None, conv.stride, conv.padding, groups=grid.shape[1])
        pooled = grid.flatten(2).transpose(1, 2).unflatten(0, (len(x), heads))
        return norm(torch.cat((tensor[:, :, :k_tokens], pooled), dim=2)), tuple(grid.shape[2:])

    q, q_size = pool(q, attn.pool_q, attn.norm_q)
    k, k_size = pool(k, attn.pool_k, attn.norm_k)
    v, _ = pool(v, attn.pool_v, attn.norm_v)
    queries, keys = (torch.cartesian_prod(*(torch.arange(n) for n in s)) for s in (q_size, k_size))
    bias = 0
    for axis, table in enumerate((attn.rel_pos_t, attn.rel_pos_h, attn.rel_pos_w)):
        rows = bias_rows(table, q_size[axis], k_size[axis])[queries[:, None, axis], keys[None, :, axis]]
        bias = bias + torch.einsum("bhqc,qnc->bhqn", q[:, :, k_tokens:], rows)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    scores = scores + functional.pad(bias, (k_tokens, 0, k_tokens, 0))
    out = scores.softmax(-1) @ v + functional.pad(q[:, :, k_tokens:], (0, 0, k_tokens, 0))
    out = attn.proj(out.transpose(1, 2).flatten(2))
    return out[:, k_tokens:], out[:, :k_tokens]


def textbook_block(block, patches, tokens, size, after_attention, after_mlp):
    """The block written out on one sequence; factors (B, 1, 1) of drop path."""
    k_tokens = tokens.shape[1]
    x = torch.cat((tokens, patches), dim=1)
    normed = block.norm1(x)
    attended = torch.cat(textbook(block.attn, normed[:, k_tokens:], normed[:, :k_tokens], size)[::-1], dim=1)
    shortcut = x if isinstance(block.proj, torch.nn.Identity) else block.proj(normed)
    grid = shortcut[:, k_tokens:].transpose(1, 2).unflatten(2, size)
    kernel = [s + 1 if s > 1 else 1 for s in block.stride_q]
    grid = functional.max_pool3d(grid, kernel, block.stride_q, [k // 2 for k in kernel])
    x = torch.cat((shortcut[:, :k_tokens], grid.flatten(2).transpose(1, 2)), dim=1) + attended * after_attention
    x = x + block.mlp.fc2(functional.gelu(block.mlp.fc1(block.norm2(x)))) * after_mlp
    return x[:, k_tokens:], x[:, :k_tokens], tuple(grid.shape[2:])


def assert_equal_with_gradients(given, expected, wanted):
    """Two (patches, tokens) in value and in the gradients of a random reading of both, for all of `wanted`."""
    for one, other in zip(given, expected, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=0, atol=1e-12 * max(1, other.abs().max().item()))
    reading = [torch.randn_like(part) for part in expected]
    ours, textbooks = (torch.autograd.grad(out, list(wanted.values()), reading) for out in (given, expected))
    largest = max(gradient.abs().max() for gradient in textbooks)
    for name, one, other in zip(wanted, ours, textbooks, strict=True):
        assert (one - other).abs().max() <= 1e-12 * largest, name


def wanted(module, patches, tokens):
    return {"patches": patches, "tokens": tokens, **dict(module.named_parameters())}


@pytest.mark.parametrize(("size", "stride_q", "stride_kv"), GRIDS)
@pytest.mark.parametrize(("num_tokens", "batch", "heads"), [(1, 2, 3), (5, 3, 1), (5, 2, 2)])
def test_attention_equals_the_textbook_form(size, stride_q, stride_kv, num_tokens, batch, heads):
    torch.manual_seed(0)
    attn = drawn(MultiScaleAttention(10, 12, heads, size, (3, 3, 3), stride_q, stride_kv))
    patches, tokens = inputs(batch, num_tokens, size, 10)
    expected = textbook(attn, patches, tokens, size)
    assert_equal_with_gradients(attn(patches, tokens, size), expected, wanted(attn, patches, tokens))


def test_other_kernels_and_no_bias_equal_the_textbook_form():
    torch.manual_seed(0)
    size = (3, 7, 9)
    attn = drawn(MultiScaleAttention(10, 12, 2, size, (1, 3, 5), (1, 2, 2), (2, 4, 4), qkv_bias=False))
    patches, tokens = inputs(2, 3, size, 10)
    expected = textbook(attn, patches, tokens, size)
    assert_equal_with_gradients(attn(patches, tokens, size), expected, wanted(attn, patches, tokens))


@pytest.mark.parametrize(("size", "stride_q", "stride_kv"), GRIDS[1:7:2])
def test_unread_patches_leave_the_tokens_and_their_gradients(size, stride_q, stride_kv):
    torch.manual_seed(0)
    attn = drawn(MultiScaleAttention(10, 12, 2, size, (3, 3, 3), stride_q, stride_kv))
    patches, tokens = inputs(2, 5, size, 10)
    _, expected = attn(patches, tokens, size)
    nothing, given = attn(patches, tokens, size, read_patches=False)
    assert nothing is None
    assert torch.equal(given, expected)
    reading, names = torch.randn_like(given), wanted(attn, patches, tokens)
    # Every parameter has a gradient, which DDP waits for.
    ours = torch.autograd.grad(given, list(names.values()), reading)
    full = torch.autograd.grad(expected, list(names.values()), reading, materialize_grads=True)
    for name, one, other in zip(names, ours, full, strict=True):
        assert (one - other).abs().max() <= 1e-13 * max(1, other.abs().max()), name
    zero = {name for name, gradient in zip(names, ours, strict=True) if not gradient.any()}
    # Softmax does not see a shift of all keys; rounding may or may not leave a trace of it.
    assert zero - {"norm_k.bias"} == PATCHES_ONLY & set(names)


@pytest.mark.parametrize(("size", "stride_q", "stride_kv"), GRIDS[2::2])
def test_float32_stays_close_to_float64(size, stride_q, stride_kv):
    """Values and gradients; in float32 other paths are taken than in float64."""
    torch.manual_seed(0)
    attn = MultiScaleAttention(16, 24, 3, size, (3, 3, 3), stride_q, stride_kv)
    for table in (attn.rel_pos_t, attn.rel_pos_h, attn.rel_pos_w):
        torch.nn.init.normal_(table)
    patches, tokens = inputs(2, 5, size, 16)
    results = []
    for dtype in (torch.float64, torch.float32):
        attn.to(dtype)
        names = wanted(attn, patches.detach().to(dtype).requires_grad_(), tokens.detach().to(dtype).requires_grad_())
        out = attn(names["patches"], names["tokens"], size)
        results.append([*out, *torch.autograd.grad([part.square().sum() for part in out], list(names.values()))])
    with torch.no_grad():
        without = attn(patches.float(), tokens.float(), size)
    for one, other in zip((*without, *results[1]), (*results[0][:2], *results[0]), strict=True):
        assert (one.double() - other).abs().max() <= 2e-5 * max(1, other.abs().max())


def test_another_input_size_interpolates_the_tables():
    torch.manual_seed(0)
    attn = drawn(MultiScaleAttention(8, 8, 1, (2, 4, 4), (3, 3, 3), (1, 1, 1), (1, 1, 1)))
    patches, tokens = inputs(1, 1, (2, 6, 6), 8)
    given = attn(patches, tokens, (2, 6, 6))
    assert [part.shape for part in given] == [(1, 72, 8), (1, 1, 8)]
    for name in ("rel_pos_h", "rel_pos_w"):
        table = functional.interpolate(getattr(attn, name).detach().T[None], size=11, mode="linear")[0].T
        setattr(attn, name, torch.nn.Parameter(table))
    expected = textbook(attn, patches, tokens, (2, 6, 6))
    assert all(torch.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(given, expected, strict=True))


@pytest.mark.parametrize(
    ("dim_out", "stride_q", "stride_kv"),
    [(12, None, (1, 4, 4)), (12, (1, 2, 2), (1, 2, 2)), (24, (1, 1, 1), (1, 4, 4)), (24, (2, 2, 2), (1, 8, 8))],
)
@pytest.mark.parametrize("dropping", [False, True])
def test_block_equals_the_textbook_form(dim_out, stride_q, stride_kv, dropping, monkeypatch):
    torch.manual_seed(0)
    size = (2, 9, 10)
    block = drawn(MultiScaleBlock(12, dim_out, 2, size, (3, 3, 3), stride_q, stride_kv, mlp_ratio=2.0))
    patches, tokens = inputs(3, 5, size, 12)
    factors = [torch.ones(3, 1, 1, dtype=torch.float64)] * 2
    if dropping:
        # The first sample loses its attention, the last its MLP.
        factors = [torch.tensor(f, dtype=torch.float64).view(3, 1, 1) for f in ((0, 1.5, 1.5), (1.5, 1.5, 0))]
        asked = iter(factors)
        monkeypatch.setattr(block.drop_path, "factors", lambda like: next(asked))
    expected = textbook_block(block, patches, tokens, size, *factors)
    given = block(patches, tokens, size)
    assert given[2] == expected[2]
    assert_equal_with_gradients(given[:2], expected[:2], wanted(block, patches, tokens))


def test_block_without_patches_gives_the_same_tokens():
    torch.manual_seed(0)
    size = (2, 9, 10)
    block = drawn(MultiScaleBlock(12, 24, 2, size, (3, 3, 3), (1, 2, 2), (1, 4, 4)))
    patches, tokens = inputs(2, 5, size, 12)
    _, expected, pooled = block(patches, tokens, size)
    nothing, given, also_pooled = block(patches, tokens, size, read_patches=False)
    assert nothing is None
    assert torch.equal(given, expected)
    assert pooled == also_pooled == (2, 5, 5)
    given.sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


def test_block_leaves_its_input_as_it_is():
    """Branches are added in place; what came in may be kept by others (checkpointing, the tokens of each block)."""
    torch.manual_seed(0)
    block = drawn(MultiScaleBlock(12, 12, 2, (2, 4, 4), (3, 3, 3), None, (1, 2, 2), drop_path=0.5)).train()
    patches, tokens = (part.detach() for part in inputs(4, 5, (2, 4, 4), 12))
    before = patches.clone(), tokens.clone()
    block(patches, tokens, (2, 4, 4))
    assert torch.equal(patches, before[0])
    assert torch.equal(tokens, before[1])
