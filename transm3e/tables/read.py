"""A table file: rows with a label, a config, options, and the paper's figures where it has them; or a grid of options.

title: Ablation of the fusion          # of the printed table
source: MuscleMap (...), table 5       # where the paper's figures stand; only where there are such
datasets: [MuscleSynth]                # default: those with figures of the paper, else MuscleMap136
config: transm3e_s                     # of rows that name none; a leaf of configs/<data set>/
opts: {TRANSM3E.NUM_MCTS: 20}          # of all rows; a row's own come over them
grid: {MCTF.NUM_HEADS: [1, 3]}         # every row once per combination (transm3e.tables.grid)
rows:                                  # without them one row, of the grid
  - label: Sum
    config: transm3e_s                 # named as in configs/MuscleMap136/
    opts: {TRANSM3E.FUSION: sum, INIT.OPTS: {KEY: VALUE}}   # INIT.OPTS: of the runs it starts from
    paper: {MuscleMap136: [98.8, 60.4, 79.6, 99.1, 61.9, 80.5]}   # mAP in percent, in the order of COLUMNS
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transm3e.errors import UserError, shown
from transm3e.files import local_path, read_text
from transm3e.foreign.yaml_text import MAX_TEXT, parse_yaml
from transm3e.report.table import COLUMNS
from transm3e.tables.datasets import DATASETS, MAIN
from transm3e.tables.grid import START_OPTS, grid_points, joined

TABLE_KEYS = ("title", "source", "datasets", "config", "opts", "grid", "rows")
ROW_KEYS = ("label", "config", "opts", "paper")
# What runs write and where, who computes and by which seed: make_table's own business, not a row's.
NOT_OF_ROWS = (
    *("OUTPUT_DIR", "RUNS_DIR", "RNG_SEED", "NUM_GPUS"),
    *("TRAIN.ENABLE", "TRAIN.AUTO_RESUME", "TEST.ENABLE", "DEMO.ENABLE"),
)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        label: unique in its table.
        config: the leaf's name without ".yaml", as in configs/MuscleMap136/.
        opts: key -> value; INIT.OPTS is a mapping of its own.
        paper: data set -> mAP in percent, one per column of COLUMNS.
    """

    label: str
    config: str
    opts: Mapping[str, Any]
    paper: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Table:
    """A table file.

    Attributes:
        file: where it was read.
        title, source: for people; source is "" without figures of the paper.
        named: data sets that the file names.
        rows: in order, those of a grid written out.
    """

    file: Path
    title: str
    source: str
    named: tuple[str, ...]
    rows: tuple[TableRow, ...]

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def datasets(self) -> tuple[str, ...]:
        """Those named in the file, else those that the paper has figures on, else MAIN."""
        return self.named or tuple(name for name in DATASETS if any(name in row.paper for row in self.rows)) or (MAIN,)


def read_table(path: str | Path) -> Table:
    """Read and check a table file.

    Raises:
        UserError: names the file, the row and what is wrong there.
    """
    file = local_path(path)
    content = _load(file)
    _check_keys(content, TABLE_KEYS, str(file))
    rows = list(_rows(content, file))
    labels = [row.label for row in rows]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise UserError(f"{file}: two rows are labelled {twice!r}; give each its own label")
    needs_source = any(row.paper for row in rows) or "source" in content
    source = _text(content, "source", str(file)) if needs_source else ""
    return Table(file, _text(content, "title", str(file)), source, _named(content, str(file)), tuple(rows))


def _rows(content: Mapping[str, Any], file: Path) -> Iterator[TableRow]:
    given = content.get("rows")
    if given is None and "grid" in content:
        given = [{"label": "grid"}]
    if not isinstance(given, list) or not given:
        raise UserError(f"{file}: rows is {shown(given)}; it must be a list of rows with {', '.join(ROW_KEYS)}")
    general = _opts(content.get("opts"), f"{file}: opts")
    rows = [_row(row, content, general, f"{file}, row {number}") for number, row in enumerate(given, start=1)]
    if "grid" not in content:
        yield from rows
        return
    points = grid_points(content["grid"], f"{file}: grid")
    for row, (label, opts) in ((row, point) for row in rows for point in points):
        where = f"{file}: {label}"
        if row.paper:
            raise UserError(f"{file}, {row.label}: the paper has no figures of a grid; remove paper or grid")
        name = label if "rows" not in content else f"{row.label}, {label}"
        yield replace(row, label=name, opts=joined(row.opts, _opts(opts, where), where))


def _named(content: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = content.get("datasets", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: datasets is {shown(names)}; it must be a list of names, such as [{MAIN}]")
    return tuple(dict.fromkeys(names))


def _load(file: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(read_text(file, 4 * MAX_TEXT), str(file))
    except OSError as error:
        raise UserError(f"cannot read the table {file}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a YAML file of plain values ({error}); save it as UTF-8") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: a table holds {', '.join(TABLE_KEYS)}, this file holds {type(content).__name__}")
    return content


def _row(row: Any, content: Mapping[str, Any], general: Mapping[str, Any], where: str) -> TableRow:
    if not isinstance(row, dict):
        raise UserError(f"{where} is {shown(row)}; it must be a mapping with {', '.join(ROW_KEYS)}")
    _check_keys(row, ROW_KEYS, where)
    label = _text(row, "label", where)
    where = f"{where} ({label})"
    opts = _opts(row.get("opts"), f"{where}: opts")
    starts = {**general.get(START_OPTS, {}), **opts.get(START_OPTS, {})}
    opts = {**general, **opts, **({START_OPTS: starts} if starts else {})}
    paper = row.get("paper") or {}
    if not isinstance(paper, dict):
        raise UserError(f"{where}: paper is {shown(paper)}; it must be a mapping of data sets to figures")
    config = _text(row if "config" in row else content, "config", where)
    return TableRow(label, config, opts, {name: _figures(name, paper[name], where) for name in paper})


def _figures(dataset: str, given: Any, where: str) -> tuple[float, ...]:
    if dataset not in DATASETS:
        raise UserError(f"{where}: paper names the data set {dataset!r}; allowed: {', '.join(DATASETS)}")
    numbers = given if isinstance(given, list) else []
    fit = [value for value in numbers if type(value) in (int, float) and 0 <= value <= 100]
    if len(fit) != len(COLUMNS) or len(numbers) != len(COLUMNS):
        raise UserError(
            f"{where}: the paper's figures on {dataset} are {shown(given)}; they must be {len(COLUMNS)} numbers in percent: "
            + ", ".join(COLUMNS)
        )
    return tuple(float(value) for value in fit)


def _opts(given: Any, where: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise UserError(f"{where} is {shown(given)}; it must be a mapping of KEY: VALUE")
    for key in given:
        if key in NOT_OF_ROWS:
            raise UserError(f"{where}: {key} is set by make_table itself; remove it")
    if START_OPTS in given:
        return {**given, START_OPTS: _opts(given[START_OPTS], f"{where}: {START_OPTS}")}
    return dict(given)


def _check_keys(content: Mapping[Any, Any], allowed: tuple[str, ...], where: str) -> None:
    unknown = next((key for key in content if key not in allowed), None)
    if unknown is not None:
        raise UserError(f"{where}: unknown key {shown(unknown)}; allowed: {', '.join(allowed)}")


def _text(content: Mapping[str, Any], key: str, where: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {key} is {shown(value)}; it must be a text (quote numbers)")
    return value
