"""Pooling in the token layout against PyTorch's convolution and max pool of channels-first grids, with gradients."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from transm3e.layers import pooling, pooling_choice
from transm3e.layers.pooling import conv_pool, max_pool, pooled_size, take_read
from transm3e.layers.pooling_choice import CHOICES, fixed, gpu_conv

WIDTH = 4


def patches_of(batch, size, dtype=torch.float64):
    return torch.randn(batch, size[0] * size[1] * size[2], WIDTH, dtype=dtype, requires_grad=True)


def weight_of(kernel, dtype=torch.float64):
    return torch.randn(WIDTH, 1, *kernel, dtype=dtype, requires_grad=True)


def channels_first(patches, size):
    return patches.transpose(1, 2).unflatten(2, size)


def reference_conv(patches, weight, size, stride):
    padding = [k // 2 for k in weight.shape[2:]]
    out = functional.conv3d(channels_first(patches, size), weight, None, stride, padding, groups=WIDTH)
    return out.flatten(2).transpose(1, 2)


def reference_max(patches, size, stride):
    kernel = [s + 1 if s > 1 else s for s in stride]
    out = functional.max_pool3d(channels_first(patches, size), kernel, stride, [k // 2 for k in kernel])
    return out.flatten(2).transpose(1, 2)


def gradients_of(like):
    """Dense, transposed and expanded gradients of an output."""
    yield torch.randn_like(like)
    yield torch.randn(like.shape[0], like.shape[2], like.shape[1], dtype=like.dtype).transpose(1, 2)
    yield torch.randn(like.shape[2], dtype=like.dtype).expand_as(like)


def assert_equal_with_gradients(given, expected, inputs, tolerance):
    assert given.shape == expected.shape
    assert (given - expected).abs().max() <= tolerance * max(1, expected.abs().max())
    for gradient in gradients_of(expected):
        ours, theirs = (torch.autograd.grad(out, inputs, gradient, retain_graph=True) for out in (given, expected))
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            assert (one - other).abs().max() <= tolerance * max(1, other.abs().max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (5, 3, 3)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (1, 4, 8), (2, 2, 2)])
@pytest.mark.parametrize(("batch", "size"), [(1, (4, 6, 7)), (2, (3, 9, 10)), (2, (1, 5, 5)), (1, (2, 1, 4))])
def test_conv_pool_equals_conv3d(dtype, tolerance, kernel, stride, batch, size):
    torch.manual_seed(0)
    patches, weight = patches_of(batch, size, dtype), weight_of(kernel, dtype)
    expected = reference_conv(patches, weight, size, stride)
    pooled = conv_pool(patches, weight, size, stride)
    assert pooled.shape[1] == torch.Size(pooled_size(size, stride)).numel()
    assert_equal_with_gradients(pooled, expected, (patches, weight), tolerance)
    with torch.no_grad():
        assert torch.allclose(conv_pool(patches, weight, size, stride), expected, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (5, 3, 3), (3, 1, 5)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (3, 1, 4)])
@pytest.mark.parametrize(("batch", "size"), [(2, (5, 6, 7)), (1, (1, 5, 5)), (2, (2, 1, 4))])
def test_each_choice_of_a_kernel_equals_conv3d(name, kernel, stride, batch, size):
    torch.manual_seed(0)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        patches, weight = patches_of(batch, size, dtype), weight_of(kernel, dtype)
        with fixed(name):
            pooled = conv_pool(patches, weight, size, stride)
        assert_equal_with_gradients(pooled, reference_conv(patches, weight, size, stride), (patches, weight), tolerance)


def test_the_fastest_kernel_is_measured_once_per_shape(monkeypatch):
    asked, seconds = [], {"channels_last": 3.0, "contiguous": float("inf"), "frames": 2.0}
    monkeypatch.setattr(pooling_choice, "_fastest", {})
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    names = {conv: name for name, conv in CHOICES.items()}
    monkeypatch.setattr(pooling_choice, "_seconds", lambda conv, *_: asked.append(names[conv]) or seconds[names[conv]])
    grid, weight = torch.randn(2, 3, 4, 4, WIDTH), weight_of((3, 3, 3), torch.float32)
    for _ in range(2):
        assert gpu_conv(grid, weight, (1, 1, 1)) is CHOICES["frames"]
        assert asked == list(CHOICES)
    gpu_conv(grid, weight, (1, 2, 2))
    assert len(asked) == 2 * len(CHOICES)
    # With DETERMINISTIC nothing is measured.
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    assert gpu_conv(grid, weight, (1, 1, 1)) is CHOICES["channels_last"]


def test_a_kernel_is_measured_within_an_activation_checkpoint(monkeypatch):
    """What measuring saves for gradients is none of the checkpoint's; a choice that does not run is not taken."""

    def broken(*_):
        raise RuntimeError("unable to find an engine to execute this computation")

    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None, elapsed_time=lambda end: 1.0)
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: event)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(pooling_choice, "_fastest", {})
    monkeypatch.setitem(CHOICES, "channels_last", broken)
    grid, weight = patches_of(2, (3, 4, 4), torch.float64).unflatten(1, (3, 4, 4)), weight_of((3, 3, 3), torch.float64)
    calls = []

    def block(grid):
        calls.append(gpu_conv(grid, weight, (1, 2, 2)))
        return calls[-1](grid, weight, (1, 2, 2)).sin()

    expected = torch.autograd.grad(pooling_choice.frames(grid, weight, (1, 2, 2)).sin().sum(), weight)
    gradient = torch.autograd.grad(checkpoint(block, grid, use_reentrant=False).sum(), weight)
    assert calls == [CHOICES["contiguous"]] * 2
    assert torch.allclose(gradient[0], expected[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (5, 3, 3), (3, 1, 5)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (1, 3, 1)])
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_depthwise_gradient_is_that_of_conv3d(kernel, stride, frames, batch):
    """In float64, where its sums of 2D convolutions must agree to rounding; frames fewer than the kernel reaches."""
    torch.manual_seed(0)
    size = (frames, 6, 7)
    patches, weight = patches_of(batch, size), weight_of(kernel)
    out = pooling._DepthwiseConv.apply(patches.unflatten(1, size), weight, stride).flatten(1, 3)
    assert_equal_with_gradients(out, reference_conv(patches, weight, size, stride), (patches, weight), 1e-13)


