"""Damage to files: random bytes, changed bytes of a valid file, and valid files with wrong values."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from hypothesis import strategies as st

BIG = 10**30
WRONG = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, BIG, 10**320, 0.5, -0.0, 1e300, 1e-300),
    *(float("nan"), float("inf"), -float("inf")),
    *("", " ", "0", "-1", "1e9", "nan", "x" * 5000, "9" * 5000, "ü", "\u202e", "\x00", "\n", "../../x", "/etc/passwd"),
    *("\ud800", "0x" + "f" * 2000, "[1, 2", "{}", "None"),
    *([], {}, [[]], [None], ["a", 1], {"": None}, {"a": {"b": []}}, [1.0, float("nan")], list(range(100))),
)
# Of formats that keep arrays.
WRONG_ARRAYS = (
    *(np.zeros(0), np.zeros((0, 3)), np.array(5), np.array(np.nan), np.array([np.inf, 1.0]), np.array(["a"])),
    *(
        np.zeros((2, 3, 4, 5, 6), np.int8),
        np.full((2, 3), 2**63, np.uint64),
        np.array([1j]),
        np.zeros((1, 3, 17, 2), "f8"),
    ),
    *(np.zeros((0, 3, 17, 2)), np.full((2, 4, 17, 2), 3e38, "f4"), np.full((2, 4, 17, 2), 1e300)),
)


def nested(depth: int, kind: type) -> Any:
    """Lists in lists, dicts in dicts or tuples in tuples."""
    value: Any = kind()
    for _ in range(depth):
        value = {"a": value} if kind is dict else kind([value])
    return value


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all parts of a document; () is the whole."""
    found = [here]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        found += paths(part, (*here, key))
    return found


@st.composite
def spoilt_documents(draw: st.DrawFn, document: Any, wrong: tuple[Any, ...]) -> Any:
    """The document with one to three of its parts replaced, removed, duplicated or renamed."""
    whole = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(whole[0])[:300]))
        value = copy.deepcopy(draw(st.sampled_from(wrong)))
        _spoil(whole, (0, *path), draw(st.sampled_from(("set", "set", "set", "drop", "double", "rename"))), value)
    return whole[0]


def _spoil(whole: list[Any], path: tuple[Any, ...], how: str, value: Any) -> None:
    parent: Any = whole
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    if how == "drop" and parent is not whole:
        del parent[key]
    elif how == "double" and isinstance(parent, list) and parent is not whole:
        parent.append(parent[key])
    elif how == "rename" and isinstance(parent, dict):
        parent[value if isinstance(value, str) else "other"] = parent.pop(key)
    else:
        parent[key] = value


@st.composite
def spoilt_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """A valid file with bytes flipped, a part removed, duplicated or moved, or its end truncated."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        start = draw(st.integers(0, len(data) - 1))
        end = min(len(data), start + draw(st.sampled_from((1, 2, 4, 8, 60, 1000))))
        how = draw(st.sampled_from(("flip", "flip", "flip", "cut", "double", "fill", "end", "move")))
        part = bytes(data[start:end])
        if how == "flip":
            data[start] ^= draw(st.integers(1, 255))
        elif how == "cut":
            del data[start:end]
        elif how == "double":
            data[start:start] = part
        elif how == "fill":
            data[start:end] = draw(st.sampled_from((b"\x00", b"\xff", b"\x7f"))) * len(part)
        elif how == "end":
            del data[start:]
        else:
            del data[start:end]
            at = draw(st.integers(0, len(data)))
            data[at:at] = part
    return bytes(data)
