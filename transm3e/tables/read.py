"""A table file: rows with a label, a config, options, and the paper's scores where it has them; or a grid of options.

title: Ablation of the fusion          # of the printed table
source: MuscleMap (...), table 5       # of the paper's scores; only with such scores
datasets: [MuscleSynth]                # default: those with scores of the paper, else MuscleMap136
config: transm3e_s                     # of rows that name none; a config in configs/<data set>/
opts: {TRANSM3E.NUM_MCTS: 20}          # of all rows; a row's own come over them
grid: {MCTF.NUM_HEADS: [1, 3]}         # every row once per combination, see grid_points
rows:                                  # without them one row, of the grid
  - label: Sum
    config: transm3e_s                 # named as in configs/MuscleMap136/
    opts: {TRANSM3E.FUSION: sum, INIT.OPTS: {KEY: VALUE}}   # INIT.OPTS: of the runs it starts from
    paper: {MuscleMap136: [98.8, 60.4, 79.6, 99.1, 61.9, 80.5]}   # mAP in percent, in the order of COLUMNS
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from transm3e.errors import UserError, shown
from transm3e.files import local_path, read_text
from transm3e.foreign.yaml_text import MAX_TEXT, parse_yaml
from transm3e.report.table import COLUMNS

# Shipped data sets -> whether their configs are at full size, or else at the size of the demo. A user's own data set is a
# folder of configs in configs/, named like those of configs/MuscleMap136/.
DATASETS = {
    "MuscleMap136": True,
    "MuscleUCF90": True,
    "MuscleHMDB41": True,
    "MuscleSynth": False,
    "FreeExercise": False,
}
# The paper's ablations are on it.
MAIN = "MuscleMap136"
# Its configs define the size of the demo.
DEMO = "MuscleSynth"
# Name of a config at full size -> at the size of the demo; names that are not listed are the same.
DEMO_CONFIGS = {
    f"{name}_s": name
    for name in ["logits_kd", "mcts_flow", "mcts_rgb", "mcts_rgb_diff", "mvitv2", "transm3e", "videoswin"]
}
DEMO_CONFIGS |= {f"{name}_b": f"{name}_deep" for name in ("mcts_rgb", "mcts_rgb_diff", "mvitv2", "transm3e")}
DEMO_CONFIGS |= {f"{name}_r50": name for name in ("c2d", "i3d", "slow", "slowfast")}
DEMO_CONFIGS |= {"deit_s": "deit", "two_branch_s": "two_branch", "videoswin_b": "videoswin_wide"}


def is_full_size(dataset: str) -> bool:
    """Whether its configs are at full size and named so; a user's own are."""
    return DATASETS.get(dataset, True)


def config_name(config: str, dataset: str) -> str:
    """The name in configs/<dataset>/ of a config of configs/MuscleMap136/."""
    return config if is_full_size(dataset) else DEMO_CONFIGS.get(config, config)


def configs_folder(table: Path, dataset: str) -> Path:
    """The folder with the configs of a data set in <dataset>/: the parent of the table's folder, else ./configs.

    Raises:
        UserError: there is none.
    """
    folders = (table.parent.parent, Path("configs"))
    found = next((folder for folder in folders if any((folder / dataset).glob("*.yaml"))), None)
    if found is None:
        known = {config.parent.name for folder in folders for config in folder.glob("[A-Z]*/*.yaml")}
        raise UserError(
            f"no configs of the data set {dataset!r} in {' or '.join(map(str, folders))}; there are: "
            f"{', '.join(sorted(known)) or 'none'}; for your own data write configs like those in configs/{MAIN}/"
        )
    return found


START_OPTS = "INIT.OPTS"
# Limit of the rows of one grid; nobody trains more.
MAX_POINTS = 10_000
# Dotted key -> value; under START_OPTS a mapping of its own.
Opts = Mapping[str, Any]


def grid_points(grid: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Label and options of every combination, the last key's values next to each other.

    INIT.OPTS holds keys of the runs that a row starts from: {DISTILL.TEMPERATURE: [1, 4], INIT.OPTS: {SOLVER.BASE_LR: [1e-4]}}.

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
    """Two sets of options joined.

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


TABLE_KEYS = ("title", "source", "datasets", "config", "opts", "grid", "rows")
ROW_KEYS = ("label", "config", "opts", "paper")
# Set by make_table, not by rows: output folders, seed, GPUs, and what a run does.
NOT_OF_ROWS = (
    *("OUTPUT_DIR", "RUNS_DIR", "RNG_SEED", "NUM_GPUS"),
    *("TRAIN.ENABLE", "TRAIN.AUTO_RESUME", "TEST.ENABLE", "DEMO.ENABLE"),
)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        label: unique in its table.
        config: its name without ".yaml", as in configs/MuscleMap136/.
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
        title, source: for captions; source is "" without scores of the paper.
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
        """Those named in the file, else those with scores of the paper, else MAIN."""
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
            raise UserError(f"{file}, {row.label}: the paper has no scores of a grid; remove paper or grid")
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
        raise UserError(f"{where}: paper is {shown(paper)}; it must be a mapping of data sets to scores")
    config = _text(row if "config" in row else content, "config", where)
    return TableRow(label, config, opts, {name: _paper_scores(name, paper[name], where) for name in paper})


def _paper_scores(dataset: str, given: Any, where: str) -> tuple[float, ...]:
    if dataset not in DATASETS:
        raise UserError(f"{where}: paper names the data set {dataset!r}; allowed: {', '.join(DATASETS)}")
    numbers = given if isinstance(given, list) else []
    fit = [value for value in numbers if type(value) in (int, float) and 0 <= value <= 100]
    if len(fit) != len(COLUMNS) or len(numbers) != len(COLUMNS):
        raise UserError(
            f"{where}: the paper's scores on {dataset} are {shown(given)}; they must be {len(COLUMNS)} numbers in percent: "
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
