"""Reports on checkpoints and on what was loaded of them, as text tables with a line per group of names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from torch import Tensor

from transm3e.models.weights.detect import find_source
from transm3e.models.weights.files import NOTE, read_checkpoint
from transm3e.models.weights.wrappers import unwrap


@dataclass(frozen=True)
class LoadReport:
    """Names of parameters and buffers; ours where the model has them, else the checkpoint's.

    Attributes:
        loaded: copied into the model.
        missing: in the model only, or of another shape where that is allowed; they keep their values.
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


def group_of(name: str) -> str:
    """blocks.3.attn.qkv.weight -> blocks.3; fusion.inputs.q_m.weight -> fusion.inputs; head.weight -> head."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    end = number + 1 if number is not None else max(1, min(2, len(parts) - 1))
    return ".".join(parts[:end])


def checkpoint_table(path: str | Path, every: bool = False) -> str:
    """Contents of a file: source, sizes, epoch and config if present, then tensor_table.

    Raises:
        UserError: see read_checkpoint.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint["model_state"]
    inner = unwrap(state)
    plain = inner.state
    count = sum(tensor.numel() for tensor in state.values())
    facts = [f"{path}: source {find_source(plain) or 'not known by its names'}, {len(state)} tensors, {count:,} values"]
    facts += [*filter(None, [checkpoint.get(NOTE)]), *inner.notes]
    if isinstance(checkpoint.get("epoch"), Integral):
        facts.append(f"epoch {checkpoint['epoch']}")
    if isinstance(checkpoint.get("cfg"), str):
        facts.append(f"a config of {len(checkpoint['cfg'].splitlines())} lines")
    return f"{'; '.join(facts)}\n{tensor_table(plain, every)}"


def tensor_table(state: Mapping[str, Tensor], every: bool = False) -> str:
    """Tensors and values per group with its largest tensor, or every tensor with its shape and type."""
    if every:
        return "\n".join(
            f"{name:<60} {_shape(t):<20} {str(t.dtype).removeprefix('torch.')}" for name, t in state.items()
        )
    lines = [f"{'group':<32} {'tensors':>7} {'values':>12}  largest"]
    for group, names in _groups(state).items():
        count = sum(state[name].numel() for name in names)
        largest = max(names, key=lambda name: state[name].numel())
        shape = _shape(state[largest])
        lines.append(f"{group:<32} {len(names):>7} {count:>12,}  {largest.removeprefix(group + '.')} {shape}")
    return "\n".join(lines)


def report_table(report: LoadReport) -> str:
    """The report's line, then a line per group of reshaped, missing and unused names."""
    lines = [str(report)]
    done = dict(report.reshaped)
    for kind, names in (("reshaped", tuple(done)), ("missing", report.missing), ("unused", report.unused)):
        for group, members in _groups(names).items():
            first = members[0].removeprefix(group + ".")
            what = f": {done[members[0]]}" if kind == "reshaped" else ""
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            lines.append(f"  {kind:<9} {group:<32} {first}{what}{more}")
    return "\n".join(lines)


def _groups(names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    return groups


def _shape(tensor: Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "scalar"
