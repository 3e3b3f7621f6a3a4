"""Converts PySlowFast's C2D, I3D, Slow, SlowFast and X3D, and torchvision's image ResNets, to our ResNet and SlowFast."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from transm3e.models.weights.rename import Rules, rename, renamed, under_prefix
from transm3e.models.weights.source import Converted, State

# Sources of the names: PySlowFast's stem_helper.py, resnet_helper.py, video_model_builder.py and c2_model_loading.py;
# torchvision's models/resnet.py; pytorchvideo's models/resnet.py and models/slowfast.py, whose names are ours.
# Stem of PySlowFast's models, and of the Caffe2 files in its model zoo.
STEM = r"^(s1\.pathway\d_stem\.|res_conv1_bn_)"
IMAGE_STEM = "layer1.0.conv1.weight"
# Slow and create_resnet; C2D and I3D have a pool as block 2, SlowFast one as block 5.
BLOCKS = (0, 1, 2, 3, 4, 5)
# Stage, pathway (none in the fusion from fast to slow), residual block (none in the stem), the rest.
POSITION = re.compile(r"^s([1-5])(?:_fuse|\.pathway(\d)_(?:stem|res(\d+)))\.(.+)$")
HEAD = "head.projection."
INSIDE: Rules = (
    (r"^bn\.", "norm."),
    (r"^conv_f2s\.", "conv_fast_to_slow."),
    (r"^branch1\.", "branch1_conv."),
    (r"^branch1_bn\.", "branch1_norm."),
    (r"^branch2\.([abc])\.", r"branch2.conv_\1."),
    (r"^branch2\.([abc])_bn\.", r"branch2.norm_\1."),
)
# torchvision's names -> PySlowFast's.
IMAGE: Rules = (
    (r"^conv1\.", "s1.pathway0_stem.conv."),
    (r"^bn1\.", "s1.pathway0_stem.bn."),
    (r"^fc\.", HEAD),
    *((rf"^layer{stage}\.(\d+)\.", rf"s{stage + 1}.pathway0_res\1.") for stage in (1, 2, 3, 4)),
    (r"\.conv1\.", ".branch2.a."),
    (r"\.bn1\.", ".branch2.a_bn."),
    (r"\.conv2\.", ".branch2.b."),
    (r"\.bn2\.", ".branch2.b_bn."),
    (r"\.conv3\.", ".branch2.c."),
    (r"\.bn3\.", ".branch2.c_bn."),
    (r"\.downsample\.0\.", ".branch1."),
    (r"\.downsample\.1\.", ".branch1_bn."),
)
# PySlowFast's names of X3D that differ -> those of its ResNets with pytorchvideo's names inside.
X3D: Rules = (
    (r"_stem\.conv\.", "_stem.conv.conv_xy."),
    (r"_stem\.conv_xy\.", "_stem.conv.conv_t."),
    (r"\.branch2\.b_bn\.", ".branch2.norm_b.0."),
    (r"\.branch2\.se\.fc1\.", ".branch2.norm_b.1.block.0."),
    (r"\.branch2\.se\.fc2\.", ".branch2.norm_b.1.block.2."),
    (r"^head\.conv_5\.", "blocks.5.pool.pre_conv."),
    (r"^head\.conv_5_bn\.", "blocks.5.pool.pre_norm."),
    (r"^head\.lin_5\.", "blocks.5.pool.post_conv."),
    (r"^head\.lin_5_bn\.", "blocks.5.pool.post_norm."),
)
# Names of the Caffe2 files in PySlowFast's model zoo -> PySlowFast's; t_ is the fast pathway, pred the head.
CAFFE2: Rules = (
    (r"^pred_", HEAD),
    (r"^t_pool1_subsample_(bn_)?", r"s1_fuse.\1"),
    (r"^t_res(\d)_\d+_branch2c_bn_subsample_(bn_)?", r"s\1_fuse.\2"),
    (r"^(s\d_fuse\.)(?!bn_)", r"\1conv_f2s."),
    (r"^t_(res_conv1|conv1|res\d)", r"1_\1"),
    (r"^(res_conv1|conv1|res\d)", r"0_\1"),
    (r"^(\d)_res_conv1_bn_", r"s1.pathway\1_stem.bn_"),
    (r"^(\d)_conv1_", r"s1.pathway\1_stem.conv."),
    (r"^(\d)_res(\d)_(\d+)_branch(1|2(?=[abc]))", r"s\2.pathway\1_res\3.branch\4"),
    (r"branch2([abc])", r"branch2.\1"),
    (r"bn_s$", "bn.weight"),
    (r"bn_b$", "bn.bias"),
    (r"bn_rm$", "bn.running_mean"),
    (r"bn_riv$", "bn.running_var"),
    (r"[._]w$", ".weight"),
    (r"[._]b$", ".bias"),
)


def pytorchvideo_name(name: str, pathways: int = 1, blocks: Sequence[int] = BLOCKS) -> str:
    """PySlowFast's name of a ResNet's tensor -> pytorchvideo's.

    Args:
        name: e.g. s2.pathway0_res0.branch2.a.weight; other names (non-local blocks) are returned unchanged.
        pathways: 1, or 2 for SlowFast.
        blocks: numbers of pytorchvideo's blocks that hold s1, s2, s3, s4, s5 and the head.
    """
    if name.startswith(HEAD):
        return f"blocks.{blocks[5]}.proj.{name.removeprefix(HEAD)}"
    found = POSITION.match(name)
    if found is None:
        return name
    stage, pathway, block, rest = found.groups()
    start, rest = f"blocks.{blocks[int(stage) - 1]}.", rename(rest, INSIDE)
    if pathway is None:
        return f"{start}multipathway_fusion.{rest}"
    path = f"multipathway_blocks.{pathway}." if pathways > 1 else ""
    return f"{start}{path}{f'res_blocks.{block}.' if block else ''}{rest}"


# Caffe2's optimiser state.
CAFFE2_STATE = re.compile(r"_momentum$|^lr$|^model_iter$")
# Missing in checkpoints from Caffe2; used only by batch norms whose momentum is None.
COUNTERS = r"\.num_batches_tracked$"
# Parts of SlowFast that an image model lacks.
FAST = r"\.(multipathway_blocks\.1|multipathway_fusion)\."
# The slow pathway's first kernels after a fusion, and the fusion's own kernel, in the block before.
FUSED = re.compile(r"blocks\.(\d+)\.multipathway_blocks\.0\.res_blocks\.0\.(branch1_conv|branch2\.conv_a)\.weight$")
FUSION = "multipathway_fusion.conv_fast_to_slow.weight"
NOPOOL = "Caffe2's names: the C2D of PySlowFast's model zoo has no max pool over time, MODEL.ARCH c2d_nopool"
STILL = "weights without time: the fast pathway, and the slow pathway's input channels from it, keep their random initialisation"


def convert_resnet(state: State, own: State) -> Converted:
    """C2D, I3D, Slow, SlowFast or X3D of PySlowFast, under the prefix of pytorchvideo's net in our model.

    A net without temporal kernels (of images, or C2D) is inflated, and can initialise SlowFast's slow pathway: the parts
    of its kernels that read channels from the fast pathway keep their random initialisation.
    """
    given = state
    state, dropped = _without_caffe2(given)
    if any("_stem.conv_xy." in name for name in state):
        state = renamed(state, X3D)
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
    """torchvision's resnet50, resnet101 or resnet152, for video ResNets of the same depth."""
    return convert_resnet(renamed(state, IMAGE), own)


