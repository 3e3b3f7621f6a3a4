"""Identity of a run's data: the cells of the clip table that it reads, and the names and sizes of the files they name.

Neither times nor absolute paths count, so a dataset that is moved or copied stays the same. A missing file counts as
missing, as plans can be made without data. Nothing is refused here; faults of a table are reported where it is read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from transm3e.config.targets import (
    ACTIVITY_TARGET,
    ACTIVITY_TARGETS,
    LOOKUP_TASK,
    MULTI_TARGET,
    MUSCLE_TARGET,
    ORDER_FILE,
    SPLIT_ALIASES,
    VALIDATION,
    scored_target,
    trained_target,
)
from transm3e.files import CLIP_TABLE, MEMBER, clip_table_file, local_path, read_bytes, split_member
from transm3e.modalities import columns_of, stored_modalities

# How a generated dataset was made (written by transm3e.prepare.musclesynth.generate, not imported here).
MANIFEST = "musclesynth.json"
LABEL_COLUMN = {MUSCLE_TARGET: "muscles", ACTIVITY_TARGET: "activity", MULTI_TARGET: "activity"}
# A network disk needs half a millisecond per file size: one after the other, 200,000 files would take 100 seconds.
THREADS, BATCH = 32, 256
MISSING, OUTSIDE = "missing", "outside"
# Folders that contain datasets.
DATA_ROOTS = ("data", "datasets")
LONGEST_NAME = 60


@dataclass(frozen=True)
class Data:
    """The data of a run.

    Attributes:
        table: the clip table's path.
        prefix: DATA.PATH_PREFIX.
        clips: number of rows of the splits that it trains, validates and tests on.
        digest: 10 hex digits over the parts of the data that it reads.
        trained, scored: the same over the parts that its weights, or its results, depend on.
    """

    table: str
    prefix: str
    clips: int
    digest: str
    trained: str
    scored: str

    def as_plain(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


class DataFiles:
    """Caches tables and file sizes of datasets for all runs of a command; use a new one after files have changed."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._parts: dict[tuple[str, ...], str] = {}
        self._sizes: dict[str, dict[str, str]] = {}

    def data(self, cfg: CfgNode) -> Data:
        """The data of a config's run."""
        file = clip_table_file(cfg.DATA.PATH_TO_DATA_DIR)
        table, root = self._table(file), str(cfg.DATA.PATH_PREFIX or file.parent)
        target, scored_by = trained_target(cfg), [LABEL_COLUMN[scored_target(cfg)]]
        learned = list(LABEL_COLUMN.values()) if cfg.TASK == LOOKUP_TASK else [LABEL_COLUMN[target]]
        # Validation determines the best checkpoint.
        validated = VALIDATION if cfg.TRAIN.EVAL_PERIOD else ()
        trains, tests = (
            columns_of(stored_modalities(cfg, training), bool(cfg.DATA.TARGET_FPS), perhaps=True)
            for training in (True, False)
        )
        trained = {"train": self._part(table, root, "train", learned, trains)}
        tested = {split: self._part(table, root, split, scored_by, tests) for split in (*validated, *cfg.TEST.SPLITS)}
        trained |= {split: tested[split] for split in validated}
        # Videos that a changed generator renders again under the same table are other data.
        trained["manifest"] = content_id(str(file.parent / MANIFEST), absent="")
        if target in ACTIVITY_TARGETS:
            trained["order"] = content_id(str(file.parent / ORDER_FILE), absent="")
        scored = {split: tested[split] for split in cfg.TEST.SPLITS}
        return Data(
            str(file),
            cfg.DATA.PATH_PREFIX,
            sum(len(table.numbers(split)) for split in {"train", *tested}),
            *map(hash_of, ([trained, scored], trained, scored)),
        )

    def _table(self, file: Path) -> _Table:
        try:
            content = read_bytes(file)
        except OSError:
            content = b""
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._tables:
            self._tables[digest] = _Table(digest, content)
        return self._tables[digest]

    def _part(self, table: _Table, root: str, split: str, labels: Sequence[str], files: Sequence[str]) -> str:
        """Digest of the columns read of a split's rows, and of row numbers, which the random draws depend on."""
        key = (table.digest, root, split, *labels, "", *files)
        if key not in self._parts:
            numbers = table.numbers(split)
            paths = [posixpath.normpath(cell) for cell in table.cells("path", numbers)]
            columns: list[Iterable[object]] = [numbers, paths]
            columns += [map(_plain_label, table.cells(name, numbers)) for name in labels]
            for name in files:
                cells = [posixpath.normpath(cell) if cell else "" for cell in table.cells(name, numbers)]
                sizes = self._sizes_of(root, cells)
                columns += [cells, [sizes[cell] for cell in cells]]
            read = hashlib.sha256(b"" if table.is_readable else table.digest.encode())
            for row in zip(*columns, strict=True):
                read.update(json.dumps(row).encode())
            self._parts[key] = read.hexdigest()
        return self._parts[key]

    def _sizes_of(self, root: str, cells: Iterable[str]) -> dict[str, str]:
        known = self._sizes.setdefault(root, {})
        new = [cell for cell in dict.fromkeys(cells) if cell not in known]
        parts = [new[i : i + BATCH] for i in range(0, len(new), BATCH)]
        # The threads end before anything forks.
        with ThreadPoolExecutor(THREADS) as pool:
            for found in pool.map(lambda part: {cell: _size(root, cell) for cell in part}, parts):
                known.update(found)
        return known


