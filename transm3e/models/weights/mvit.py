"""Converts MViTv2 of torchvision, timm and PySlowFast, for video and for images, to our names.

Sources of the names: torchvision/models/video/mvit.py, timm/models/mvitv2.py, PySlowFast's video_model_builder.py.
"""

from __future__ import annotations

import re

from torch import Tensor

from transm3e.errors import UserError
from transm3e.models.weights.rename import INTO_BACKBONE, Rules, renamed, under_prefix
from transm3e.models.weights.resnet import STEM, convert_resnet
from transm3e.models.weights.source import Converted, State, register_source
from transm3e.models.weights.videoswin import IN_STAGES, convert_timm_swin

TORCHVISION: Rules = (
    (r"^pos_encoding\.class_token$", "cls_token"),
    (r"^head\.1\.", "head."),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"attn\.project\.0\.", "attn.proj."),
    (r"attn\.pool_(.)\.pool\.", r"attn.pool_\1."),
    (r"attn\.pool_(.)\.norm_act\.0\.", r"attn.norm_\1."),
    (r"mlp\.0\.", "mlp.fc1."),
    (r"mlp\.3\.", "mlp.fc2."),
    (r"(blocks\.\d+)\.project\.", r"\1.proj."),
    *INTO_BACKBONE,
)
PYSLOWFAST: Rules = ((r"^head\.projection\.", "head."), *INTO_BACKBONE)
TOKENS = r"(^|\.)(cls_token|mcts|receivers)$"
TEMPORAL_TABLES = r"\.rel_pos_t$"
FIRST_MVIT = (
    "it is MViT's first version (absolute positions), which does not fit MViTv2; "
    "use MViTv2 weights of torchvision, PySlowFast or timm"
)


def convert_torchvision_mvit(state: State) -> Converted:
    """mvit_v2_s of torchvision."""
    ours = renamed(state, TORCHVISION)
    # Stored as (D).
    ours["cls_token"] = ours["cls_token"].reshape(1, 1, -1)
    return Converted(ours)


@register_source("timm", rf"^stages\.\d+\.blocks\.\d+\.attn\.pool_k\.|^{IN_STAGES}")
def convert_timm(state: State, own: State) -> Converted:
    """Image models mvitv2_*, whose blocks timm numbers within their stage, and swin_*."""
    if any(re.search(IN_STAGES, name) for name in state):
        return convert_timm_swin(state, own)
    stages = sorted({int(found[1]) for name in state if (found := re.match(r"stages\.(\d+)\.", name))})
    rules: list[tuple[str, str]] = []
    first = 0
    for stage in stages:
        pattern = re.compile(rf"^stages\.{stage}\.blocks\.(\d+)\.")
        depth = 1 + max((int(found[1]) for name in state if (found := pattern.match(name))), default=-1)
        rules += [(rf"^stages\.{stage}\.blocks\.{block}\.", f"blocks.{first + block}.") for block in range(depth)]
        first += depth
    names = ((r"^head\.fc\.", "head."), (r"^(blocks\.\d+)\.shortcut_proj_attn\.", r"\1.proj."), *INTO_BACKBONE)
    return _image_or_video(renamed(state, (*rules, *names)))


def convert_pyslowfast_mvit(state: State) -> Converted:
    """MViTv2 of PySlowFast or of Meta's image repository (mvit).

    Raises:
        UserError: the first MViT.
    """
    if any(name.startswith("pos_embed") for name in state):
        raise UserError(FIRST_MVIT)
    return _image_or_video(renamed(state, PYSLOWFAST))


def _image_or_video(state: dict[str, Tensor]) -> Converted:
    kernel = state.get("backbone.patch_embed.proj.weight")
    if kernel is None or kernel.dim() != 4:
        return Converted(state)
    absent = (TEMPORAL_TABLES,) if "cls_token" in state else (TEMPORAL_TABLES, TOKENS)
    lacking = "" if "cls_token" in state else ", no class tokens"
    return Converted(state, absent=absent, image=True, notes=(f"an image model: no rel_pos_t{lacking}",))


@register_source("pytorchvideo", r"^(blocks\.\d+\.(res_blocks|multipathway_blocks)\.|cls_positional_encoding\.)")
def convert_pytorchvideo(state: State, own: State) -> Converted:
    """ResNets and SlowFast unchanged, under the prefix of the net in our model.

    pytorchvideo's MViT has absolute positions and separate q, k and v, so it cannot be MViTv2.
    """
    if any(name.startswith("cls_positional_encoding.") for name in state):
        raise UserError(FIRST_MVIT)
    return Converted(under_prefix(state, own))


@register_source("pyslowfast", rf"{STEM}|^blocks\.\d+\.attn\.pool_k\.weight$")
def convert_pyslowfast(state: State, own: State) -> Converted:
    """Video and image MViTv2; C2D, I3D, Slow and SlowFast in pytorchvideo's names."""
    if any(re.search(STEM, name) for name in state):
        return convert_resnet(state, own)
    return convert_pyslowfast_mvit(state)
