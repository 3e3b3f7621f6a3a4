"""What MODEL.FREEZE means: beginnings of names, where "not NAME" exempts, and alone freezes all others."""

from __future__ import annotations

from collections.abc import Sequence

EXCEPT = "not "


def split_exempt(beginnings: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Beginnings of the names that are frozen, and of those that are exempt."""
    exempt = tuple(each.removeprefix(EXCEPT).strip() for each in beginnings if each.startswith(EXCEPT))
    return tuple(each for each in beginnings if not each.startswith(EXCEPT)) or ("",), exempt


def is_frozen(name: str, beginnings: Sequence[str]) -> bool:
    """Whether MODEL.FREEZE names a parameter, or a module."""
    chosen, exempt = split_exempt(beginnings)
    return bool(beginnings) and name.startswith(chosen) and not name.startswith(exempt)
