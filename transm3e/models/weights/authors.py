"""The authors' TransM3E: student and teacher in one file (their slowfast/models/video_model_builder.py).

Their fusion takes (receivers, MCTs): token 1, t1 and pathway 1 are the receivers, token 2 and t2 the MCTs.
"""

from __future__ import annotations

import re

from torch import Tensor, cat

from transm3e.models.weights.rename import INTO_BACKBONE, Rules, renamed
from transm3e.models.weights.source import Converted, State, register_source

MARKER = r"^(cls_token_distill$|blocks_diff\.|fuse\.attn_mixed_cls_tokens\.)"
OF_TEACHER = re.compile(r"^(patch_embed|blocks|norm|cls_token)_diff(\.|$)")
# Their output projections -> our maps (values' stream _ query, key); "_2" marks values of t2.
MAPS = {
    "t1t1": "r_rr",
    "t1t2": "r_rm",
    "t2t1": "r_mr",
    "t2t2": "m_mm",
    "t1t2_2": "m_rm",
    "t2t1_2": "m_mr",
}
STUDENT: Rules = (
    (r"^cls_token$", "mcts"),
    (r"^cls_token_distill$", "receivers"),
    (r"^head_cls\.projection\.", "head."),
    (r"^fuse\.norm1_token1\.", "fusion.norm_r."),
    (r"^fuse\.norm1_token2\.", "fusion.norm_m."),
    (r"^fuse\.attn_mixed_cls_tokens\.w([qkv])_t1\.", r"fusion.inputs.\1_r."),
    (r"^fuse\.attn_mixed_cls_tokens\.w([qkv])_t2\.", r"fusion.inputs.\1_m."),
    *((rf"^fuse\.attn_mixed_cls_tokens\.proj_{t}\.", f"fusion.outputs.{ours}.") for t, ours in MAPS.items()),
    (r"^fuse\.attn_mixed_cls_tokens\.proj\.", "fusion.fuse."),
    (r"^fuse\.norm2_pathway1\.", "fusion.norm_f."),
    (r"^fuse\.mlp_pathway1\.", "fusion.mlp."),
    *INTO_BACKBONE,
)
TEACHER: Rules = ((r"^cls_token_diff$", "mcts"), (r"^(patch_embed|blocks|norm)_diff\.", r"backbone.\1."))
FIRST_OF_FUSE = "fusion.fuse.0.weight"


@register_source("authors", MARKER)
def convert_student(state: State, own: State) -> Converted:
    """The student: receivers, MCTs, fusion and head; their q, k and v have no biases (MCTF.QKV_BIAS False)."""
    teacher = tuple(name for name in state if OF_TEACHER.match(name))
    ours = renamed({name: tensor for name, tensor in state.items() if name not in teacher}, STUDENT)
    changed = {}
    if FIRST_OF_FUSE in ours:
        # Its input is the two streams concatenated: receivers first in theirs, MCTs first in ours.
        ours[FIRST_OF_FUSE] = _swap_halves(ours[FIRST_OF_FUSE])
        changed[FIRST_OF_FUSE] = "halves swapped: in the file receivers come first"
    notes = ("the teacher is left out (source authors_teacher reads it)",) if teacher else ()
    return Converted(ours, changed, dropped=teacher, notes=notes)


@register_source("authors_teacher", None)
def convert_teacher(state: State, own: State) -> Converted:
    """The teacher: a TransM3E without receivers; the file does not hold its head."""
    student = tuple(name for name in state if not OF_TEACHER.match(name))
    ours = renamed({name: tensor for name, tensor in state.items() if name not in student}, TEACHER)
    notes = ("the teacher only; the file does not hold its head",)
    return Converted(ours, absent=(r"^head\.",), dropped=student, notes=notes)


def _swap_halves(weight: Tensor) -> Tensor:
    return cat(weight.chunk(2, dim=1)[::-1], dim=1)
