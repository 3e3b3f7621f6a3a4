"""Declaration of config keys: each is declared once by key(), in keys_run.py, keys_data.py or keys_models.py.

Everything that handles many keys reads these declarations: defaults, checks, run ids, what starting runs inherit, what
must agree between runs that share weights, and the reference (tools/run_net.py --help-keys).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.errors import UserError
from transm3e.registry import HOMES, component

# Largest count of clips, pixels or channels; of blocks, which are checked one by one; of seeds, which PyTorch's
# generators take as signed 64-bit integers.
MAX_SIZE, MAX_DEPTH, MAX_SEED = 2**31 - 1, 1000, 2**63 - 1
SAME = object()
# A predicate, and what a message says about a value for which it is False.
Bound = tuple[Callable[[Any], bool], str]


class Role(Enum):
    """What changing a key's value changes."""

    TRAINING = "how the weights are trained"
    NETWORK = "the network: weights fit only one with the same value"
    READING = "how clips are read: teacher and student should agree"
    SCORES = "what scores mean"
    RESULTS = "the results of trained weights"
    PLACE = "where and how a run computes or what it writes, but neither weights nor results"
    INDIRECT = "results only through the files or keys that it names"


TRAINING, NETWORK, READING, SCORES, RESULTS, PLACE, INDIRECT = Role
# Roles that make up a run's id; of these, the roles that decide what its weights compute.
OF_WEIGHTS = (TRAINING, NETWORK, READING, SCORES)
OF_MEANING = (NETWORK, READING, SCORES)


@dataclass(frozen=True)
class Rule:
    """Which values of a key are allowed.

    Attributes:
        words: allowed values in words, for the reference; "" = the choices.
        fault: value -> what a message says after the key's name, "" if the value is allowed.
        listed: the allowed values, if they can be listed; files of IMPORTS may add to them.
    """

    words: str
    fault: Callable[[Any], str]
    listed: Callable[[], Iterable[Any]] = tuple

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values, if they can be listed, else ()."""
        return tuple(self.listed())

    @property
    def allowed(self) -> str:
        """The allowed values in words, for the reference."""
        return self.words or ", ".join(map(str, self.choices))


@dataclass(frozen=True)
class Authors:
    """A default of PROTOCOL authors_code, where the authors' published code differs from the paper.

    Attributes:
        value: the value in the code.
        source: section of the paper that gives its value, and what the code does.
    """

    value: Any
    source: str


@dataclass(frozen=True)
class Facts:
    """Facts of a key, by default those of its group.

    Attributes:
        role: what changing the value changes.
        inherited: starting runs (INIT) use this run's value, whatever their files say.
        of_model: read only by models whose config_keys name it or its group.
        may_change: may differ between a run and the run it starts from.
        compared: teacher and student must agree in it if what is compared, "tokens" or "logits", is named here.
        scaled: smaller experiments have another value; tables at scale "small" use the demo's.
    """

    role: Role = TRAINING
    inherited: bool = False
    of_model: bool = False
    may_change: bool = False
    compared: tuple[str, ...] = ()
    scaled: bool = False


@dataclass(frozen=True)
class Key:
    """A config key: see key()."""

    name: str
    default: Any
    meaning: str
    rule: Rule | None
    facts: Facts
    authors: Authors | None
    theirs: Any
    new: bool


KEYS: dict[str, Key] = {}
# Group -> its meaning, and the facts of its keys.
GROUPS: dict[str, tuple[str, Facts]] = {}


# True once all keys of this package are declared: later ones are a user's.
_all_shipped = False


def default_of(each: Key, protocol: str) -> Any:
    """The default of a key under a PROTOCOL. PySlowFast's of where and how a run computes (Role.PLACE) are left to ours."""
    if protocol == "authors_code" and each.authors:
        return each.authors.value
    if protocol == "pyslowfast" and each.facts.role is not PLACE:
        # None is off for a number; a list of None has no counterpart, and model files set it.
        known = 0.0 if each.theirs is None and isinstance(each.default, float) else each.theirs
        return each.default if known in (SAME, None, "") else known
    return each.default


def differs_there(each: Key) -> bool:
    """Whether PROTOCOL pyslowfast changes the key."""
    return default_of(each, "pyslowfast") != each.default


def close() -> None:
    """Mark the end of this package's keys; later ones are declared by files of IMPORTS."""
    global _all_shipped
    _all_shipped = True


def group(name: str, meaning: str = "", **facts: Any) -> None:
    """Declare the group of all keys whose names begin with `name` and a dot; `facts` are attributes of Facts.

    Raises:
        UserError: the group is declared already.
    """
    if name in GROUPS:
        raise UserError(f"the group of keys {name} is declared already; choose another name")
    GROUPS[name] = (meaning, Facts(**facts))


