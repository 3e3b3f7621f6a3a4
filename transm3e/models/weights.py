"""Weights in: read checkpoints safely, load them into a model, and say what was and was not loaded."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transm3e.errors import UserError


@dataclass(frozen=True)
class LoadReport:
    """Names of parameters and buffers.

    Attributes:
        loaded: copied into the model.
        missing: in the model only; they keep their values.
        unused: in the checkpoint only.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.loaded)} tensors loaded, {len(self.missing)} missing, {len(self.unused)} unused"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a .pyth file: tensors, numbers, text, lists and dicts only; nothing in it is executed.

    Raises:
        UserError: the file is missing, damaged, holds other objects, or is not a checkpoint (no tensors in "model_state").
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no checkpoint at {file.absolute()}; check the path")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{file}: damaged, or holds objects other than tensors and plain values; use another checkpoint"
        ) from error
    except Exception as error:
        # A damaged file makes torch's and pickle's readers raise nearly anything: IndexError, KeyError, struct.error ...
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file}: not a readable checkpoint ({why}); use another one") from error
    weights = state.get("model_state") if isinstance(state, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError(
            f'{file}: no tensors in "model_state", so it is not a checkpoint of this project; use another one'
        )
    return state


def load_weights(
    model: nn.Module,
    weights: str | Path | Mapping[str, Tensor],
    allow_missing: Sequence[str] = (),
    name: str = "the state dict",
) -> LoadReport:
    """Copy weights into a model; nothing is loaded unless everything fits.

    Args:
        model: any device.
        weights: a checkpoint's path, or a state dict.
        allow_missing: beginnings of names that the checkpoint need not hold.
        name: what messages call a state dict; a path stands for itself.

    Raises:
        UserError: a tensor is missing, not used, or of another shape: the checkpoint belongs to another model.
    """
    name = name if isinstance(weights, Mapping) else str(weights)
    given = dict(weights) if isinstance(weights, Mapping) else read_checkpoint(weights)["model_state"]
    own = model.state_dict()
    reshaped = [k for k in own if k in given and own[k].shape != given[k].shape]
    report = LoadReport(
        loaded=tuple(k for k in own if k in given),
        missing=tuple(k for k in own if k not in given),
        unused=tuple(k for k in given if k not in own),
    )
    missing = [k for k in report.missing if not k.startswith(tuple(allow_missing))]
    if reshaped or missing or report.unused:
        raise UserError(
            f"{name} belongs to another model than {type(model).__name__} as configured: "
            f"{_some('missing', missing)}, {_some('unused', report.unused)}, {_some('of another shape', reshaped)}; "
            "use its own config, or a checkpoint of this one"
        )
    model.load_state_dict({**own, **{k: given[k] for k in report.loaded}})
    return report


def _some(kind: str, names: Sequence[str]) -> str:
    shown = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)} {kind}{shown}"
