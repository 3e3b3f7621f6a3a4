"""ResNets of PySlowFast (C2D, I3D, Slow, SlowFast) in pytorchvideo's names.

Facts of the names: PySlowFast's stem_helper.py, resnet_helper.py and video_model_builder.py; pytorchvideo's
models/resnet.py and models/slowfast.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from transm3e.models.weights.rename import Rules, rename, under_prefix
from transm3e.models.weights.source import Converted, State

STEM = r"^s1\.pathway\d_stem\."
# Slow and create_resnet; C2D and I3D have a pool as block 2, SlowFast one as block 5.
BLOCKS = (0, 1, 2, 3, 4, 5)
# Stage, pathway (none in the fusion from fast to slow), residual block (none in the stem), the rest.
PLACE = re.compile(r"^s([1-5])(?:_fuse|\.pathway(\d)_(?:stem|res(\d+)))\.(.+)$")
HEAD = "head.projection."
INSIDE: Rules = (
    (r"^bn\.", "norm."),
    (r"^conv_f2s\.", "conv_fast_to_slow."),
    (r"^branch1\.", "branch1_conv."),
    (r"^branch1_bn\.", "branch1_norm."),
    (r"^branch2\.([abc])\.", r"branch2.conv_\1."),
    (r"^branch2\.([abc])_bn\.", r"branch2.norm_\1."),
)
# Checkpoints that came from Caffe2 have none, and only a momentum of None reads them.
COUNTERS = r"\.num_batches_tracked$"


def pytorchvideo_name(name: str, pathways: int = 1, blocks: Sequence[int] = BLOCKS) -> str:
    """PySlowFast's name of a ResNet's tensor -> pytorchvideo's.

    Args:
        name: e.g. s2.pathway0_res0.branch2.a.weight; what is no such name (non-local blocks) comes back as it is.
        pathways: 1, or 2 for SlowFast.
        blocks: numbers of pytorchvideo's blocks that hold s1, s2, s3, s4, s5 and the head.
    """
    if name.startswith(HEAD):
        return f"blocks.{blocks[5]}.proj.{name.removeprefix(HEAD)}"
    found = PLACE.match(name)
    if found is None:
        return name
    stage, pathway, block, rest = found.groups()
    start, rest = f"blocks.{blocks[int(stage) - 1]}.", rename(rest, INSIDE)
    if pathway is None:
        return f"{start}multipathway_fusion.{rest}"
    path = f"multipathway_blocks.{pathway}." if pathways > 1 else ""
    return f"{start}{path}{f'res_blocks.{block}.' if block else ''}{rest}"


def convert_resnet(state: State, own: State) -> Converted:
    """C2D, I3D, Slow or SlowFast of PySlowFast, under the prefix where our model holds pytorchvideo's net."""
    pathways = 2 if any(".pathway1_" in name for name in state) else 1
    blocks = _blocks(own)
    theirs = {pytorchvideo_name(name, pathways, blocks): tensor for name, tensor in state.items()}
    return Converted(under_prefix(theirs, own), absent=(COUNTERS,))


def _blocks(own: State) -> Sequence[int]:
    """The six of pytorchvideo's blocks that have parameters."""
    found = {int(place[1]) for name in own if (place := re.search(r"(?:^|\.)blocks\.(\d+)\.", name))}
    return sorted(found) if len(found) == len(BLOCKS) else BLOCKS