def key(
    name: str,
    default: Any,
    meaning: str,
    rule: Rule | None = None,
    role: Role | None = None,
    authors: Authors | None = None,
    theirs: Any = SAME,
    new: bool | None = None,
    **facts: Any,
) -> None:
    """Declare a key.

    Args:
        name: dotted; a group is declared before its keys.
        default: its type is the type of all values.
        meaning: one or two sentences, for the reference.
        rule: which values are allowed; None = all of the type.
        role: what changing the value changes; None = as the group.
        authors: the default of PROTOCOL authors_code, if it differs.
        theirs: PySlowFast's default, or for a key that it lacks what its code does, if it differs; None and "" mean that
            it has no value there.
        new: run ids depend on the key only if its value is not the default, so that older runs keep their ids; None =
            True for keys of IMPORTS, else False.
        facts: attributes of Facts that differ from the group's.

    Raises:
        UserError: the key is declared already, or its group is not.
    """
    if name in KEYS:
        raise UserError(f"the key {name} is declared already; choose another name")
    if "." in name and name.rpartition(".")[0] not in GROUPS:
        raise UserError(f"the key {name} is declared before its group; call transm3e.config.schema.group first")
    of_group = GROUPS[name.rpartition(".")[0]][1] if "." in name else Facts()
    known = {**vars(of_group), **({"role": role} if role else {}), **facts}
    KEYS[name] = Key(
        name, default, meaning, rule, Facts(**known), authors, theirs, _all_shipped if new is None else new
    )


def get_cfg() -> CfgNode:
    """A new, unfrozen config with every default."""
    cfg = CfgNode()
    for name in GROUPS:
        of, _, last = name.rpartition(".")
        (get(cfg, of) if of else cfg)[last] = CfgNode()
    for each in KEYS.values():
        of, _, last = each.name.rpartition(".")
        (get(cfg, of) if of else cfg)[last] = copy.deepcopy(each.default)
    return cfg


def get(cfg: CfgNode, name: str) -> Any:
    """The value of a dotted key."""
    for part in name.split("."):
        cfg = cfg[part]
    return cfg


def keys_with(*roles: Role, **facts: bool) -> list[str]:
    """Names of the keys with one of these roles (any, if none is named) and all these facts."""
    return [
        each.name
        for each in KEYS.values()
        if (not roles or each.facts.role in roles)
        and all(getattr(each.facts, name) == value for name, value in facts.items())
    ]


def settings_with(cfg: CfgNode, *roles: Role) -> dict[str, Any]:
    """Key -> value of the keys with these roles, as run ids need them: new keys only if not at their default."""
    values = {name: get(cfg, name) for name in keys_with(*roles)}
    return {name: value for name, value in values.items() if not KEYS[name].new or value != KEYS[name].default}


def keys_comparing(what: str) -> list[str]:
    """Names of the keys in which teacher and student must agree if `what` (tokens or logits) is compared."""
    return [each.name for each in KEYS.values() if what in each.facts.compared]


def choices(name: str) -> tuple[Any, ...]:
    """The allowed values of a key, in the order of its declaration."""
    rule = KEYS[name].rule
    assert rule, name
    return rule.choices