class _Table:
    """A clip table, parsed leniently; of one without the columns path and split only the bytes count."""

    def __init__(self, digest: str, content: bytes) -> None:
        self.digest = digest
        try:
            lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
            rows = [row for row in lines if any(map(str.strip, row))]
        except (UnicodeDecodeError, csv.Error):
            rows = []
        self._columns = {name.strip(): i for i, name in enumerate(rows[0])} if rows else {}
        self.is_readable = {"path", "split"} <= set(self._columns)
        self._rows = rows[1:] if self.is_readable else []
        self._numbers: dict[str, list[int]] = {}
        for number, row in enumerate(self._rows):
            split = self._cell(row, "split")
            self._numbers.setdefault(SPLIT_ALIASES.get(split, split), []).append(number)

    def numbers(self, split: str) -> list[int]:
        """The rows of a split."""
        return self._numbers.get(split, [])

    def cells(self, column: str, numbers: Iterable[int]) -> list[str]:
        """Cells of these rows; "" where a cell is missing."""
        return [self._cell(self._rows[number], column) for number in numbers]

    def _cell(self, row: Sequence[str], column: str) -> str:
        i = self._columns.get(column, len(row))
        return row[i].strip() if i < len(row) else ""


def data_name(path: str) -> str:
    """Name of a dataset, from its folder: "Mine" of data/Mine or data/Mine/clips.csv, "Mine-fold1" of
    data/Mine/fold1.csv, "MuscleSynth-tiny" of data/MuscleSynth/tiny; "" if the path is ""."""
    if not path:
        return ""
    file = clip_table_file(path)
    *_, above, upper, own = ("", "", *Path(os.path.abspath(file.parent)).parts)
    words = [own] if above not in DATA_ROOTS or upper in DATA_ROOTS else [upper, own]
    words += [file.stem] if file.name != CLIP_TABLE else []
    return "-".join(words)


def folder_word(name: str) -> str:
    """A name as a part of a folder's name."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.-")[:LONGEST_NAME]


def content_id(path: str, absent: str | None = None) -> str:
    """SHA-256 of the content of a file (or URL) plus its ::member; `absent` (default: the path) if there is no file."""
    name, member = split_member(path)
    file = local_path(name)
    if path and file.is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest() + member
    return path if absent is None else absent


def hash_of(settings: Any) -> str:
    """10 hex digits over what JSON can hold."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def _plain_label(cell: str) -> str:
    """Labels in sorted order: the order of muscles does not matter; an activity is a list of one."""
    return ";".join(sorted({word.strip() for word in cell.split(";")}))


def _size(root: str, cell: str) -> str:
    """Size of a file in bytes; of a folder of frames their number, a hash of their names and the first one's size."""
    if not cell or cell.startswith(("/", "../")) or cell == "..":
        return OUTSIDE
    # A pickle of many videos is named as file::video.
    path = os.path.join(root, cell.partition(MEMBER)[0])
    try:
        found = os.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            return str(found.st_size)
        names = sorted(map(os.fsencode, os.listdir(path)))
        first = os.stat(os.path.join(os.fsencode(path), names[0])).st_size if names else 0
        return f"{len(names)} {hashlib.sha256(b'/'.join(names)).hexdigest()[:16]} {first}"
    except (OSError, ValueError):
        return MISSING
