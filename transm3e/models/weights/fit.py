"""Tensors of a checkpoint brought to the model's shapes where that has a meaning: tokens, tables, kernels."""

from __future__ import annotations

import re

from torch import Tensor

from transm3e.layers.relative_position import resized
from transm3e.models.weights.source import Converted, State

TABLE = re.compile(r"\.rel_pos_[thw]$")
SPREAD = "one class token added to each drawn token"


def fit(converted: Converted, own: State) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The checkpoint's tensors in the model's shapes, as far as they can be, and what was done to which.

    - One class token is added to each of the model's drawn MCTs, and to each receiver where the checkpoint has none.
      Equal tokens would get equal gradients and stay equal for ever; the draw (N(0, 0.02)) tells them apart. Receivers
      drawn as zeros (TRANSM3E.RECEIVER_INIT) are equal before and after.
    - Relative-position tables of another length are interpolated linearly, as the model does at run time.
    - Kernels of an image model are repeated over the model's temporal length and divided by it
      (Carreira and Zisserman, CVPR 2017), so that a clip of equal frames gives what the frame gives.
    """
    state, changed = _place_tokens(converted.state, own), dict(converted.changed)
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


def _place_tokens(state: dict[str, Tensor], own: State) -> dict[str, Tensor]:
    if "cls_token" not in state or "mcts" not in own or "mcts" in state:
        return dict(state)
    placed = {name: tensor for name, tensor in state.items() if name != "cls_token"}
    placed["mcts"] = token = state["cls_token"]
    if "receivers" in own and token.shape[:-1] == (1, 1):
        placed.setdefault("receivers", token)
    return placed


def _inflatable(given: Tensor, wanted: Tensor) -> bool:
    one_step = _in_time(given).shape
    return wanted.dim() == 5 and one_step == (*wanted.shape[:2], 1, *wanted.shape[3:])


def _inflate(kernel: Tensor, length: int) -> Tensor:
    return _in_time(kernel).repeat(1, 1, length, 1, 1) / length


def _in_time(kernel: Tensor) -> Tensor:
    return kernel.unsqueeze(2) if kernel.dim() == 4 else kernel
