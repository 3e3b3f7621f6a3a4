"""Where tokens are compared: the positions of table 4 (paper, section C.2, Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence

from transm3e.config.schema import choices

# After every block; after each block that reduces the patches and the last one; after the last block; as the tokens
# enter the first block, at the patch embedding.
DENSE, SPARSE, FINAL, PATCH_EMBED = POSITIONS = choices("DISTILL.POSITION")


def places_of(position: str, q_strides: Sequence[Sequence[int]], depth: int) -> tuple[int, ...]:
    """The places of a position in ModelOutput's lists of tokens: 0 is before the first block, i + 1 after block i.

    Args:
        position: one of POSITIONS.
        q_strides: (block, t, h, w): the stride of q's pooling; a block reduces the patches where one is above 1.
        depth: number of blocks.

    Returns:
        ascending places, each once.
    """
    reducing = {block + 1 for block, *stride in q_strides if max(stride) > 1}
    places = {
        DENSE: set(range(1, depth + 1)),
        SPARSE: reducing | {depth},
        FINAL: {depth},
        PATCH_EMBED: {0},
    }[position]
    return tuple(sorted(places))
