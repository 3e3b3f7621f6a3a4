"""Training and evaluation targets of a config: muscles or activities."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from transm3e.registry import component

MUSCLE_TARGET, ACTIVITY_TARGET = "muscles", "activity"
LOOKUP_TASK = "har_lookup"
# Optional, beside the clip table: one activity per line, in the order of classes; else activities are sorted by name.
ORDER_FILE = "activities.txt"
# Splits scored during training.
VALIDATION = ("known_val", "new_val")
# The authors' lists say seen / unseen; Kinetics' val and test hold activities of train. Accepted in clip tables only.
SPLIT_ALIASES = {
    "val": "known_val",
    "test": "known_test",
    "val_seen": "known_val",
    "val_unseen": "new_val",
    "test_seen": "known_test",
    "test_unseen": "new_test",
}


def scored_target(cfg: CfgNode) -> str:
    """What is scored: MUSCLE_TARGET or ACTIVITY_TARGET."""
    if cfg.TASK == LOOKUP_TASK:
        return MUSCLE_TARGET
    if cfg.DATA.TARGET == "auto":
        loss = component("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC)
        return ACTIVITY_TARGET if loss.exclusive else MUSCLE_TARGET
    return cfg.DATA.TARGET


def trained_target(cfg: CfgNode) -> str:
    """What the labels of training clips are: HAR lookup learns activities and is scored by muscles."""
    return ACTIVITY_TARGET if cfg.TASK == LOOKUP_TASK else scored_target(cfg)
