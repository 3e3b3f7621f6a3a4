"""Untrusted JSON: one type of error, and a limit on nesting."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

# No format read here nests deeper than ten; Python's own limit is far beyond what repr() and the like can handle.
MAX_DEPTH = 64
# A string, closed or not, is matched as a whole, so that brackets in it do not count.
TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def parse_json(text: str | bytes, constants: bool = True) -> Any:
    """The document in JSON text; bytes are UTF-8, with or without a byte order mark.

    Args:
        constants: whether NaN, Infinity and -Infinity are numbers.

    Raises:
        ValueError: not JSON, not UTF-8, nested deeper than MAX_DEPTH, or a number of thousands of digits; one line.
    """
    decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    _check_depth(decoded)
    return json.loads(decoded) if constants else json.loads(decoded, parse_constant=_refuse_constant)


def _check_depth(text: str) -> None:
    depth = 0
    for found in TOKENS.finditer(text):
        mark = text[found.start()]
        depth += (mark in "[{") - (mark in "]}")
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
