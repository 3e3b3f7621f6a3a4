"""Training and evaluation targets of a config: muscles, the activity of a clip, or its activities."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from transm3e.registry import component

MUSCLE_TARGET, ACTIVITY_TARGET, MULTI_TARGET = "muscles", "activity", "activities"
# One activity per clip, or several (DATA.MULTI_LABEL).
ACTIVITY_TARGETS = (ACTIVITY_TARGET, MULTI_TARGET)
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
    """What is scored: MUSCLE_TARGET, ACTIVITY_TARGET or MULTI_TARGET."""
    if cfg.TASK == LOOKUP_TASK:
        return MUSCLE_TARGET
    if cfg.DATA.TARGET == "auto":
        loss = component("MODEL.LOSS_FUNC", cfg.MODEL.LOSS_FUNC)
        of_activities = loss.exclusive or cfg.DATA.MULTI_LABEL
    else:
        of_activities = cfg.DATA.TARGET == ACTIVITY_TARGET
    if not of_activities:
        return MUSCLE_TARGET
    return MULTI_TARGET if cfg.DATA.MULTI_LABEL else ACTIVITY_TARGET


def trained_target(cfg: CfgNode) -> str:
    """What the labels of training clips are: HAR lookup learns activities and is scored by muscles."""
    return ACTIVITY_TARGET if cfg.TASK == LOOKUP_TASK else scored_target(cfg)
