"""Where weights may come from: the registry of converters, and what a converter gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from transm3e.registry import Registry

State = Mapping[str, Tensor]


@dataclass
class Converted:
    """A checkpoint in our names.

    Attributes:
        state: our names -> tensors, of the checkpoint's shapes.
        changed: our name -> what the converter did to its values, in a few words.
        absent: patterns (re.search) of our names that such a checkpoint cannot give.
        dropped: names of the checkpoint that have no place in the model, and why is in `notes`.
        image: kernels without time (or with one step of it) are to be inflated.
        notes: sentences for the report.
    """

    state: dict[str, Tensor]
    changed: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    image: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A project's way of naming weights.

    Attributes:
        convert: (checkpoint, the model's own state) -> Converted; raises UserError for what it cannot hold.
        marker: pattern (re.search) of names that only this project has; None = told by name only.
    """

    convert: Callable[[State, State], Converted]
    marker: str | None


# In the order in which their markers are tried: PySlowFast's names are part of several others'.
SOURCES: Registry[Source] = Registry("source (or auto)")


def register_source(
    name: str, marker: str | None
) -> Callable[[Callable[[State, State], Converted]], Callable[[State, State], Converted]]:
    """Decorator that makes a converter a source; see Source."""

    def add(convert: Callable[[State, State], Converted]) -> Callable[[State, State], Converted]:
        SOURCES.register(name)(Source(convert, marker))
        return convert

    return add
