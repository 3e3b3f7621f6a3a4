"""Activities as classes: their order, one-hot labels, and the muscles of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from transm3e.config.targets import ACTIVITY_TARGET, ACTIVITY_TARGETS, MULTI_TARGET, ORDER_FILE, trained_target
from transm3e.data.annotations import MUSCLES, ClipTable, read_clip_table, table_file
from transm3e.data.csv_tables import split_list
from transm3e.errors import UserError
from transm3e.files import read_text

SHOWN = 3


@dataclass(frozen=True)
class Activities:
    """The classes of an activity classifier.

    Attributes:
        names: A names, in the order of the model's outputs.
        muscles: (A, 20) uint8, labels of each activity's training clips; None where the clip table has no muscles.
        several: a clip may show several, joined by ";".
    """

    names: tuple[str, ...]
    muscles: np.ndarray | None = None
    several: bool = False

    @property
    def target(self) -> str:
        """Of their scores, one of ACTIVITY_TARGETS."""
        return MULTI_TARGET if self.several else ACTIVITY_TARGET

    def labels(self, activities: np.ndarray) -> np.ndarray:
        """(N,) cells of activities -> (N, A) uint8 of 0 and 1; zeros for an activity outside the classes."""
        number = {name: i for i, name in enumerate(self.names)}
        labels = np.zeros((len(activities), len(self.names)), np.uint8)
        for row, cell in enumerate(activities):
            labels[row, [number[name] for name in in_cell(str(cell), self.several) if name in number]] = 1
        return labels

    def as_plain(self) -> dict[str, Any]:
        """Lists and strings, for a checkpoint."""
        muscles = None if self.muscles is None else self.muscles.tolist()
        return {"names": list(self.names), "muscles": muscles, **({"several": True} if self.several else {})}

    @classmethod
    def from_plain(cls, plain: Any, where: str) -> Activities:
        """The inverse of as_plain; `where` names the file in messages.

        Raises:
            UserError: `plain` does not have this form.
        """
        names = plain.get("names") if isinstance(plain, dict) else None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise UserError(
                f"{where}: its activities are not a list of names; use a checkpoint that this version wrote"
            )
        muscles = plain.get("muscles")
        if muscles is None:
            return cls(tuple(names), several=plain.get("several") is True)
        if not isinstance(muscles, list) or len(muscles) != len(names) or not all(map(_is_label, muscles)):
            raise UserError(
                f"{where}: the muscles of its activities are not a table of {len(names)} x {len(MUSCLES)} zeros and ones; use "
                "a checkpoint that this version wrote"
            )
        return cls(tuple(names), np.array(muscles, np.uint8))


def _is_label(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == len(MUSCLES)
        and all(type(v) in (int, bool, float) and v in (0, 1) for v in row)
    )


def in_cell(cell: str, several: bool) -> tuple[str, ...]:
    """The activities of a clip table's cell."""
    return split_list(cell) if several else (cell,)


def build_activities(cfg: CfgNode) -> Activities | None:
    """The classes that a config trains on: the activities of its clip table; None if it trains on muscles.

    Raises:
        UserError: as find_activities, or MODEL.NUM_CLASSES differs from their number.
    """
    if trained_target(cfg) not in ACTIVITY_TARGETS:
        return None
    file = table_file(cfg.DATA.PATH_TO_DATA_DIR)
    activities = find_activities(read_clip_table(file), file, trained_target(cfg) == MULTI_TARGET)
    check_count(cfg, len(activities.names), str(file))
    return activities


def check_count(cfg: CfgNode, count: int, where: str) -> None:
    """Check that the model has `count` outputs, one for each activity.

    Raises:
        UserError: it has another number.
    """
    if count != cfg.MODEL.NUM_CLASSES:
        raise UserError(
            f"MODEL.NUM_CLASSES is {cfg.MODEL.NUM_CLASSES}, but {where} has {count} activities to train on; "
            f"set MODEL.NUM_CLASSES {count}"
        )


def find_activities(table: ClipTable, file: Path, several: bool = False) -> Activities:
    """The activities of training clips, in the order of ORDER_FILE in the folder of `file`, else sorted by name.

    An activity's muscles are those that at least half of its training clips are labelled with; none where a clip may show
    `several`.

    Raises:
        UserError: a training clip has no activity; there are neither training clips nor an ORDER_FILE; or that file lacks
            an activity of train, or names one twice.
    """
    train = table.select("train")
    nameless = [str(path) for path, name in zip(train.paths, train.activities, strict=True) if not name]
    if nameless:
        raise UserError(
            f"{file}: {len(nameless)} of {len(train)} training clips have no activity: {', '.join(nameless[:SHOWN])}; name it"
        )
    trained = sorted({name for cell in train.activities for name in in_cell(str(cell), several)})
    order = file.parent / ORDER_FILE
    names = _read_order(order, trained) if order.is_file() else trained
    if not names:
        raise UserError(
            f"{file}: no clips in split 'train', so the activities are unknown; write them into {order}, one per line in the "
            "order of the classes"
        )
    if several or not table.labels.shape[1]:
        return Activities(tuple(names), several=several)
    labels = [train.labels[train.activities == name] for name in names]
    muscles = [rows.mean(axis=0) >= 0.5 if len(rows) else np.zeros(len(MUSCLES)) for rows in labels]
    return Activities(tuple(names), np.array(muscles, np.uint8))


def _read_order(order: Path, trained: list[str]) -> list[str]:
    try:
        lines = [line.strip() for line in read_text(order, encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {order}: {reason}; it holds one activity per line, UTF-8") from error
    names = [line for line in lines if line]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UserError(f"{order}: {', '.join(twice[:SHOWN])} is listed twice; delete one of the lines")
    lacking = [name for name in trained if name not in set(names)]
    if lacking:
        raise UserError(
            f"{order} lacks {len(lacking)} activities of train: {', '.join(lacking[:SHOWN])}; add them, "
            "or delete the file to sort activities by name"
        )
    return names