def test_bf16_gradients_of_few_frames_and_of_one_window():
    """Two frames under a kernel of three, and windows whose output is a single position."""
    torch.manual_seed(0)
    for size, stride in (
        ((2, 8, 8), (1, 1, 1)),
        ((2, 4, 4), (1, 2, 2)),
        ((4, 4, 4), (1, 8, 8)),
        ((1, 1, 1), (1, 2, 2)),
    ):
        patches, weight = patches_of(2, size, torch.bfloat16), weight_of((3, 3, 3), torch.bfloat16)
        exact_patches, exact_weight = (tensor.detach().double().requires_grad_() for tensor in (patches, weight))
        expected = reference_conv(exact_patches, exact_weight, size, stride)
        # Freed memory that holds something, as after a real forward pass.
        rest = [torch.full((1 << n,), 1e4, dtype=torch.bfloat16) for n in range(6, 18)]
        del rest
        given = torch.autograd.grad(conv_pool(patches, weight, size, stride).sum(), (patches, weight))
        for one, other in zip(given, torch.autograd.grad(expected.sum(), (exact_patches, exact_weight)), strict=True):
            assert (one.double() - other).abs().max() <= 0.02 * other.abs().max()


@pytest.mark.parametrize(("stride", "lean"), [((1, 2, 2), True), ((2, 1, 1), False)])
def test_only_temporal_stride_1_takes_the_lean_gradient(stride, lean):
    patches, weight = patches_of(1, (4, 5, 5), torch.float32), weight_of((3, 3, 3), torch.float32)
    # The graph lives as long as its output.
    out = conv_pool(patches, weight, (4, 5, 5), stride)
    seen, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        seen.add(node.name())
        todo += [following for following, _ in node.next_functions if following is not None]
    assert any("DepthwiseConv" in name for name in seen) == lean


@pytest.mark.parametrize("frozen", ["patches", "weight"])
def test_one_gradient_where_the_other_is_frozen(frozen):
    torch.manual_seed(0)
    size = (3, 5, 5)
    inputs = {"patches": patches_of(2, size, torch.float32), "weight": weight_of((3, 3, 3), torch.float32)}
    inputs[frozen].requires_grad_(False)
    wanted = [tensor for name, tensor in inputs.items() if name != frozen]
    expected = reference_conv(*inputs.values(), size, (1, 2, 2))
    assert_equal_with_gradients(conv_pool(*inputs.values(), size, (1, 2, 2)), expected, wanted, 1e-5)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (1, 1, 2), (1, 4, 4), (2, 2, 2), (2, 1, 1)])
