"""Names of ResNets' tensors: Caffe2's and torchvision's -> PySlowFast's -> pytorchvideo's, which are ours.

Facts: PySlowFast's stem_helper.py, resnet_helper.py, video_model_builder.py and c2_model_loading.py; torchvision's
models/resnet.py; pytorchvideo's models/resnet.py and models/slowfast.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from transm3e.models.weights.rename import Rules, rename

# Of PySlowFast, and of the Caffe2 files in its model zoo.
STEM = r"^(s1\.pathway\d_stem\.|res_conv1_bn_)"
IMAGE_STEM = "layer1.0.conv1.weight"
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
