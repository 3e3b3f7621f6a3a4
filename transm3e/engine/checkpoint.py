"""Checkpoints of a run: written atomically, named by epoch and step; the best and the last are kept."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transm3e.errors import UserError
from transm3e.files import atomic_path, make_folder
from transm3e.models.weights.files import save_torch

logger = logging.getLogger(__name__)
# After epoch 10; within epoch 10 after 250 steps.
NAME = re.compile(r"checkpoint_epoch_(\d{5})(?:_step_(\d{7}))?\.pyth")
BEST = "checkpoint_best.pyth"
# Suffix of checkpoints that cannot be read.
DAMAGED = ".damaged"


class CheckpointStore:
    """The checkpoints folder of one run.

    Args:
        folder: of the run; checkpoints go to `folder`/checkpoints.
        keep: number of past epochs to keep in addition to the last and the best; 0 = all.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder / "checkpoints", keep

    def save(self, state: dict[str, Any], epoch: int, step: int | None = None) -> Path:
        """Write a checkpoint whole or not at all, then delete what it supersedes.

        Args:
            state: plain values and tensors.
            epoch: epochs begun, including the current one.
            step: optimiser steps done in the current epoch; None = the epoch is complete.

        Raises:
            UserError: it cannot be written; older checkpoints are untouched.
        """
        make_folder(self.folder)
        name = _name(epoch, step)
        with atomic_path(self.folder / name) as partial:
            save_torch(state, partial)
        self._prune(newest=self.folder / name)
        return self.folder / name

    def mark_best(self, checkpoint: Path) -> None:
        """Keep this checkpoint as the best: a hard link to it, or a copy where links are not supported."""
        self._link(checkpoint, BEST)

    def mark_last(self, epoch: int) -> None:
        """Give the newest checkpoint also the name of this epoch, the last, as training has ended before."""
        newest = self.newest()
        assert newest, "an epoch that ends training has a checkpoint"
        if newest.name != _name(epoch):
            self._link(newest, _name(epoch))

    def _link(self, checkpoint: Path, name: str) -> None:
        with atomic_path(self.folder / name) as partial:
            try:
                os.link(checkpoint, partial)
            except OSError:
                partial.write_bytes(checkpoint.read_bytes())

    def newest(self) -> Path | None:
        """The checkpoint furthest in training."""
        found = self._by_position()
        return found[-1] if found else None

    def newest_whole(self, read: Callable[[Path], dict[str, Any]]) -> tuple[Path | None, dict[str, Any] | None]:
        """The checkpoint furthest in training that `read` can read, and its content; damaged ones are renamed.

        Raises:
            UserError: the disk cannot be read, rather than the file.
        """
        while newest := self.newest():
            try:
                return newest, read(newest)
            except UserError as error:
                if isinstance(error.__cause__, OSError):
                    raise
                newest.replace(newest.with_name(newest.name + DAMAGED))
                logger.warning("%s; renamed to %s%s, using the previous checkpoint", error, newest.name, DAMAGED)
        return None, None

    def _by_position(self) -> list[Path]:
        files = [file for file in self.folder.glob("*.pyth") if NAME.fullmatch(file.name)]
        return sorted(files, key=_position)

    def _prune(self, newest: Path) -> None:
        saved = self._by_position()
        older = [file for file in saved if _position(file) < _position(newest)]
        whole = [file for file in older if "_step_" not in file.name]
        # In this epoch also those of a higher step: training may have resumed with another batch size.
        same = [file for file in saved if file != newest and _position(file)[0] == _position(newest)[0]]
        older += [file for file in same if "_step_" in file.name and file not in older]
        # A checkpoint within an epoch is needed only until the next one.
        spared = set(whole if self.keep == 0 else whole[-self.keep :])
        # Also partial files of a killed process.
        partial_files = self.folder.glob(".checkpoint_*")
        for file in [*partial_files, *older]:
            if file not in spared:
                file.unlink(missing_ok=True)


def _name(epoch: int, step: int | None = None) -> str:
    return f"checkpoint_epoch_{epoch:05d}" + ("" if step is None else f"_step_{step:07d}") + ".pyth"


def _position(file: Path) -> tuple[int, float]:
    match = NAME.fullmatch(file.name)
    assert match, file
    return int(match[1]), float(match[2]) if match[2] else float("inf")