# The last has more positions than two bytes count.
@pytest.mark.parametrize(("batch", "size"), [(2, (3, 6, 7)), (1, (2, 5, 4)), (3, (1, 1, 8)), (1, (1, 182, 182))])
def test_max_pool_equals_max_pool3d(stride, batch, size):
    torch.manual_seed(0)
    patches = patches_of(batch, size)
    pooled = max_pool(patches, size, stride)
    assert pooled.shape == (batch, torch.Size(pooled_size(size, stride)).numel(), WIDTH)
    assert torch.equal(pooled, reference_max(patches, size, stride))
    assert_equal_with_gradients(pooled, reference_max(patches, size, stride), [patches], 1e-15)


def test_what_comes_back_is_dense():
    """Tokens side by side in memory, without a copy: the linear layers that follow read rows."""
    patches, weight = patches_of(2, (3, 8, 8), torch.float32), weight_of((3, 3, 3), torch.float32)
    assert max_pool(patches, (3, 8, 8), (1, 1, 1)) is patches
    assert max_pool(patches, (3, 8, 8), (1, 2, 2)).is_contiguous()
    assert conv_pool(patches, weight, (3, 8, 8), (1, 2, 2)).is_contiguous()
    with torch.no_grad():
        assert conv_pool(patches, weight, (3, 8, 8), (1, 1, 1)).is_contiguous()


sizes = st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20))
kernels = st.tuples(*[st.sampled_from([1, 3, 5])] * 3)
strides = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))


@given(sizes, kernels, strides, st.integers(1, 2))
@example((2, 9, 10), (3, 3, 3), (1, 4, 4), 2)
@example((1, 8, 8), (3, 3, 3), (1, 8, 8), 2)
@example((3, 16, 17), (3, 3, 3), (1, 8, 8), 1)
@example((4, 1, 2), (3, 5, 5), (4, 9, 9), 1)
@settings(max_examples=80, deadline=None)
def test_what_a_convolution_does_not_read_may_be_left_out(size, kernel, stride, batch):
    torch.manual_seed(0)
    patches, weight = patches_of(batch, size), weight_of(kernel)
    read, left, step = take_read(patches, size, kernel, stride)
    assert read.shape == (batch, left[0] * left[1] * left[2], WIDTH)
    assert pooled_size(left, step) == pooled_size(size, stride)
    expected = reference_conv(patches, weight, size, stride)
    assert_equal_with_gradients(conv_pool(read, weight, left, step), expected, (patches, weight), 1e-13)
    # Each that is left is read: it has a gradient.
    (touched,) = torch.autograd.grad(expected, patches, torch.ones_like(expected))
    if all(s > k for s, k in zip(stride, kernel, strict=True)):
        assert read.shape[1] == int((touched[0, :, 0] != 0).sum())


def test_nothing_is_copied_where_everything_is_read():
    patches = patches_of(2, (2, 6, 6))
    read, size, stride = take_read(patches, (2, 6, 6), (3, 3, 3), (2, 3, 3))
    assert read.untyped_storage().data_ptr() == patches.untyped_storage().data_ptr()
    assert (size, stride) == ((2, 6, 6), (2, 3, 3))


@given(sizes, kernels, strides)
@settings(max_examples=80, deadline=None)
def test_pooled_size_is_that_of_the_convolution_and_the_max_pool(size, kernel, stride):
    grid, weight = torch.empty(1, 1, *size, device="meta"), torch.empty(1, 1, *kernel, device="meta")
    conv = functional.conv3d(grid, weight, None, stride, [k // 2 for k in kernel])
    assert tuple(conv.shape[2:]) == pooled_size(size, stride)
    if all(s == 1 or s % 2 == 0 for s in stride):
        # An odd stride above 1 makes the max pool's kernel even, whose padding may give a position more.
        assert reference_max(torch.zeros(1, grid.numel(), WIDTH), size, stride).shape[1] == conv.numel()