def check_value(name: str, value: Any) -> None:
    """Refuse a value that the key does not allow, whatever the other keys are.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    rule = KEYS[name].rule
    if rule and (fault := rule.fault(value)):
        raise UserError(f"{name} {fault}")


def check_values(cfg: CfgNode) -> None:
    """check_value of every key."""
    for name in KEYS:
        check_value(name, get(cfg, name))


def reference(pattern: str = "") -> Iterator[str]:
    """Lines about every key whose name or meaning holds `pattern`, in any case."""
    of_last = None
    for each in KEYS.values():
        of = each.name.rpartition(".")[0]
        about = GROUPS[of][0] if of else ""
        protocol = "PROTOCOL" if each.authors or each.theirs is not SAME else ""
        if pattern.lower() not in f"{each.name} {each.meaning} {about} {protocol}".lower():
            continue
        if of != of_last and about:
            yield f"{of}: {about}\n"
        of_last = of
        yield f"{each.name} = {each.default!r}" + (f"  ({each.rule.allowed})" if each.rule else "")
        yield f"    {each.meaning}"
        yield f"    changes {each.facts.role.value}{'; inherited by starting runs' if each.facts.inherited else ''}"
        if each.authors:
            yield f"    PROTOCOL authors_code: {each.authors.value!r} ({each.authors.source})"
        if each.theirs is not SAME:
            yield f"    PROTOCOL pyslowfast: {each.theirs!r}" + ("  (not set by it)" * (not differs_there(each)))
        yield ""


def one_of(*values: Any) -> Rule:
    """One of these values."""
    return among(lambda: values)


def among(listed: Callable[[], Iterable[Any]]) -> Rule:
    """One of the values that `listed` gives when the rule is checked."""

    def fault(value: Any) -> str:
        there = list(listed())
        return "" if value in there else f"is {value!r}; allowed: {', '.join(map(str, there))}"

    return Rule("", fault, listed)


def registered(key: str) -> Rule:
    """A name under which a component is registered (transm3e.registry)."""

    def fault(name: str) -> str:
        try:
            component(key, name)
        except UserError as error:
            return str(error).removeprefix(f"{key} ")
        return ""

    return Rule(f"a name registered in {HOMES[key]}", fault)


def some_of(*names: str) -> Rule:
    """A list of some of these names."""
    listed = ", ".join(names)

    def fault(value: list) -> str:
        unknown = [str(name) for name in value if name not in names]
        return f"names {', '.join(unknown)}; allowed: {listed}" if unknown else ""

    return Rule(f"some of {listed}", fault, lambda: names)


def beginnings(names: list) -> str:
    """The fault of a list of beginnings of parameter names."""
    good = all(isinstance(name, str) and name for name in names)
    return "" if good else f"is {names}; it must hold beginnings of parameter names, as head."


def number(allowed: str, *bounds: Bound) -> Rule:
    """A number within bounds."""
    return Rule(allowed, lambda value: _beyond(value, bounds))


def numbers(length: int, *bounds: Bound, least: int = 0, whole: bool = False) -> Rule:
    """A list of `length` numbers, each at least `least`, within `bounds` of the list."""
    kind = "whole numbers" if whole else "numbers"
    clause = f"{length} {kind}, each at least {least}"

    def fault(value: Any) -> str:
        return _beyond(value, ((lambda each: _is_numbers(each, length, least, whole), f"it must be {clause}"), *bounds))

    return Rule("; ".join((clause, *(text for _, text in bounds))), fault)


def by_block(length: int, whole: bool = False) -> Rule:
    """A list of lists of `length` numbers, each of which begins with a block's number."""
    kind = "whole numbers above 0" if whole else "above 0"
    entry_is = f"an entry is a block's number and {length - 1} {kind}"

    def fault(value: Any) -> str:
        wrong = (each for each in value if not _is_numbers(each, length, 0, whole) or min(each[1:]) <= 0)
        return next((f"holds {each}; {entry_is}" for each in wrong), "")

    return Rule(entry_is, fault)


def or_none(rule: Rule) -> Rule:
    """The rule of a list, which may also be empty."""
    return Rule(f"none, [], or {rule.allowed}", lambda value: rule.fault(value) if value != [] else "")


def _is_numbers(value: object, length: int, least: int, whole: bool) -> bool:
    types = (int,) if whole else (int, float)
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(each) in types and each >= least for each in value)
    )


def _beyond(value: Any, bounds: Iterable[Bound]) -> str:
    return next((f"is {value}; {text}" for holds, text in bounds if not holds(value)), "")


def _count(most: int) -> Rule:
    return number(
        "1 or more", (lambda n: n >= 1, "it must be at least 1"), (lambda n: n <= most, f"it must be at most {most}")
    )


_NOT_NEGATIVE: Bound = (lambda n: n >= 0, "it must not be negative")
_SEED: Bound = (lambda n: n <= MAX_SEED, f"it must be at most 2**63 - 1 = {MAX_SEED}")
COUNT, DEPTH = _count(MAX_SIZE), _count(MAX_DEPTH)
NOT_NEGATIVE, SEED = number("0 or more", _NOT_NEGATIVE), number("0 or more", _NOT_NEGATIVE, _SEED)
ABOVE_0 = number("above 0", (lambda n: n > 0, "it must be above 0"))
SHARE = number("0 to 1", (lambda n: 0 <= n <= 1, "it must be from 0 to 1"))
BELOW_1 = number("0 to below 1", (lambda n: 0 <= n < 1, "it must be from 0 to below 1"))
# Bounds of lists.
ALL_ABOVE_0: Bound = (lambda values: min(values) > 0, "all its numbers must be above 0")
ALL_BELOW_1: Bound = (lambda values: max(values) < 1, "each must be below 1")
RISING: Bound = (
    lambda values: values == sorted(values),
    "it must be the lower and then the upper end, swap them",
)
