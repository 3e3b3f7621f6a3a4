"""Renames tensors: rules, weight mappings, prefixes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from transm3e.errors import UserError
from transm3e.models.weights.source import Converted, State

# (pattern, replacement as for re.sub), applied one after the other.
Rules = Sequence[tuple[str, str]]

# Modules of the backbone of MViT and TransM3E, in PySlowFast's names.
INTO_BACKBONE: Rules = ((r"^(patch_embed|blocks|norm)\.", r"backbone.\1."),)


def rename(name: str, rules: Rules) -> str:
    """One name after all rules."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def renamed(state: State, rules: Rules) -> dict[str, Tensor]:
    """All names after all rules.

    Raises:
        UserError: two tensors get the same name.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = rename(name, rules)
        if new in result:
            raise UserError(f"two tensors are both {new}, one of them {name}; use a checkpoint of one model")
        result[new] = tensor
    return result


def apply_weight_mapping(converted: Converted, own: State, mapping: Mapping[str, Sequence[str]]) -> Converted:
    """Rename a model's weights for a model that contains it, once or several times.

    Args:
        converted: weights under the inner model's names.
        own: the outer model's state; names that are in it are kept.
        mapping: beginning of an inner name -> beginnings that replace it, one for each copy, () = the tensor is dropped;
            the first match counts.
    """
    mapped: dict[str, Tensor] = {}
    dropped = list(converted.dropped)
    for name, tensor in converted.state.items():
        start = next((start for start in mapping if name not in own and name.startswith(start)), None)
        names = [name] if start is None else [new + name.removeprefix(start) for new in mapping[start]]
        mapped.update(dict.fromkeys(names, tensor))
        dropped += [] if names else [name]
    return replace(converted, state=mapped, dropped=tuple(dropped))


def under_prefix(state: State, own: State) -> dict[str, Tensor]:
    """Tensors under the prefix that the model puts before these names, e.g. net. in net.blocks.0.conv.weight.

    The prefix that matches most names is taken, the shortest of several; if no name matches, none.
    """
    votes: Counter[str] = Counter()
    for name in own:
        starts = [0, *(dot.end() for dot in re.finditer(r"\.", name))]
        votes.update(name[:start] for start in starts if name[start:] in state)
    prefix = min(votes, key=lambda p: (-votes[p], len(p)), default="")
    return {prefix + name: tensor for name, tensor in state.items()}
