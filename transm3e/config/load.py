"""From a file name and options to a checked, frozen config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.config.check import check_cfg
from transm3e.config.defaults import get_cfg
from transm3e.config.node import merge_file, merge_opts, merge_text


def load_cfg(path: str | Path, opts: Sequence[Any] = ()) -> CfgNode:
    """Defaults, then the file with its `_BASE_`, then KEY VALUE options; checked and frozen.

    INIT.STUDENT_FROM and INIT.TEACHER_FROM come out as paths that hold from the current folder.

    Raises:
        UserError: see merge_file, merge_opts and check_cfg.
    """
    cfg = get_cfg()
    merge_file(cfg, path)
    merge_opts(cfg, opts)
    for key in ("STUDENT_FROM", "TEACHER_FROM"):
        cfg.INIT[key] = _beside(Path(path), cfg.INIT[key])
    check_cfg(cfg)
    cfg.freeze()
    return cfg


def cfg_from_text(text: str, where: str) -> CfgNode:
    """The frozen config whose YAML text a checkpoint carries; `where` names it in messages.

    Raises:
        UserError: the text is not a config of this version.
    """
    cfg = get_cfg()
    merge_text(cfg, text, where)
    cfg.freeze()
    return cfg


def _beside(file: Path, name: str) -> str:
    beside = file.parent / name
    return str(beside) if name and beside.is_file() else name
