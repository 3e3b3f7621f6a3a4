"""Finds a model's tensors in a checkpoint: nested dicts, averaged copies, and prefixes that wrappers add to names.

Sources of the names: torch.nn.parallel, torch.compile, FSDP and activation checkpoints, torch.optim.swa_utils, Lightning,
timm, torchvision's references/video_classification, MMEngine, DeepSpeed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from transm3e.errors import UserError, shown
from transm3e.files import MEMBER
from transm3e.models.weights.detect import OURS, find_source
from transm3e.models.weights.rename import renamed
from transm3e.models.weights.source import SOURCES, State

# Keys under which projects store the tensors; a file may also hold tensors only.
STATE_KEYS = ("model_state", "state_dict", "model", "model_state_dict", "module", "net")
# Keys of weights averaged over training.
EMA_KEYS = (
    *("model_ema", "ema_state", "state_dict_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema"),
    *("averaged_model", "swa_model"),
)
# Key that only checkpoints of MMEngine hold.
MMENGINE = "message_hub"
# Entries of a state dict that are no tensors.
EXTRA_STATE = "_extra_state"
INSIDE = {
    "_orig_mod": "torch.compile",
    "_forward_module": "Lightning",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpoints",
}
# Names of our transformers: the `backbone.` of other programs may also hold a head or class tokens.
OF_OURS = r"backbone\.(patch_embed\.proj|blocks|norm)\.|(?!backbone\.)"
# MMAction2's mean and standard deviation of clips; here DATA.MEAN and DATA.STD.
OF_INPUT = "data_preprocessor."
# Counters of averaging steps in torch and MMEngine, beside `module.`.
COUNTERS = ("n_averaged", "steps")
DDP = "module."
DEEPEST = 4


def find_state(content: Any, member: str) -> tuple[dict[str, Tensor], str | None, str]:
    """A file's tensors, their key (None: the file holds tensors only), and a note on the choice.

    STATE_KEYS take precedence over EMA_KEYS, which are used if they are alone or named by `member`. In files of MMEngine
    "state_dict" is the average, and "ema_state_dict" the weights as trained (its EMAHook swaps them for deployment).

    Args:
        content: the file's content.
        member: from split_member: a key of the file, or the beginning of names in the default weights; "" = none.

    Raises:
        UserError: no tensors are found, or none under that name.
    """
    holding = {key: state for key, each in _items(content) if (state := _tensors(each))}
    plain = [key for key in STATE_KEYS if key in holding]
    averaged = [key for key in EMA_KEYS if key in holding]
    if member in holding:
        return holding[member], member, f"weights of {member!r}"
    key = next(iter((*plain, *averaged)), None)
    state = holding[key] if key else _tensors(content)
    if member:
        return _part(state, member, [*holding]), key, f"weights of {member!r}"
    empty = next((key for key, each in _items(content) if key in STATE_KEYS and each == {}), None)
    if empty and not holding:  # a model without weights
        return {}, empty, ""
    if not state:
        raise UserError(
            'no tensors in "model_state", "state_dict" or "model", nor a dict of nothing but tensors, so it is not a '
            f"checkpoint; {_name_one(holding) or 'use another one'}"
        )
    if key in EMA_KEYS:
        return state, key, f"averaged weights of {key!r}, the only ones in the file"
    return state, key, _choice(key, averaged[0], MMENGINE in content) if averaged else ""


def _choice(key: str | None, other: str, is_mmengine: bool) -> str:
    which = ("averaged", "as trained") if is_mmengine else ("as trained", "averaged")
    return f"weights {which[0]} ({key!r}) used; for those {which[1]} give FILE{MEMBER}{other}"


def _items(content: Any) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in content.items() if isinstance(k, str)] if isinstance(content, Mapping) else []


def _tensors(content: Any) -> dict[str, Tensor]:
    """The tensors of a dict that holds nothing else; {} for others."""
    if not isinstance(content, Mapping):
        return {}
    state = {k: v for k, v in content.items() if not (isinstance(k, str) and k.endswith(EXTRA_STATE))}
    return state if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()) else {}


def _part(state: dict[str, Tensor], member: str, keys: list[str]) -> dict[str, Tensor]:
    start = f"{member}."
    part = {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
    if not part:
        raise UserError(f"no weights under {member!r}, nor names that begin with {start}; {_name_one(keys)}")
    return part


def _name_one(keys: Any) -> str:
    names = [shown(key)[1:-1] for key in keys][:6]
    return f"weights are under {', '.join(names)}: name one, FILE{MEMBER}{names[0]}" if names else ""


@dataclass(frozen=True)
class Unwrapped:
    """Tensors under a model's own names.

    Attributes:
        state: the tensors.
        dropped: names, as in the file, that belong to other parts of a wrapper.
        notes: which prefixes were removed, one sentence each.
        known: whether a source has these names.
    """

    state: dict[str, Tensor]
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    known: bool = False


def unwrap(state: State, own: State | None = None, source: str = "", depth: int = 0) -> Unwrapped:
    """Remove the prefixes that wrappers put before names.

    Prefixes of DDP, torch.compile, FSDP and averages are known. A program's own prefix (`model.` of a Lightning module)
    is recognised by what follows it: names of a known source, where the full names are of none.

    Args:
        own: the model's state, if known.
        source: the source that names must be of; "" = any.

    Raises:
        UserError: it holds several models.
    """
    plain, notes = _strip({name: state[name] for name in state if not name.startswith(OF_INPUT)})
    inputs = tuple(name for name in state if name.startswith(OF_INPUT))
    if depth == DEEPEST or _is_known(plain, own, source):
        return Unwrapped(plain, inputs, notes, known=depth < DEEPEST)
    inside = {start: unwrap(part, own, source, depth + 1) for start, part in _parts(plain).items()}
    known = {start: part for start, part in inside.items() if part.known}
    if len(known) > 1:
        names = ", ".join([*known][:4])
        raise UserError(f"it holds several models ({names}); name one, FILE{MEMBER}{next(iter(known))[:-1]}")
    if not known:
        return Unwrapped(plain, inputs, notes)
    ((start, part),) = known.items()
    others = tuple(name for name in plain if not name.startswith(start))
    dropped = (*inputs, *others, *(start + name for name in part.dropped))
    left = f", {len(others)} other tensors left out ({others[0]}{', ...' if len(others) > 1 else ''})" if others else ""
    return Unwrapped(part.state, dropped, (*notes, f"{start} removed from the names{left}", *part.notes), known=True)


def _is_known(state: State, own: State | None, source: str) -> bool:
    if source and source != OURS:
        marker = SOURCES[source].marker
        return not marker or any(re.search(marker, name) for name in state)
    found = find_source(state, own)
    if found == OURS:
        is_likely = any(name.startswith("backbone.") for name in state)
        if own and not is_likely:
            is_likely = 2 * sum(name in own for name in state) >= len(state)
        return is_likely and all(name in (own or ()) or re.match(OF_OURS, name) for name in state)
    return found is not None and not source


def _parts(state: State) -> dict[str, dict[str, Tensor]]:
    """First word of the names -> tensors, under names without it."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        start, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(start + dot, {})[rest] = tensor
    return parts


def _strip(state: State) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    plain, notes = dict(state), []
    for word, what in INSIDE.items():
        if any(f"{word}." in name for name in plain):
            plain = renamed(plain, ((rf"(^|\.)({word}\.)+", r"\1"),))
            notes.append(f"{word}. ({what}) removed from the names")
    while plain and (within := [name for name in plain if name.startswith(DDP)]):
        others = [name for name in plain if not name.startswith(DDP)]
        if any(name not in COUNTERS for name in others):
            break
        plain = renamed({name: plain[name] for name in within}, ((r"^module\.", ""),))
        notes.append(f"module. ({'an average of weights' if others else 'DDP'}) removed from the names")
    return plain, tuple(dict.fromkeys(notes))
