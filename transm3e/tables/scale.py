"""Scales of a table's runs: model, clips and epochs of a row, and of the runs it starts from, shrink together.

- "full": the config unchanged.
- "small": the size of the demo, minutes on two CPU cores. A row on a benchmark of the paper takes the scaled keys from its
  config in configs/MuscleSynth/, so it trains from random initialisation; the configs of MuscleSynth and FreeExercise have
  this size already.
- "tiny": like "small", with clips of 4 frames of 32x32, one epoch, and MuscleSynth of size tiny: a smoke test.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from transm3e.config import load_cfg
from transm3e.config.schema import get, keys_with
from transm3e.errors import UserError
from transm3e.runs.plan import STARTS
from transm3e.tables.read import DEMO, MAIN, START_OPTS, TableRow, config_name, is_full_size

FULL = "full"
SCALES = (FULL, "small", "tiny")
TINY: dict[str, Any] = {
    "DATA.NUM_FRAMES": 4,
    "DATA.TEST_CROP_SIZE": 32,
    "DATA.TRAIN_CROP_SIZE": 32,
    "DATA_LOADER.NUM_WORKERS": 0,
    "LOG_PERIOD": 1,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_EPOCHS": 0.0,
    "TENSORBOARD.ENABLE": False,
    "TEST.BATCH_SIZE": 32,
    "TEST.NUM_ENSEMBLE_VIEWS": 1,
    "TRAIN.BATCH_SIZE": 32,
    "TRAIN.EVAL_PERIOD": 0,
}
TINY_DATA = {"MuscleSynth": {"DATA.PATH_TO_DATA_DIR": "data/MuscleSynth/tiny"}}
INIT_KEYS = tuple(f"INIT.{name}" for name in STARTS)


def config_file(configs: Path, config: str, dataset: str) -> Path:
    """The file of a row's config, or of a config that it starts from.

    Raises:
        UserError: there is none.
    """
    file = configs / dataset / f"{config_name(config, dataset)}.yaml"
    if not file.is_file():
        which = "" if dataset == MAIN else f" that {configs / dataset} also has"
        raise UserError(f"no config {file}; name a config in {configs / MAIN}{which}")
    return file


def row_opts(configs: Path, row: TableRow, dataset: str, scale: str) -> tuple[Path, list[Any]]:
    """The config file of a row and its KEY VALUE words for tools/run_net.py; INIT.OPTS comes last.

    Raises:
        UserError: a config is missing or wrong.
    """
    file = config_file(configs, row.config, dataset)
    opts = dict(row.opts)
    for_starts = opts.pop(START_OPTS, {})
    for key in INIT_KEYS:
        if opts.get(key):
            if not isinstance(opts[key], str):
                raise UserError(
                    f"{row.label}: {key} is {opts[key]!r}; it must be the name of a config, such as mcts_rgb_s"
                )
            opts[key] = config_file(configs, opts[key], dataset).name
    settings, of_starts = _scaled(configs, row.config, dataset, scale)
    return file, [*_words({**settings, **opts}), START_OPTS, _words({**of_starts, **for_starts})]


def _scaled(configs: Path, config: str, dataset: str, scale: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings that scale a config, and those for the configs that it starts from."""
    if scale == FULL:
        return {}, {}
    settings, of_starts = _shrunk(configs, config, dataset) if is_full_size(dataset) else ({}, {})
    if scale == "tiny":
        settings, of_starts = {**settings, **TINY, **TINY_DATA.get(dataset, {})}, {**of_starts, **TINY}
    return settings, of_starts


def _shrunk(configs: Path, config: str, dataset: str) -> tuple[dict[str, Any], dict[str, Any]]:
    ours, demo = config_file(configs, config, dataset), config_file(configs, config, DEMO)
    starts = next(_starts(ours), None), next(_starts(demo), None)
    return _sizes(ours, demo), _sizes(*starts) if starts[0] and starts[1] else {}


def _starts(file: Path) -> Iterator[Path]:
    """The configs that a config starts from, which all have one size."""
    cfg = load_cfg(file)
    yield from (Path(cfg.INIT[key]) for key in STARTS if cfg.INIT[key].endswith(".yaml"))


@cache
def _sizes(ours: Path, demo: Path) -> dict[str, Any]:
    here, there = load_cfg(ours), load_cfg(demo)
    return {key: get(there, key) for key in keys_with(scaled=True) if get(here, key) != get(there, key)}


def _words(settings: dict[str, Any]) -> list[Any]:
    return [word for pair in settings.items() for word in pair]
