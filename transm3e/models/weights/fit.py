"""Fits a checkpoint's tensors to the model's shapes where that is meaningful, and refuses tensors of unusable values."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from transm3e.errors import UserError
from transm3e.layers.relative_position import resized
from transm3e.models.weights.source import Converted, State
from transm3e.models.weights.tables import some

TABLE = re.compile(r"\.rel_pos_[thw]$")
SPREAD = "one class token added to each token's random initialisation"


def fit(converted: Converted, own: State) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The checkpoint's tensors, fitted to the model's shapes as far as possible, and name -> what was done.

    - A single class token is added to each of the model's MCTs as initialised, and to each receiver if the checkpoint
      has none. Equal tokens would get equal gradients and stay equal; the initialisation (N(0, 0.02)) tells them apart.
      Receivers initialised to zeros (TRANSM3E.RECEIVER_INIT) stay equal.
    - Relative-position tables of another length are interpolated linearly, as the model does at run time.
    - Kernels of an image model are repeated over the model's temporal length and divided by it
      (Carreira and Zisserman, CVPR 2017), so that a clip of equal frames gives what the frame gives.
    """
    state, changed = _map_class_token(converted.state, own), dict(converted.changed)
    for name in own.keys() & state.keys():
        given, wanted = state[name], own[name]
        if given.shape == wanted.shape:
            continue
        if TABLE.search(name) and given.dim() == 2 and given.shape[1] == wanted.shape[1]:
            state[name], done = resized(given.to(wanted.dtype), len(wanted)), "interpolated"
        elif name in ("mcts", "receivers") and _is_class_token(given, wanted, converted):
            state[name], done = given.to(wanted) + wanted, SPREAD
        elif converted.image and _inflatable(given, wanted):
            state[name], done = _inflate(given, wanted.shape[2]), "inflated"
        else:
            continue
        changed[name] = f"{tuple(given.shape)} -> {tuple(state[name].shape)}, {done}"
    return state, changed


def _is_class_token(given: Tensor, wanted: Tensor, converted: Converted) -> bool:
    return "cls_token" in converted.state and given.shape == (1, 1, wanted.shape[-1])


def _map_class_token(state: dict[str, Tensor], own: State) -> dict[str, Tensor]:
    if "cls_token" not in state or "mcts" not in own or "mcts" in state:
        return dict(state)
    mapped = {name: tensor for name, tensor in state.items() if name != "cls_token"}
    mapped["mcts"] = token = state["cls_token"]
    if "receivers" in own and token.shape[:-1] == (1, 1):
        mapped.setdefault("receivers", token)
    return mapped


def _inflatable(given: Tensor, wanted: Tensor) -> bool:
    one_step = _in_time(given).shape
    return wanted.dim() == 5 and one_step == (*wanted.shape[:2], 1, *wanted.shape[3:])


def _inflate(kernel: Tensor, length: int) -> Tensor:
    return _in_time(kernel).repeat(1, 1, length, 1, 1) / length


def _in_time(kernel: Tensor) -> Tensor:
    return kernel.unsqueeze(2) if kernel.dim() == 4 else kernel


def check_values(state: State, own: State, allowed: Sequence[str], name: str) -> None:
    """Refuse weights that are not dense, finite and floating point; integer buffers need integers.

    Args:
        state: the checkpoint in our names, before shapes are fitted; "cls_token" may take the place of "mcts".
        own: the model's state.
        allowed: beginnings of names that may have another shape: such tensors are neither loaded nor checked.
        name: what messages call the checkpoint.

    Raises:
        UserError: names the first few tensors that are complex, integer, sparse, without values (meta) or not finite.
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
