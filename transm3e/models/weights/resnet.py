"""ResNets of PySlowFast (C2D, I3D, Slow, SlowFast) and of images (torchvision) for our ResNet and SlowFast."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from transm3e.models.weights.rename import renamed, under_prefix
from transm3e.models.weights.resnet_names import BLOCKS, CAFFE2, IMAGE, pytorchvideo_name
from transm3e.models.weights.source import Converted, State

# Of its optimiser.
CAFFE2_STATE = re.compile(r"_momentum$|^lr$|^model_iter$")
# Checkpoints that came from Caffe2 have none, and only a momentum of None reads them.
COUNTERS = r"\.num_batches_tracked$"
# What weights of images cannot give SlowFast.
FAST = r"\.(multipathway_blocks\.1|multipathway_fusion)\."
# The slow pathway's first kernels behind a fusion, and the fusion's own, a block before.
FUSED = re.compile(r"blocks\.(\d+)\.multipathway_blocks\.0\.res_blocks\.0\.(branch1_conv|branch2\.conv_a)\.weight$")
FUSION = "multipathway_fusion.conv_fast_to_slow.weight"
NOPOOL = "Caffe2's names: the C2D of PySlowFast's model zoo has no max pool over time, MODEL.ARCH c2d_nopool"
STILL = "weights without time: the fast pathway, and what the slow one reads of it, keep drawn values"


def convert_resnet(state: State, own: State) -> Converted:
    """C2D, I3D, Slow or SlowFast of PySlowFast, under the prefix where our model holds pytorchvideo's net.

    A net without temporal kernels, as one of images or C2D, is inflated, and may start SlowFast's slow pathway: where
    that reads further channels, which come from the fast pathway, their part of the kernel keeps the drawn values.
    """
    given = state
    state, dropped = _without_caffe2(given)
    two, into_two = any(".pathway1_" in name for name in state), any(re.search(FAST, name) for name in own)
    blocks = _blocks(own)
    theirs = {pytorchvideo_name(name, 2 if two or into_two else 1, blocks): tensor for name, tensor in state.items()}
    ours = under_prefix(theirs, own)
    image = not two and all(tensor.dim() < 5 or tensor.shape[2] == 1 for tensor in state.values())
    if image and into_two:
        return _into_slow_pathway(ours, own, dropped)
    caffe2 = any(name.endswith("conv1_w") for name in given)
    notes = (NOPOOL,) if caffe2 and image and "net.blocks.0.conv.weight" in own else ()
    return Converted(ours, absent=(COUNTERS,), dropped=dropped, image=image, notes=notes)


def convert_image_resnet(state: State, own: State) -> Converted:
    """torchvision's resnet50, resnet101 or resnet152 for the ResNets over video of the same depth."""
    return convert_resnet(renamed(state, IMAGE), own)


def _without_caffe2(state: State) -> tuple[State, tuple[str, ...]]:
    """PySlowFast's names, where these are Caffe2's, and the names that belong to Caffe2's optimiser."""
    if not any(name.startswith("res_conv1_bn_") for name in state):
        return state, ()
    dropped = tuple(name for name in state if CAFFE2_STATE.search(name))
    return renamed({name: tensor for name, tensor in state.items() if name not in dropped}, CAFFE2), dropped


def _into_slow_pathway(ours: dict[str, Tensor], own: State, dropped: tuple[str, ...]) -> Converted:
    wide, changed = dict(ours), {}
    for name, more in _from_fast(own).items():
        if name in ours and _is_narrow(ours[name], own[name], more):
            wide[name] = _widened(ours[name], own[name])
            done = f"{tuple(ours[name].shape)} -> {tuple(own[name].shape)}"
            changed[name] = f"{done}, inflated, its last {more} input channels as drawn"
    return Converted(wide, changed, (COUNTERS, FAST), dropped, image=True, notes=(STILL,))


def _from_fast(own: State) -> dict[str, int]:
    """The slow pathway's kernels behind a fusion -> how many of their input channels, the last, the fusion gives."""
    result = {}
    for name in own:
        if found := FUSED.search(name):
            before = f"{name[: found.start()]}blocks.{int(found[1]) - 1}.{FUSION}"
            result[name] = len(own[before]) if before in own else 0
    return result


def _is_narrow(kernel: Tensor, drawn: Tensor, more: int) -> bool:
    """Whether it is a kernel of images (O, I, [1,] H, W) for one over time (O, I + more, T, H, W)."""
    shape = (len(drawn), drawn.shape[1] - more, *((1,) if kernel.dim() == 5 else ()), *drawn.shape[3:])
    dense = kernel.is_floating_point() and kernel.layout == torch.strided and kernel.is_meta == drawn.is_meta
    return bool(more) and dense and kernel.shape == shape


def _widened(kernel: Tensor, drawn: Tensor) -> Tensor:
    wide = drawn.clone()
    one_step = kernel.detach() if kernel.dim() == 5 else kernel.detach().unsqueeze(2)
    wide[:, : kernel.shape[1]] = one_step / drawn.shape[2]
    return wide


def _blocks(own: State) -> Sequence[int]:
    """The six of pytorchvideo's blocks that have parameters."""
    found = {int(place[1]) for name in own if (place := re.search(r"(?:^|\.)blocks\.(\d+)\.", name))}
    return sorted(found) if len(found) == len(BLOCKS) else BLOCKS
