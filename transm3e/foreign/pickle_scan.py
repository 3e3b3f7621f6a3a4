"""Scan a pickle without building objects, for content that would crash the process before an error can be raised.

Python's unpickler allocates its memo table for any index (six bytes can ask for 64 gigabytes, where gh-115952 is not
fixed), and hashing deeply nested tuples overflows the stack.
"""

from __future__ import annotations

import pickletools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

# Honest data nest tuples only a few levels deep.
MAX_TUPLES = 100
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
GETS = ("GET", "BINGET", "LONG_BINGET")
OPERATIONS = {op.code: op for op in pickletools.opcodes}
# Opcode -> (objects it pops, besides those above the mark; whether it pops everything down to the mark; objects it pushes).
EFFECTS = {
    op.name: (
        sum(each not in (pickletools.markobject, pickletools.stackslice) for each in op.stack_before),
        pickletools.markobject in op.stack_before,
        len(op.stack_after),
    )
    for op in pickletools.opcodes
}


@dataclass
class Found:
    """What a pickle contains.

    Attributes:
        classes: (module, name) of classes and functions, except by STACK_GLOBAL (protocol 4), in order, without duplicates.
        texts: those of the requested strings that occur.
        protocol: 0 where it is not stated.
    """

    classes: dict[tuple[str, str], None] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    protocol: int = 0

    def add(self, name: str, arg: Any, texts: Collection[str]) -> None:
        """Record an operation."""
        if name in ("GLOBAL", "INST"):
            module, _, own = arg.partition(" ")
            self.classes[module, own] = None
        elif name == "PROTO":
            self.protocol = arg
        elif "UNICODE" in name and arg in texts:
            self.texts.add(arg)


def scan_pickle(file: IO[bytes], texts: Collection[str] = ()) -> Found:
    """Read one pickle up to its STOP.

    Args:
        texts: to look for.

    Raises:
        ValueError: not a pickle, truncated, or dangerous: a memo index beyond the pickle's length, or tuples nested deeper
            than MAX_TUPLES.
    """
    found = Found()
    try:
        _follow(file, found, texts)
    except (IndexError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not a pickle ({type(error).__name__})") from error
    return found


def _follow(file: IO[bytes], found: Found, texts: Collection[str]) -> None:
    # Tuple nesting depth of each object on the stack; 0 for other types, as only tuples of tuples are hashed recursively.
    stack: list[int] = []
    below: list[list[int]] = []
    memo: dict[int, int] = {}
    for count, (name, arg) in enumerate(_operations(file)):
        found.add(name, arg, texts)
        if name == "MARK":
            below.append(stack)
            stack = []
        elif name in PUTS or name == "MEMOIZE":
            slot = len(memo) if name == "MEMOIZE" else arg
            if slot > count:
                raise ValueError(f"slot {slot} of the memo after {count} operations")
            memo[slot] = stack[-1]
        elif name in GETS:
            stack.append(memo[arg])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP" and not stack:  # pops a mark
            stack = below.pop()
        else:
            stack = _apply(name, stack, below)


def _apply(name: str, stack: list[int], below: list[list[int]]) -> list[int]:
    taken, to_mark, left = EFFECTS[name]
    slice_: list[int] = []
    if to_mark:
        # INST's and OBJ's class lies above the mark.
        slice_, stack, taken = stack, below.pop(), 0 if name == "OBJ" else taken
    elif name in TUPLES:
        slice_, taken = stack[-TUPLES[name] :], TUPLES[name]
    if taken > len(stack):
        raise IndexError("nothing on the stack")
    del stack[len(stack) - taken :]
    depth = 1 + max(slice_, default=0) if name in TUPLES or name == "TUPLE" else 0
    if depth > MAX_TUPLES:
        raise ValueError(f"tuples nested deeper than {MAX_TUPLES}")
    stack.extend([depth] * left)
    return stack


def _operations(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Name and argument of each operation up to STOP, which is not among them."""
    while True:
        op = OPERATIONS.get(file.read(1).decode("latin-1"))
        if op is None:
            raise ValueError("not a pickle, or truncated")
        if op.name == "STOP":
            return
        if op.name == "STRING":  # Python 2's, which need not be ASCII
            arg: Any = file.readline()
        else:
            arg = op.arg.reader(file) if op.arg is not None else None
        yield op.name, arg
