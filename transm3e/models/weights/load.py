"""Loads weights into a model, all or none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from transm3e.errors import UserError
from transm3e.models.weights.detect import find_source
from transm3e.models.weights.files import NOTE, read_checkpoint
from transm3e.models.weights.fit import check_values, fit
from transm3e.models.weights.rename import apply_weight_mapping
from transm3e.models.weights.source import SOURCES, Converted, State
from transm3e.models.weights.tables import LoadReport, some
from transm3e.models.weights.wrappers import unwrap

AUTO = "auto"


def load_weights(
    model: nn.Module,
    weights: str | Path | Mapping[str, Tensor],
    allow_missing: Sequence[str] = (),
    name: str = "the state dict",
    source: str = AUTO,
) -> LoadReport:
    """Copy weights into a model; nothing is loaded unless everything fits.

    A single class token is added to the MCTs that the model has, so load into a newly built model; see fit.

    Args:
        model: on any device. If it has a `weight_mapping`, it also takes the weights of a model that it contains
            (apply_weight_mapping).
        weights: a checkpoint's path, or a state dict.
        allow_missing: beginnings of parameter names that may be missing from the checkpoint or have another shape
            there; these parameters keep their values.
        name: what messages call a state dict; a file is named by its path.
        source: project whose names these are, one of SOURCES, or "auto": recognised by the names.

    Raises:
        UserError: a tensor is missing, unused, or of another shape, so the checkpoint is of another model; its source is
            unknown; values that the model cannot take (complex, integer, NaN, infinite); or
            read_checkpoint's reasons.
    """
    name = name if isinstance(weights, Mapping) else str(weights)
    read = {"model_state": weights} if isinstance(weights, Mapping) else read_checkpoint(weights)
    own, given = model.state_dict(), read["model_state"]
    another = f"{name} belongs to another model than {type(model).__name__} as configured"
    source, converted = _convert(given, {**dict(model.named_buffers()), **own}, source, name, another)
    if mapping := getattr(model, "weight_mapping", None):
        converted = apply_weight_mapping(converted, own, mapping)
    allowed = tuple(allow_missing)
    check_values(converted.state, own, allowed, name)
    state, changed = fit(converted, own)
    problems = _problems(converted, state, own, allowed)
    if any(problems.values()):
        raise UserError(
            f"{another}: {', '.join(some(kind, names) for kind, names in problems.items())}; "
            "use its own config or a checkpoint of this one, or name what may keep its random initialisation "
            "(TRAIN.CHECKPOINT_ALLOW, --allow), such as head. for another number of classes"
        )
    kept = [k for k in own if k in state and own[k].shape != state[k].shape]
    report = LoadReport(
        loaded=tuple(k for k in own if k in state and k not in kept),
        missing=tuple(k for k in own if k not in state or k in kept),
        unused=converted.dropped,
        reshaped=tuple((k, changed[k]) for k in own if k in changed and k not in kept),
        source=source,
        notes=(
            *filter(None, [read.get(NOTE)]),
            *converted.notes,
            *(f"{k} is {tuple(state[k].shape)} there" for k in kept),
        ),
    )
    model.load_state_dict({**own, **{k: state[k] for k in report.loaded}})
    return report


def _convert(given: State, own: State, source: str, name: str, another: str) -> tuple[str, Converted]:
    try:
        inner = unwrap(given, own, "" if source == AUTO else source)
        plain = inner.state
        found = find_source(plain, own) if source == AUTO else source
        converted = SOURCES[found].convert(plain, own) if found else None
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    if not found or not converted:
        raise UserError(
            f"{another}: its names ({', '.join([*plain][:3])}, ...) are of no known source; "
            f"known: {', '.join(SOURCES)}; use another checkpoint, or name its source"
        )
    dropped, notes = (*inner.dropped, *converted.dropped), (*inner.notes, *converted.notes)
    return found, replace(converted, dropped=dropped, notes=notes)


def _problems(converted: Converted, state: State, own: State, allowed: tuple[str, ...]) -> dict[str, list[str]]:
    absent = [re.compile(pattern) for pattern in converted.absent]
    needed = [k for k in own if not k.startswith(allowed)]
    return {
        "missing": [k for k in needed if k not in state and not any(pattern.search(k) for pattern in absent)],
        "unused": [k for k in state if k not in own],
        "of another shape": [k for k in needed if k in state and own[k].shape != state[k].shape],
    }
