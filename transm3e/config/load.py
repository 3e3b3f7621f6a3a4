"""Loads a config file and options into a checked, frozen config."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.config.check import check_cfg
from transm3e.config.foreign_file import PROTOCOL as PYSLOWFAST
from transm3e.config.foreign_file import as_read_here, check_network, is_foreign, protocol_warning
from transm3e.config.node import Setting, file_settings, merge, names_key, opt_settings, set_key, text_settings
from transm3e.config.schema import KEYS, choices, default_of, get, get_cfg
from transm3e.errors import UserError, shown
from transm3e.files import beside, is_remote
from transm3e.modalities import model_class
from transm3e.registry import import_files

logger = logging.getLogger(__name__)
# The paper's text, its published code where the two differ (keys declared with `authors=`), or PySlowFast's defaults where
# they differ from ours (`theirs=`). Not reproduced on purpose:
# validation on random crops (such a score cannot choose a checkpoint), testing on new_test only (TEST.SPLITS are scored),
# and running the teacher in evaluation (it changes no score). With both protocols RGB is normalised by DATA.MEAN and
# DATA.STD, for student and teacher alike, and the RGB difference is not.
KEY = "PROTOCOL"
PROTOCOLS = choices(KEY)


def apply_protocol(cfg: CfgNode, settings: Iterable[Setting], default: str = PROTOCOLS[0]) -> None:
    """Set PROTOCOL, and its defaults, to the last PROTOCOL in `settings`, or to `default` if there is none.

    Raises:
        UserError: no protocol has this name.
    """
    named = [(where, value) for where, key, value in settings if key == KEY]
    where, name = named[-1] if named else ("", default)
    if name not in PROTOCOLS:
        raise UserError(f"{where}: {KEY} is {name!r}; allowed: {', '.join(PROTOCOLS)}")
    set_key(cfg, KEY, name, where)
    for each in KEYS.values():
        value = default_of(each, name)
        if each.name != KEY and value != get(cfg, each.name):
            set_key(cfg, each.name, value, f"{KEY} {name}")


def load_cfg(path: str | Path, opts: Sequence[Any] = (), protocol: str = PROTOCOLS[0]) -> CfgNode:
    """Defaults, then the file with its `_BASE_`, then KEY VALUE options; checked and frozen.

    PROTOCOL only chooses defaults, so any key that is set takes precedence. If neither the file, its `_BASE_` nor the
    options set PROTOCOL, it is `protocol`.
    INIT.STUDENT_FROM and INIT.TEACHER_FROM are returned relative to the current folder.

    Raises:
        UserError: see file_settings, opt_settings, apply_protocol, merge and check_cfg.
    """
    in_file, in_opts = file_settings(path), opt_settings(opts)
    imports = _own_files([*in_file, *in_opts])
    import_files(imports)
    cfg = get_cfg()
    apply_protocol(cfg, [*in_file, *in_opts], protocol)
    foreign = {where for where, _, _ in in_file} == {str(path)} and is_foreign([key for _, key, _ in in_file])
    if foreign:
        in_file, told = as_read_here(in_file, cfg.PROTOCOL)
        if told:
            logger.warning("%s", told)
    merge(cfg, in_file, str(path))
    if foreign and cfg.PROTOCOL == PYSLOWFAST:
        check_network([*in_file, *in_opts], str(path))
    merge(cfg, in_opts, "command line")
    for key in ("STUDENT_FROM", "TEACHER_FROM"):
        cfg.INIT[key] = _beside(path, cfg.INIT[key])
    cfg.IMPORTS = imports
    check_cfg(cfg)
    if foreign and protocol == PROTOCOLS[0] and not any(key == KEY for _, key, _ in in_opts):
        reads = model_class(cfg).config_keys
        if told := protocol_warning(str(path), [*in_file, *in_opts], lambda name: names_key(reads, name)):
            logger.warning("%s", told)
    cfg.freeze()
    return cfg


def _own_files(settings: Iterable[Setting]) -> list[str]:
    """IMPORTS of all files and options, as paths relative to the current folder.

    Raises:
        UserError: one is no list, or is set in a config from a URL, whose code nobody has reviewed.
    """
    files: dict[str, None] = {}
    for where, key, value in settings:
        if key == "IMPORTS":
            cfg = get_cfg()
            set_key(cfg, key, value, where)
            if is_remote(where) and cfg.IMPORTS:
                raise UserError(
                    f"{where}: IMPORTS is not allowed in a config from a URL; copy its files here, and name them with "
                    "--import FILE"
                )
            files |= dict.fromkeys(_beside(where, str(name)) for name in cfg.IMPORTS)
    return list(files)


def cfg_from_text(text: object, where: str) -> CfgNode:
    """The frozen config from the YAML text in a checkpoint; `where` names it in messages.

    Raises:
        UserError: the text is not a config of this version.
    """
    if not isinstance(text, str):
        raise UserError(f"{where} is {shown(text)}; it must be the YAML text of a config, use another checkpoint")
    cfg = get_cfg()
    settings = text_settings(text, where)
    apply_protocol(cfg, settings)
    merge(cfg, settings, where)
    cfg.freeze()
    return cfg


def _beside(file: str | Path, name: str) -> str:
    """`name` relative to the config if such a file exists, else unchanged; for a config from a URL, unchanged if the
    file exists here."""
    there = beside(file, name)
    is_there = not Path(name).is_file() if is_remote(there) else Path(there).is_file()
    return there if name and is_there else name
