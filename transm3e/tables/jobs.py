"""From rows to runs: each run once, however many rows and tables need it, with its own command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from transm3e.config.load import load_cfg
from transm3e.config.node import Setting, file_settings, merge_opts, opt_settings
from transm3e.config.schema import get_cfg
from transm3e.errors import UserError
from transm3e.files import clip_table_file
from transm3e.runs.data_identity import DataFiles
from transm3e.runs.folder import is_evaluated, is_trained
from transm3e.runs.plan import STARTS, Run, inherited_opts, plan
from transm3e.tables.read import START_OPTS, Table, TableRow, configs_folder
from transm3e.tables.scale import row_opts


@dataclass(frozen=True)
class PlannedRun:
    """A planned run with its arguments for tools/run_net.py.

    Attributes:
        run: the run.
        config: its config file.
        words: its KEY VALUE words.
        needs: keys of the runs it starts from.
        is_row: whether a row shows its scores; otherwise other runs only start from it.
    """

    run: Run
    config: Path
    words: tuple[Any, ...]
    needs: tuple[Path, ...]
    is_row: bool

    @property
    def name(self) -> str:
        """Unique name: config, data set, and the hash of settings and data."""
        return self.run.folder.name

    @property
    def key(self) -> Path:
        return run_key(self.run)

    @property
    def has_data(self) -> bool:
        """Whether the clip table exists; a run's hash, and so its name, depends on its content."""
        return clip_table_file(self.run.cfg.DATA.PATH_TO_DATA_DIR).is_file()

    def is_done(self) -> bool:
        """Whether the table has what it needs: a row's scores, or the weights of a run that others start from.

        Raises:
            UserError: its results.json is damaged.
        """
        return is_trained(self.run) and (not self.is_row or is_evaluated(self.run))


def run_key(run: Run) -> Path:
    """The identity of a run: its folder."""
    return run.folder.resolve()


@dataclass(frozen=True)
class PlannedRow:
    """A row with one seed on one data set.

    Attributes:
        key: of its run in Plan.jobs; None if it cannot be planned.
        problem: why it cannot be planned.
    """

    row: TableRow
    seed: int
    key: Path | None
    problem: str = ""


@dataclass(frozen=True)
class PlannedTable:
    """The rows of a table on one data set at one scale, seeds of a row next to each other."""

    table: Table
    dataset: str
    scale: str
    rows: tuple[PlannedRow, ...]


class Plan:
    """All tables of a command line.

    Args:
        made_with: seeds and options, for the caption.

    Attributes:
        tables: in order.
        jobs: run_key -> job; a run comes after those that it starts from.
    """

    def __init__(self, made_with: str = "") -> None:
        self.made_with = made_with
        self.tables: list[PlannedTable] = []
        self.jobs: dict[Path, PlannedRun] = {}
        self._files = DataFiles()

    @property
    def runs_dir(self) -> Path:
        """The folder of all runs of the plan."""
        return next((job.run.folder.parent for job in self.jobs.values()), Path("runs"))

    @property
    def problems(self) -> list[str]:
        """Why rows cannot be planned."""
        return [row.problem for table in self.tables for row in table.rows if row.problem]

    def missing(self) -> list[PlannedRun]:
        """The jobs left to do, in order: rows without scores, and the missing runs that they start from.

        Raises:
            UserError: a results.json is damaged.
        """
        wanted: set[Path] = set()
        for key, job in reversed(self.jobs.items()):
            if (job.is_row or key in wanted) and not job.is_done():
                wanted.add(key)
                if not is_trained(job.run):
                    wanted.update(job.needs)
        return [job for key, job in self.jobs.items() if key in wanted and not job.is_done()]

    def add(
        self,
        table: Table,
        dataset: str,
        rows: Iterable[TableRow],
        seeds: Sequence[int],
        scale: str,
        opts: Sequence[Any],
    ) -> None:
        """Plan rows of a table on a data set; a row that cannot be planned is kept with the reason.

        Args:
            opts: KEY VALUE words for every row, after the row's own.

        Raises:
            UserError: there are no configs of the data set.
        """
        configs = configs_folder(table.file, dataset)
        planned = tuple(self._row(configs, row, dataset, seed, scale, opts) for row in rows for seed in seeds)
        self.tables.append(PlannedTable(table, dataset, scale, planned))

    def _row(
        self, configs: Path, row: TableRow, dataset: str, seed: int, scale: str, opts: Sequence[Any]
    ) -> PlannedRow:
        try:
            config, words = row_opts(configs, row, dataset, scale)
            return PlannedRow(
                row, seed, self._job(config, _merged(config, [*words, "RNG_SEED", seed, *opts]), is_row=True)
            )
        except UserError as error:
            return PlannedRow(row, seed, None, str(error))

    def _job(self, config: Path, words: Sequence[Any], is_row: bool) -> Path:
        """Add a run and those it starts from; returns its key."""
        run = plan([str(config)], words, self._files)[-1]
        key = run_key(run)
        known = self.jobs.get(key)
        if known is None:
            needs = tuple(run_key(start) for start in run.starts)
            if not all(need in self.jobs for need in needs):
                starts = [self._job(*start, is_row=False) for start in _start_opts(config, words, run)]
                assert tuple(starts) == needs, "a run asked for by itself is the run that others start from"
            self.jobs[key] = PlannedRun(run, config, tuple(words), needs, is_row)
        elif is_row:
            if known.is_row and known.run.eval_id != run.eval_id:
                raise UserError(
                    f"it is trained as another row is ({known.name}) and only scored otherwise (TEST, LOOKUP or "
                    "DATA.ENSEMBLE_METHOD), but a run has one results.json; make one of the two with --rows and another "
                    "RUNS_DIR"
                )
            # The row's own words: those with which other runs start from it do not say how it is scored.
            self.jobs[key] = PlannedRun(run, config, tuple(words), known.needs, is_row=True)
        return key


def _merged(config: Path, words: Sequence[Any]) -> list[Any]:
    """KEY VALUE words in which the INIT.OPTS of the config and of the words are joined into one."""
    merged: list[Any] = []
    for_starts: list[Any] = []
    for where, key, value in (*_own_start_opts(config), *opt_settings(words)):
        if key == START_OPTS:
            cfg = get_cfg()
            merge_opts(cfg, [key, value], where)
            for_starts += cfg.INIT.OPTS
        else:
            merged += [key, value]
    return [*merged, START_OPTS, for_starts]


@cache
def _own_start_opts(config: Path) -> tuple[Setting, ...]:
    return tuple(setting for setting in file_settings(config) if setting[1] == START_OPTS)


def _start_opts(config: Path, words: Sequence[Any], run: Run) -> list[tuple[Path, list[Any]]]:
    """Config and words that plan the runs that `run` starts from on their own."""
    cfg = load_cfg(config, words)
    sources = [cfg.INIT[key] for key in STARTS if cfg.INIT[key].endswith((".yaml", ".yml"))]
    return [
        (Path(source), [*inherited_opts(cfg), *cfg.INIT.OPTS, "PROTOCOL", start.cfg.PROTOCOL])
        for source, start in zip(sources, run.starts, strict=True)
    ]
