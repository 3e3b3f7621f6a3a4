"""Converts Swin Transformers for video and for images to torchvision's names of SwinTransformer3d.

Sources of the names: Video-Swin-Transformer and mmaction2 (mmaction/models/backbones/swin*.py), timm and the Swin authors
(swin_transformer.py), torchvision/models/swin_transformer.py.
"""

from __future__ import annotations

import re
from math import isqrt

from torch import Tensor

from transm3e.errors import UserError
from transm3e.models.weights.rename import Rules, renamed, under_prefix
from transm3e.models.weights.source import Converted, State, register_source

TABLE = "attn.relative_position_bias_table"
INDEX = "attn.relative_position_index"
PATCH_KERNEL = "patch_embed.proj.weight"
# Derived from the sizes of windows and clips, not weights.
DERIVED = re.compile(r"\.(relative_position_index|attn_mask)$")
# In the names of timm, of the Swin authors and, after "backbone.", of Video Swin.
IN_STAGES = rf"layers\.\d+\.blocks\.\d+\.{re.escape(TABLE)}$"
NAMES: Rules = (
    # mmaction2 numbers norms by stage; only the last one is kept.
    (r"^norm\d+\.", "norm."),
    (r"^(cls_head\.fc_cls|head\.fc)\.", "head."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)


@register_source("videoswin", rf"^backbone\.{IN_STAGES}")
def convert_videoswin(state: State, own: State) -> Converted:
    """Video Swin of its authors or of mmaction2; an image model under these names is inflated.

    Raises:
        UserError: its windows are not the model's.
    """
    return _converted(state, ((r"^backbone\.", ""), *_stage_rules(state, "backbone.layers.")), own)


def convert_timm_swin(state: State, own: State) -> Converted:
    """Image models swin_* of timm or of the Swin authors.

    Raises:
        UserError: its windows are not the model's.
    """
    return _converted(state, _stage_rules(state, "layers."), own)


def is_torchvision_image(state: State) -> bool:
    """Whether these are the names of torchvision's swin_t, swin_s or swin_b."""
    return "features.0.0.weight" in state and any(name.endswith(TABLE) for name in state)


def convert_torchvision_image(state: State, own: State) -> Converted:
    """torchvision's image models, whose patch embedding is `features.0` and shifts all stages by one.

    Raises:
        UserError: its windows are not the model's.
    """
    earlier = [(rf"^features\.{i}\.", f"features.{i - 1}.") for i in _numbers(state, "features.") if i]
    first = ((r"^features\.0\.0\.", "patch_embed.proj."), (r"^features\.0\.2\.", "patch_embed.norm."))
    return _converted(state, (*first, *earlier), own)


def _stage_rules(state: State, start: str) -> Rules:
    # The authors merge patches at the end of a stage, timm (since 0.9) at the beginning of the next.
    after = 1 if any(name.startswith(f"{start}0.downsample.") for name in state) else -1
    stages = _numbers(state, start)
    blocks = [(rf"^layers\.{i}\.blocks\.", f"features.{2 * i}.") for i in stages]
    merging = [(rf"^layers\.{i}\.downsample\.", f"features.{2 * i + after}.") for i in stages]
    return (*blocks, *merging, *NAMES)


def _numbers(state: State, start: str) -> list[int]:
    """The numbers that follow `start` in names, in order."""
    return sorted({int(found[1]) for name in state if (found := re.match(rf"{re.escape(start)}(\d+)\.", name))})


def _converted(state: State, rules: Rules, own: State) -> Converted:
    """Convert to torchvision's video names under the model's prefix; repeat an image model's tables over time.

    A table serves all 2 T - 1 relative positions in time (Video Swin, on initialising from image models); the patch
    kernel is inflated later (see fit). Position indices and masks are the model's own.
    """
    dropped = tuple(name for name in state if DERIVED.search(name))
    ours = under_prefix(renamed({name: state[name] for name in state if name not in dropped}, rules), own)
    is_image = any(name.endswith(PATCH_KERNEL) and ours[name].dim() == 4 for name in ours)
    changed = {}
    for name in [name for name in ours if name.endswith(TABLE) and name in own]:
        steps = _steps(ours[name], own[name], own[name.removesuffix(TABLE) + INDEX], is_image)
        if steps > 1:
            ours[name] = ours[name].repeat(steps, 1)
            changed[name] = f"repeated over {steps} relative positions in time"
    notes = ("an image model: no positions in time",) if is_image else ()
    return Converted(ours, changed, (rf"{re.escape(INDEX)}$",), dropped, is_image, notes)


def _steps(given: Tensor, wanted: Tensor, index: Tensor, is_image: bool) -> int:
    """How often to repeat the rows of a table: once for a video model, 2 T - 1 times for an image model.

    Raises:
        UserError: the table is of another window; a table of other heads is refused later, by its shape.
    """
    if given.dim() != 2 or not given.numel() or given.shape[1] != wanted.shape[1]:
        return 1
    (rows, wanted_rows), side = (len(given), len(wanted)), (isqrt(len(given)) + 1) // 2
    steps = wanted_rows // rows if is_image else 1
    # Rows are the product of 2 n - 1 over the sides n of a window, its patches that of n.
    if rows * steps == wanted_rows and (not is_image or (steps + 1) // 2 * side**2 == len(index)):
        return steps
    window = f"an image window of {side}x{side} patches" if is_image else "another window"
    raise UserError(
        f"it was trained with {window} (tables of {rows} relative positions), which do not fit VIDEOSWIN.WINDOW_SIZE "
        f"({wanted_rows}); set VIDEOSWIN.WINDOW_SIZE to its window, or use other weights"
    )
