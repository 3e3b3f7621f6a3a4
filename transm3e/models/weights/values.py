"""Tensors whose values a model cannot take over: refused by name before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from transm3e.errors import UserError
from transm3e.models.weights.report import some
from transm3e.models.weights.source import State


def check_values(state: State, own: State, allowed: Sequence[str], name: str) -> None:
    """Weights are dense, finite and floating point; a model's integer buffers take integers.

    Args:
        state: the checkpoint in our names, before shapes are fitted; "cls_token" may stand for "mcts".
        own: the model's state.
        allowed: beginnings of names that may have another shape: where they have, they are not loaded, nor checked.
        name: what messages call the checkpoint.

    Raises:
        UserError: names the first few tensors that are complex, integer, sparse, empty shells or not finite.
    """
    strange: list[str] = []
    infinite: list[str] = []
    for key, given in state.items():
        wanted = own.get("mcts" if key == "cls_token" and key not in own else key)
        if wanted is None or (key.startswith(tuple(allowed)) and given.shape != wanted.shape):
            continue
        if not _same_kind(given, wanted):
            strange.append(f"{key}: {_kind(given)} for {_kind(wanted)}")
        elif not given.is_meta and not torch.isfinite(given.to(wanted.dtype)).all():
            infinite.append(key)
    if strange or infinite:
        found = [some(kind, keys) for kind, keys in (("of another kind", strange), ("not finite", infinite)) if keys]
        raise UserError(
            f"{name}: tensors that the model cannot take: {', '.join(found)}; weights are dense, finite and floating "
            "point; use another checkpoint"
        )


def _same_kind(given: Tensor, wanted: Tensor) -> bool:
    if given.layout != torch.strided or (given.is_meta and not wanted.is_meta):
        return False
    return (given.is_complex(), given.is_floating_point()) == (wanted.is_complex(), wanted.is_floating_point())


def _kind(tensor: Tensor) -> str:
    parts = [str(tensor.dtype), *([str(tensor.layout)] if tensor.layout != torch.strided else [])]
    return " ".join(part.removeprefix("torch.") for part in parts) + (" without values" if tensor.is_meta else "")
