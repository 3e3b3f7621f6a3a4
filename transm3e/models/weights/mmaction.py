"""Converts recognizers of MMAction2 (0.x and 1.x) to our names: SlowOnly, TSN and MViTv2; other networks are refused.

Facts: mmaction/models/backbones/resnet3d.py, resnet3d_slowfast.py and mvit.py, configs/_base_/models/*.py. Its Video Swin
is the authors' (videoswin.py), its ST-GCN is PYSKL's (stgcn.py).
"""

from __future__ import annotations

from transm3e.errors import UserError
from transm3e.models.weights.mvit import convert_pyslowfast_mvit
from transm3e.models.weights.rename import Rules, renamed
from transm3e.models.weights.resnet import HEAD, convert_resnet
from transm3e.models.weights.source import Converted, State, register_source

MARKER = r"^backbone\.(conv1\.(conv|bn)\.|(slow|fast)_path\.|patch_embed\.projection\.)"
STEM, PATCHES = "backbone.conv1.conv.weight", "backbone.patch_embed.projection.weight"
# To PySlowFast's names; a ConvModule holds conv and bn.
RESNET: Rules = (
    (r"^backbone\.conv1\.", "s1.pathway0_stem."),
    *((rf"^backbone\.layer{stage}\.(\d+)\.", rf"s{stage + 1}.pathway0_res\1.") for stage in (1, 2, 3, 4)),
    *((rf"(res\d+)\.conv{i}\.conv\.", rf"\1.branch2.{part}.") for i, part in ((1, "a"), (2, "b"), (3, "c"))),
    *((rf"(res\d+)\.conv{i}\.bn\.", rf"\1.branch2.{part}_bn.") for i, part in ((1, "a"), (2, "b"), (3, "c"))),
    (r"\.downsample\.conv\.", ".branch1."),
    (r"\.downsample\.bn\.", ".branch1_bn."),
    (r"^cls_head\.fc_cls\.", HEAD),
)
MVIT: Rules = (
    (r"^backbone\.patch_embed\.projection\.", "patch_embed.proj."),
    (r"^backbone\.norm\d+\.", "norm."),  # numbered after its stage, the last one
    (r"^backbone\.", ""),
    (r"^(cls_head\.fc_cls|head\.fc)\.", "head.projection."),
)
# Part of a name -> why a network with such names is refused.
OTHER_NETS = {
    "backbone.slow_path.": "its SlowFast has neither batch norm nor ReLU after the lateral convolutions, ours "
    "(PySlowFast's) has both; use PySlowFast's weights",
    ".non_local_block.": "it has non-local blocks, which are not implemented; use weights without them",
    ".conv.net.": "it is TSM, which shifts channels in time and is not implemented; use SlowOnly or PySlowFast's weights",
}
I3D = (
    "its I3D halves time in the first convolution and the pool after it (conv1_stride_t and pool1_stride_t 2), ours "
    "(PySlowFast's) keeps all frames; use PySlowFast's I3D"
)


@register_source("mmaction", MARKER)
def convert_mmaction(state: State, own: State) -> Converted:
    """SlowOnly to Slow; TSN's image model, inflated; MViTv2.

    Raises:
        UserError: a network that differs from ours of the same name.
    """
    for part, why in OTHER_NETS.items():
        if any(part in name for name in state):
            raise UserError(f"MMAction2: {why}")
    if PATCHES in state:
        return convert_pyslowfast_mvit(renamed(state, MVIT))
    if STEM in state and state[STEM].dim() == 5 and state[STEM].shape[2] > 1:
        raise UserError(f"MMAction2: {I3D}")
    return convert_resnet(renamed(state, RESNET), own)
