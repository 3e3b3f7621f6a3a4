"""Finds the project that a checkpoint comes from, by its names."""

from __future__ import annotations

import re

from transm3e.models.weights.source import SOURCES, Converted, State, register_source

OURS = "transm3e"


@register_source(OURS, r"^backbone\.")
def convert_ours(state: State, own: State) -> Converted:
    """Our own names."""
    return Converted(dict(state))


def find_source(state: State, own: State | None = None) -> str | None:
    """The source that uses these names, or None.

    It is ours if the model has at least half of the names, unless a marker matches one of the others. Else the sources'
    markers decide, in the order of SOURCES. Last, a single common name makes it ours (a checkpoint of another model of
    this project).

    Args:
        state: the checkpoint, without wrappers' prefixes.
        own: the model's state, if known.
    """
    common = sum(name in own for name in state) if own else 0
    is_ours = 2 * common >= len(state) and (common or not state)
    names = [name for name in state if name not in (own or ())] if is_ours else state
    for source in SOURCES:
        marker = SOURCES[source].marker
        if marker and any(re.search(marker, name) for name in names):
            return source
    return OURS if common or is_ours else None
