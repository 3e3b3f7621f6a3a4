"""A grid over config keys: every row of a table once per combination of values.

grid:
  DISTILL.TEMPERATURE: [1, 4, 10]
  INIT.OPTS: {SOLVER.BASE_LR: [1e-4, 3e-4]}   # of the runs that a row starts from
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from transm3e.errors import UserError, shown

START_OPTS = "INIT.OPTS"
# Rows of one grid: more than anybody trains.
MAX_POINTS = 10_000
# Dotted key -> value; under START_OPTS a mapping of its own.
Opts = Mapping[str, Any]


def grid_points(grid: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Label and options of every combination, the last key's values next to each other.

    Raises:
        UserError: `grid` is no mapping of keys to lists of different values, or has more than MAX_POINTS combinations.
    """
    axes = list(_axes(grid, where))
    count = prod(len(values) for _, values in axes)
    if count > MAX_POINTS:
        raise UserError(f"{where} has {shown(count)} combinations; allowed: {MAX_POINTS}; remove values or keys")
    points = list(product(*(values for _, values in axes)))
    return [(_label(axes, point), _options(axes, point)) for point in points]


def joined(opts: Opts, over: Opts, where: str) -> dict[str, Any]:
    """Options with others beside them.

    Raises:
        UserError: a key is in both.
    """
    both = next((key for key in over if key in opts and key != START_OPTS), None)
    if both:
        raise UserError(f"{where}: {both} is set by the row and by the grid; remove it from one of them")
    starts = {START_OPTS: joined(opts.get(START_OPTS, {}), over[START_OPTS], where)} if START_OPTS in over else {}
    return {**opts, **over, **starts}


def _axes(grid: Any, where: str) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Key, or START_OPTS and key, and its values."""
    if not isinstance(grid, dict) or not grid or not all(isinstance(key, str) for key in grid):
        raise UserError(f"{where} is {shown(grid)}; it must be a mapping of KEY: [VALUE, VALUE, ...]")
    for key, values in grid.items():
        if key == START_OPTS and isinstance(values, dict):
            yield from (((START_OPTS, *name), inner) for name, inner in _axes(values, f"{where}: {START_OPTS}"))
        elif not isinstance(values, list) or not values or _repeated(values):
            raise UserError(f"{where}: {key} is {shown(values)}; it must be a list of different values")
        else:
            yield (key,), values


def _repeated(values: list[Any]) -> bool:
    texts = [str(value) for value in values]
    return len(set(texts)) < len(texts)


def _label(axes: list[tuple[tuple[str, ...], list[Any]]], point: tuple[Any, ...]) -> str:
    return ", ".join(f"{' '.join(name)} {value}" for (name, _), value in zip(axes, point, strict=True))


def _options(axes: list[tuple[tuple[str, ...], list[Any]]], point: tuple[Any, ...]) -> dict[str, Any]:
    opts: dict[str, Any] = {}
    for (name, _), value in zip(axes, point, strict=True):
        if len(name) > 1:
            opts.setdefault(START_OPTS, {})[name[1]] = value
        else:
            opts[name[0]] = value
    return opts
