"""Where tokens are compared: the positions of table 4 (paper, section C.2, Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence

from transm3e.config.schema import choices

# After every block; after each block that reduces the patches and the last one; after the last block; as the tokens
# enter the first block, at the patch embedding.
DENSE, SPARSE, FINAL, PATCH_EMBED = POSITIONS = choices("DISTILL.POSITION")


def positions_of(position: str, q_strides: Sequence[Sequence[int]], depth: int) -> tuple[int, ...]:
    """Indices in ModelOutput's lists of tokens that DISTILL.POSITION compares: 0 before the first block, i + 1 after block i.

    Args:
        position: one of POSITIONS.
        q_strides: (block, t, h, w), strides of q's pooling; a block reduces the patches if one of t, h, w is above 1.
        depth: number of blocks.

    Returns:
        ascending indices, each once.
    """
    reducing = {block + 1 for block, *stride in q_strides if max(stride) > 1}
    indices = {
        DENSE: set(range(1, depth + 1)),
        SPARSE: reducing | {depth},
        FINAL: {depth},
        PATCH_EMBED: {0},
    }[position]
    return tuple(sorted(indices))
