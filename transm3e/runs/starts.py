"""Checks that a run fits its teacher and its starting weights."""

from __future__ import annotations

import logging

from fvcore.common.config import CfgNode

from transm3e.config.node import names_key
from transm3e.config.schema import NETWORK, READING, get, keys_comparing, keys_with
from transm3e.config.targets import trained_target
from transm3e.errors import UserError
from transm3e.modalities import model_class
from transm3e.registry import component

logger = logging.getLogger(__name__)


def check_teacher(cfg: CfgNode, teacher: CfgNode, path: str) -> None:
    """Check that DISTILL.METHOD can compare teacher and student.

    Raises:
        UserError: names the first setting that differs.
    """
    compared = component("DISTILL.METHOD", cfg.DISTILL.METHOD).compares
    shared = keys_comparing(compared)
    _check_equal(
        cfg, teacher, {"DATA.MODALITY": "DISTILL.MODALITY"} | {key: key for key in shared}, f"the teacher {path}"
    )
    if compared == "logits" and trained_target(teacher) != trained_target(cfg):
        raise UserError(
            f"the classes are {trained_target(cfg)} here, but {trained_target(teacher)} in the teacher {path}, and "
            f"DISTILL.METHOD {cfg.DISTILL.METHOD} compares logits; make DATA.TARGET and TASK har_lookup agree, or use "
            "another teacher"
        )
    _warn_of_other_clips(cfg, teacher, f"the teacher {path}")


def check_student(cfg: CfgNode, start: CfgNode, path: str) -> None:
    """Check that a model can start from the weights of another config's run.

    Raises:
        UserError: names the first setting that differs.
    """
    model = model_class(cfg)
    own = [key for key in keys_with(NETWORK, of_model=True, may_change=False) if names_key(model.config_keys, key)]
    keys = {key: key for key in (*keys_with(NETWORK, of_model=False), *own)}
    if start.MODEL.MODEL_NAME in model.also_starts_from:
        del keys["MODEL.MODEL_NAME"]
    _check_equal(cfg, start, keys, f"the starting weights {path}")
    _warn_of_other_clips(cfg, start, f"the starting weights {path}")


def _check_equal(cfg: CfgNode, other: CfgNode, keys: dict[str, str], what: str) -> None:
    for their_key, our_key in keys.items():
        theirs, ours = get(other, their_key), get(cfg, our_key)
        if theirs != ours:
            their_name = "" if their_key == our_key else f"{their_key} is "
            raise UserError(
                f"{our_key} is {ours} here, but {their_name}{theirs} in {what}; "
                "make them equal (INIT.OPTS sets keys of the configs it starts from)"
            )


def _warn_of_other_clips(cfg: CfgNode, other: CfgNode, what: str) -> None:
    different = [
        f"{key} {get(cfg, key)} here, {get(other, key)} there"
        for key in keys_with(READING)
        if get(cfg, key) != get(other, key)
    ]
    if different:
        logger.warning(
            "%s was trained on clips that are read differently: %s (INIT.OPTS sets keys there)",
            what,
            "; ".join(different),
        )
