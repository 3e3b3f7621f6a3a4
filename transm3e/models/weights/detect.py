"""Which project a checkpoint is of, by its names."""

from __future__ import annotations

import re

from transm3e.models.weights.source import SOURCES, Converted, State, register_source

OURS = "transm3e"


@register_source(OURS, r"^backbone\.")
def convert_ours(state: State, own: State) -> Converted:
    """Our own names."""
    return Converted(dict(state))


def find_source(state: State, own: State | None = None) -> str | None:
    """The source whose names these are, or None.

    Half of the names in common with the model make it ours, unless others are another source's; then the sources'
    markers decide, in the order of SOURCES; last, any name in common makes it ours (a checkpoint of another model of
    this project).

    Args:
        state: the checkpoint, without wrappers' prefixes.
        own: the model's state, if there is one.
    """
    common = sum(name in own for name in state) if own else 0
    is_ours = 2 * common >= len(state) and (common or not state)
    names = [name for name in state if name not in (own or ())] if is_ours else state
    for source in SOURCES:
        marker = SOURCES[source].marker
        if marker and any(re.search(marker, name) for name in names):
            return source
    return OURS if common or is_ours else None