def _without_caffe2(state: State) -> tuple[State, tuple[str, ...]]:
    """Caffe2's names converted to PySlowFast's, and the dropped names of Caffe2's optimiser state."""
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
            changed[name] = f"{done}, inflated, its last {more} input channels randomly initialised"
    return Converted(wide, changed, (COUNTERS, FAST), dropped, image=True, notes=(STILL,))


def _from_fast(own: State) -> dict[str, int]:
    """Name of each kernel of the slow pathway after a fusion -> number of its (last) input channels from the fusion."""
    result = {}
    for name in own:
        if found := FUSED.search(name):
            before = f"{name[: found.start()]}blocks.{int(found[1]) - 1}.{FUSION}"
            result[name] = len(own[before]) if before in own else 0
    return result


def _is_narrow(kernel: Tensor, drawn: Tensor, more: int) -> bool:
    """Whether `kernel` is an image kernel (O, I, [1,] H, W) for `drawn`, a video kernel (O, I + more, T, H, W)."""
    shape = (len(drawn), drawn.shape[1] - more, *((1,) if kernel.dim() == 5 else ()), *drawn.shape[3:])
    dense = kernel.is_floating_point() and kernel.layout == torch.strided and kernel.is_meta == drawn.is_meta
    return bool(more) and dense and kernel.shape == shape


def _widened(kernel: Tensor, drawn: Tensor) -> Tensor:
    wide = drawn.clone()
    one_step = kernel.detach() if kernel.dim() == 5 else kernel.detach().unsqueeze(2)
    wide[:, : kernel.shape[1]] = one_step / drawn.shape[2]
    return wide


def _blocks(own: State) -> Sequence[int]:
    """Numbers of pytorchvideo's six blocks that have parameters."""
    found = {int(place[1]) for name in own if (place := re.search(r"(?:^|\.)blocks\.(\d+)\.", name))}
    return sorted(found) if len(found) == len(BLOCKS) else BLOCKS
