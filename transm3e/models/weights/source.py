"""The registry of converters from other projects' names of weights, and their result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from transm3e.registry import Registry

State = Mapping[str, Tensor]


@dataclass
class Converted:
    """A checkpoint under our names.

    Attributes:
        state: our name -> tensor in the checkpoint's shape.
        changed: our name -> how the converter changed the values, in a few words.
        absent: patterns (re.search) of our names that such checkpoints lack.
        dropped: names of the checkpoint without a counterpart in the model; `notes` say why.
        image: whether kernels without a time axis (or with one time step) are to be inflated.
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
    """The names that a project gives to weights.

    Attributes:
        convert: (checkpoint, the model's own state) -> Converted; raises UserError for what it cannot convert.
        marker: pattern (re.search) of names that only this project has; None = never recognised, must be named.
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
