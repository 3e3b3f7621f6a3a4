"""Names of tensors: rules, places, prefixes."""

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

# What MViT's and TransM3E's backbone holds, in PySlowFast's names.
INTO_BACKBONE: Rules = ((r"^(patch_embed|blocks|norm)\.", r"backbone.\1."),)


def rename(name: str, rules: Rules) -> str:
    """One name after all rules."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def renamed(state: State, rules: Rules) -> dict[str, Tensor]:
    """All names after all rules.

    Raises:
        UserError: two tensors come to one name.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = rename(name, rules)
        if new in result:
            raise UserError(f"two tensors are both {new}, one of them {name}; use a checkpoint of one model")
        result[new] = tensor
    return result


def put_in_places(converted: Converted, own: State, places: Mapping[str, Sequence[str]]) -> Converted:
    """One model's weights under every name where a model that holds it, once or several times, wants them.

    Args:
        converted: with the one model's names.
        own: the holding model's state; a name that it has itself stays.
        places: beginnings of the one model's names -> beginnings of the names they get, () = they are dropped; the first
            that fits counts.
    """
    placed: dict[str, Tensor] = {}
    dropped = list(converted.dropped)
    for name, tensor in converted.state.items():
        start = next((start for start in places if name not in own and name.startswith(start)), None)
        names = [name] if start is None else [new + name.removeprefix(start) for new in places[start]]
        placed.update(dict.fromkeys(names, tensor))
        dropped += [] if names else [name]
    return replace(converted, state=placed, dropped=tuple(dropped))


def under_prefix(state: State, own: State) -> dict[str, Tensor]:
    """Names behind the prefix under which the model holds a net of these names, e.g. net. of net.blocks.0.conv.weight.

    The prefix with the most names in common wins, of equals the shortest; none in common = no prefix.
    """
    votes: Counter[str] = Counter()
    for name in own:
        starts = [0, *(dot.end() for dot in re.finditer(r"\.", name))]
        votes.update(name[:start] for start in starts if name[start:] in state)
    prefix = min(votes, key=lambda p: (-votes[p], len(p)), default="")
    return {prefix + name: tensor for name, tensor in state.items()}
