"""One test per rule: it is tried on every case, and those that break it are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def assert_each(rule: Callable[[Any], object], cases: Mapping[str, Any]) -> None:
    """`rule(case)` of every case; fails with the names of those for which it raises, and why."""
    assert cases
    broken = {}
    for name, case in cases.items():
        try:
            rule(case)
        except Exception as error:
            broken[name] = f"{type(error).__name__}: {error}"
    assert not broken, "\n".join(f"{name}: {why}" for name, why in broken.items())
