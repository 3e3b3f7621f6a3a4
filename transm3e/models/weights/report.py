"""What was and was not loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """Names of parameters and buffers; ours where the model has them, else the checkpoint's.

    Attributes:
        loaded: copied into the model.
        missing: in the model only, or of another shape and allowed to be; they keep their values.
        unused: in the checkpoint only.
        reshaped: (name, what was done) of loaded tensors that were interpolated, inflated, spread or reordered.
        source: the converter, a name of SOURCES.
        notes: what else the reader should know, one sentence each.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    reshaped: tuple[tuple[str, str], ...] = ()
    source: str = "transm3e"
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} tensors loaded, {len(self.missing)} missing, {len(self.unused)} unused"
        reshaped = f", {len(self.reshaped)} reshaped" if self.reshaped else ""
        source = f" (names of {self.source})" if self.source != "transm3e" else ""
        return "; ".join((counts + reshaped + source, *self.notes))


def some(kind: str, names: Sequence[str]) -> str:
    """How many there are of a kind, and the first three, e.g. "1 missing (head.bias)"."""
    shown = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)} {kind}{shown}"
