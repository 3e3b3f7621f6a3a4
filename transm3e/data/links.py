"""Find clips that are one file under several names: hard or symbolic links, case-insensitive file systems."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from transm3e.data.annotations import ClipTable
from transm3e.errors import UserError, shown
from transm3e.files import MEMBER

logger = logging.getLogger(__name__)
Identity = tuple[object, ...]


def check_links(table: ClipTable, files: Iterable[str], root: str, file: Path) -> None:
    """Check that no file is both in train and in an evaluation split; missing files are ignored.

    A file that occurs twice in evaluation splits is scored twice; a warning says so. Train may repeat files.

    Args:
        table: N clips.
        files: their N files or folders, relative to `root`; "" = no file.
        root: folder of the files.
        file: of the table, for messages.

    Raises:
        UserError: a file is trained on and evaluated on.
    """
    names = [str(name) for name in files]
    order = sorted(range(len(table)), key=lambda row: table.splits[row] != "train")
    first: dict[Identity, int] = {}
    leaks: list[tuple[int, int]] = []
    doubled: list[tuple[int, int]] = []
    for row in order:
        identity = _identity(root, names[row])
        known = first.setdefault(identity, row) if identity else row
        if known != row and table.splits[row] != "train":
            (leaks if table.splits[known] == "train" else doubled).append((known, row))
    if leaks:
        raise UserError(
            f"{file}: a leak, files of train are evaluated on under another name ({len(leaks)} in evaluation splits): "
            f"{_pair(table, names, leaks[0])}; delete one of the rows"
        )
    if doubled:
        logger.warning(
            "%s: files of evaluation splits are scored twice, under different names (%d): %s",
            *(file, len(doubled), _pair(table, names, doubled[0])),
        )


def _identity(root: str, name: str) -> Identity | None:
    path, _, member = name.partition(MEMBER)
    try:
        found = os.stat(os.path.join(root, path)) if path else None
    except OSError:
        return None
    if found is None or not found.st_ino:  # a file system without inode numbers
        return None
    # Also size and time: network file systems may give two files the same inode number.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, member


def _pair(table: ClipTable, names: Sequence[str], rows: tuple[int, int]) -> str:
    return " is ".join(f"{shown(names[row], 200)} in {table.splits[row]}" for row in reversed(rows))
