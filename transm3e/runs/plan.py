"""The runs that a command line asks for, the runs they start from, and the folder of each.

A run is identified by a hash of the settings that can change its weights, of the data it reads
(transm3e.runs.data_identity), and of the runs it starts from. So several configs share their stage-1 runs, and finished
runs are not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.config.load import load_cfg
from transm3e.config.node import all_keys
from transm3e.config.schema import OF_WEIGHTS, RESULTS, get, keys_with, settings_with
from transm3e.errors import UserError
from transm3e.files import local_path
from transm3e.runs.data_identity import Data, DataFiles, content_id, data_name, folder_word, hash_of
from transm3e.runs.starts import check_student, check_teacher

STARTS = ("STUDENT_FROM", "TEACHER_FROM")


@dataclass(frozen=True)
class Run:
    """One training (or only evaluation) with its own folder.

    Attributes:
        name: the config file's stem.
        id: 10 hex digits over everything that determines its weights.
        settings: the same hash without the data, equal for runs of one config on different data.
        cfg: frozen; OUTPUT_DIR and TRAIN.DATASET are set, and INIT names checkpoints instead of configs.
        data: what it reads.
        asked: named on the command line; False for a run that only another one starts from.
        starts: the runs it starts from.
    """

    name: str
    id: str
    settings: str
    cfg: CfgNode
    data: Data
    asked: bool
    starts: tuple[Run, ...] = ()

    @property
    def folder(self) -> Path:
        return Path(self.cfg.OUTPUT_DIR)

    @property
    def final_checkpoint(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.folder / "checkpoints" / f"checkpoint_epoch_{self.cfg.SOLVER.MAX_EPOCH:05d}.pyth"

    @property
    def eval_id(self) -> str:
        """Hash over the run and everything that determines its results."""
        settings = settings_with(self.cfg, RESULTS)
        settings["TEST.CHECKPOINT_FILE_PATH"] = content_id(self.cfg.TEST.CHECKPOINT_FILE_PATH)
        return hash_of({"run": self.id, "data": self.data.scored, **settings})


def plan(paths: Sequence[str], opts: Sequence[Any] = (), files: DataFiles | None = None) -> list[Run]:
    """The runs of config files, each once, in the order to run them: starting runs first.

    Starting runs are listed only if the run that needs them is not trained yet.

    Args:
        paths: config files, each with `opts` applied.
        opts: KEY VALUE pairs or KEY=VALUE words.
        files: cache that is shared with other plans of the same command.

    Raises:
        UserError: a config is wrong or does not fit what it starts from, configs start from each other in a circle, two
            runs share a folder, or two configs are one training but differ in other settings.
    """
    runs: dict[Path, Run] = {}
    files = files or DataFiles()
    for path in paths:
        _add(runs, _run(path, load_cfg(path, opts), files, asked=True, below=()))
    return list(runs.values())


def print_plan(paths: Sequence[str], opts: Sequence[Any]) -> None:
    """Print every setting of every run.

    Raises:
        UserError: as plan.
    """
    print("\n".join(f"# {run.name} -> {run.folder}\n{run.cfg.dump()}" for run in plan(paths, opts)), end="")


def _add(runs: dict[Path, Run], run: Run) -> None:
    if run.cfg.TRAIN.ENABLE and not run.final_checkpoint.is_file():
        for start in run.starts:
            _add(runs, start)
    twin = next((other for other in runs.values() if other.asked and run.asked and other.id == run.id), None)
    if twin:
        _check_same(twin, run)
        return
    # By folder, not by id: a run that starts from another looks for its checkpoint in the folder.
    known = runs.get(run.folder.resolve())
    if known and known.id != run.id:
        raise UserError(
            f"{known.name} and {run.name} would both write to {run.folder}; leave OUTPUT_DIR empty when several run"
        )
    if known is None or run.asked:
        runs[run.folder.resolve()] = run


def _check_same(known: Run, run: Run) -> None:
    ours, theirs = _settings(known), _settings(run)
    different = [key for key in ours if ours[key] != theirs[key]]
    if different:
        raise UserError(
            f"{known.name} and {run.name} are the same training with other settings ({', '.join(different)}) "
            f"and would share the run folder {known.folder}; run them one after the other"
        )


def _settings(run: Run) -> dict[str, Any]:
    settings = all_keys(run.cfg)
    if run.folder.name.endswith(f"-{run.id}"):
        # Derived from the config, not chosen by the user.
        settings["OUTPUT_DIR"] = ""
    return settings


def _folder(cfg: CfgNode, name: str, dataset: str, run_id: str) -> str:
    if cfg.OUTPUT_DIR:
        return cfg.OUTPUT_DIR
    folder = Path(cfg.RUNS_DIR) / "-".join(filter(None, (name, folder_word(dataset), run_id)))
    # If the dataset's folder was renamed, its runs are still found.
    there = [] if folder.is_dir() else sorted(folder.parent.glob(f"{escape(name)}-*{run_id}"))
    return str(next((other for other in there if other.name.endswith(f"-{run_id}")), folder))


def _run(path: str, cfg: CfgNode, files: DataFiles, asked: bool, below: tuple[Path, ...]) -> Run:
    file = local_path(path).resolve()
    if file in below:
        raise UserError(
            f"{path} starts from itself through {' -> '.join(other.name for other in below)}; change INIT there"
        )
    starts = {
        key: _run(cfg.INIT[key], _start_cfg(cfg.INIT[key], cfg), files, asked=False, below=(*below, file))
        for key in STARTS
        if cfg.INIT[key].endswith((".yaml", ".yml"))
    }
    if "TEACHER_FROM" in starts:
        check_teacher(cfg, starts["TEACHER_FROM"].cfg, cfg.INIT.TEACHER_FROM)
    if "STUDENT_FROM" in starts:
        check_student(cfg, starts["STUDENT_FROM"].cfg, cfg.INIT.STUDENT_FROM)
    data = files.data(cfg)
    settings = _settings_id(cfg, starts)
    run_id = hash_of([settings, {key: run.id for key, run in starts.items()}, data.trained])
    name = local_path(path).stem
    return Run(name, run_id, settings, _resolved(cfg, name, run_id, starts), data, asked, tuple(starts.values()))


def inherited_opts(cfg: CfgNode) -> list[Any]:
    """KEY VALUE words that the starting runs of a config inherit from it, overriding their own files.

    They inherit PROTOCOL, too, if their files do not set it.
    """
    return [word for key in keys_with(inherited=True) for word in (key, get(cfg, key))]


def _start_cfg(source: str, parent: CfgNode) -> CfgNode:
    return load_cfg(source, [*inherited_opts(parent), *parent.INIT.OPTS], parent.PROTOCOL)


def _settings_id(cfg: CfgNode, starts: dict[str, Run]) -> str:
    settings = settings_with(cfg, *OF_WEIGHTS)
    for key in STARTS:
        settings[f"INIT.{key}"] = starts[key].settings if key in starts else content_id(cfg.INIT[key])
    if not cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS:
        # What matters is the global batch, not the number of hosts.
        settings["TRAIN.BATCH_SIZE"] = cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS
        settings["NUM_SHARDS"] = 1
    settings["start"] = content_id(cfg.TRAIN.CHECKPOINT_FILE_PATH)
    return hash_of(settings)


def _resolved(cfg: CfgNode, name: str, run_id: str, starts: dict[str, Run]) -> CfgNode:
    resolved = cfg.clone()
    resolved.defrost()
    resolved.TRAIN.DATASET = cfg.TRAIN.DATASET or data_name(cfg.DATA.PATH_TO_DATA_DIR)
    resolved.OUTPUT_DIR = _folder(cfg, name, resolved.TRAIN.DATASET, run_id)
    # Spawned processes build the teacher, too.
    resolved.IMPORTS = list(dict.fromkeys([*cfg.IMPORTS, *(own for run in starts.values() for own in run.cfg.IMPORTS)]))
    for key, run in starts.items():
        resolved.INIT[key] = str(run.final_checkpoint)
    resolved.freeze()
    return resolved
