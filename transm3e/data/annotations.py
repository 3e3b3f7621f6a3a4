"""The clip table: which clip belongs to which split, shows which activity, and activates which muscles.

A clip table is a UTF-8 CSV file with a header and one row per clip:

    path,split,activity,muscles[,skeleton][,flow]
    clips/squat_0001.mp4,train,squat,quadriceps;gluteus;hamstring,skeletons/squat_0001.json,flow/squat_0001.mp4

`path`, `skeleton` and `flow` are relative to the table's folder (or DATA.PATH_PREFIX); `muscles` holds names
or numbers 0..19 of MUSCLES joined by ";", or the word "none". A table for activity recognition needs no column
`muscles`.
"""

from __future__ import annotations

import csv
import hashlib
import posixpath
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from transm3e.config.schema import choices
from transm3e.config.targets import SPLIT_ALIASES
from transm3e.data.csv_tables import Row, read_rows
from transm3e.errors import UserError, shown
from transm3e.files import MEMBER, atomic_path, clip_table_file
from transm3e.modalities import STORED

# The paper's 20 muscle regions in its order (section D.1); an index into this tuple is a label.
MUSCLES = (
    "neck_and_head",
    "chest",
    "shoulder",
    "biceps",
    "triceps",
    "forearms",
    "upper_back",
    "latissimus",
    "obliques",
    "upper_abdominis",
    "lower_abdominis",
    "lower_back",
    "hamstring",
    "quadriceps",
    "calves",
    "inner_thigh",
    "outer_thigh",
    "gluteus",
    "feet_ankles",
    "wrists",
)
# "03" is accepted, too.
NUMBERS = {f"{i:0{width}}" for i in range(len(MUSCLES)) for width in (1, 2, 3)}
EVAL_SPLITS = choices("TEST.SPLITS")
SPLITS = ("train", *EVAL_SPLITS)
# Those of activities that train never shows, and the others.
NEW_SPLITS = tuple(split for split in SPLITS if split.startswith("new_"))
KNOWN_SPLITS = tuple(split for split in SPLITS if split not in NEW_SPLITS)
REQUIRED_COLUMNS = ("path", "split", "activity")
MUSCLE_COLUMN = "muscles"
# Columns of files; then those besides videos, of which every table written here has the first.
FILE_COLUMNS = tuple(stored.column for stored in STORED.values())
OPTIONAL_COLUMNS = ("skeleton", *(column for column in FILE_COLUMNS if column not in ("path", "skeleton")))
NO_MUSCLE = "none"
# Characters of a cell (Linux's longest path). Columns are arrays, in which every cell takes the memory of the longest.
MAX_CELL = 4096


@dataclass(frozen=True)
class Clip:
    """One row of a clip table.

    Attributes:
        path: the video file (or the folder of its frames, or a still image), relative to the data root, with forward
            slashes, normalised by normal_path.
        split: one of SPLITS.
        activity: name of the activity shown.
        muscles: indices into MUSCLES, each once.
        skeleton: the clip's skeleton file relative to the data root, or "".
        flow: its optical flow, a file or folder relative to the data root, or "".
    """

    path: str
    split: str
    activity: str
    muscles: tuple[int, ...]
    skeleton: str = ""
    flow: str = ""


@dataclass(frozen=True)
class ClipTable:
    """Clips of one or more splits as arrays: workers share their memory, while a list of objects would be copied.

    Attributes:
        files: column of FILE_COLUMNS -> (N,) str array, files relative to the data root, "" where a clip has none.
        splits: (N,) str array.
        activities: (N,) str array.
        labels: (N, 20) uint8 multi-hot; (N, 0) where the table has no column muscles.
        rows: (N,) int64, the row of each clip in the file, from 0; identifies a clip across splits.
    """

    files: dict[str, np.ndarray]
    splits: np.ndarray
    activities: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def paths(self) -> np.ndarray:
        """The video files."""
        return self.files["path"]

    @property
    def skeletons(self) -> np.ndarray:
        """The files of joints."""
        return self.files["skeleton"]

    @property
    def flows(self) -> np.ndarray:
        """The files or folders of optical flow."""
        return self.files["flow"]

    def select(self, split: str) -> ClipTable:
        """Only the clips of one split (possibly none)."""
        return self.take(self.splits == split)

    def take(self, keep: np.ndarray) -> ClipTable:
        """Some of the clips, by indices or by a mask."""
        return ClipTable(
            {column: names[keep] for column, names in self.files.items()},
            *(array[keep] for array in (self.splits, self.activities, self.labels, self.rows)),
        )


def multi_hot(muscles: Iterable[int]) -> np.ndarray:
    """Indices into MUSCLES -> (20,) uint8 vector of 0 and 1."""
    label = np.zeros(len(MUSCLES), np.uint8)
    label[list(muscles)] = 1
    return label


def table_from_clips(clips: Sequence[Clip]) -> ClipTable:
    """Clips in order -> a table whose rows count from 0."""
    return ClipTable(
        files={column: np.array([getattr(clip, column) for clip in clips], np.str_) for column in FILE_COLUMNS},
        splits=np.array([clip.split for clip in clips], dtype=np.str_),
        activities=np.array([clip.activity for clip in clips], dtype=np.str_),
        labels=np.array([multi_hot(clip.muscles) for clip in clips], np.uint8).reshape(-1, len(MUSCLES)),
        rows=np.arange(len(clips)),
    )


def read_clip_table(path: str | Path) -> ClipTable:
    """Read and check a clip table; `path` is the CSV file or the folder that holds clips.csv.

    Raises:
        UserError: the table is missing, empty, refused by read_rows, or has a row with a cell longer than MAX_CELL, an
            unknown split or muscle, a label outside 0..19, a path with backslashes or outside the data root, or the path
            of an earlier row in any spelling; the message names file and line.
    """
    file = table_file(path)
    optional = (MUSCLE_COLUMN, *OPTIONAL_COLUMNS)
    # A file may be called #1.mp4, so no row is a comment.
    rows = read_rows(file, REQUIRED_COLUMNS, optional, remarks=False)
    labelled = bool(rows) and MUSCLE_COLUMN in rows[0].cells
    clips: list[Clip] = []
    first: dict[str, int] = {}
    for row in rows:
        clip = _clip_from_row(row, labelled)
        if (known := first.setdefault(clip.path, len(clips))) < len(clips):
            raise _duplicate(rows[known], clips[known], row, clip)
        clips.append(clip)
    if not clips:
        raise UserError(
            f"{file}: the clip table has a header but no clips; run the datasets/prepare_*.py that makes it"
        )
    table = table_from_clips(clips)
    return table if labelled else replace(table, labels=table.labels[:, :0])


def write_clip_table(path: str | Path, clips: Iterable[Clip]) -> None:
    """Write clips as a CSV clip table, muscles by name, atomically.

    Of OPTIONAL_COLUMNS the first is always written, the others only if a clip has such a file.
    """
    rows = list(clips)
    always, *others = OPTIONAL_COLUMNS
    optional = (always, *(column for column in others if any(getattr(clip, column) for clip in rows)))
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow((*REQUIRED_COLUMNS, MUSCLE_COLUMN, *optional))
        for clip in rows:
            muscles = ";".join(MUSCLES[i] for i in sorted(clip.muscles)) or NO_MUSCLE
            files = (getattr(clip, name) for name in optional)
            writer.writerow((clip.path, clip.split, clip.activity, muscles, *files))


def table_digest(path: str | Path) -> str:
    """SHA-256 of a clip table's bytes, 16 hex digits: identifies the labels and splits of a run.

    Raises:
        UserError: `path` has no clip table.
    """
    return hashlib.sha256(table_file(path).read_bytes()).hexdigest()[:16]


def table_file(path: str | Path) -> Path:
    """The CSV file behind a table's path or folder.

    Raises:
        UserError: it does not exist.
    """
    file = clip_table_file(path)
    if not file.is_file():
        raise UserError(
            f"no clip table at {file.absolute()}; make it with datasets/prepare_*.py "
            "or point DATA.PATH_TO_DATA_DIR at the folder that holds it"
        )
    return file


def parse_muscles(text: str, where: str) -> tuple[int, ...]:
    """ "biceps;7" -> (3, 7), sorted, without duplicates; "none" -> ().

    Raises:
        UserError: an unknown name or a number outside 0..19; the message begins with `where`.
    """
    if text.strip() == NO_MUSCLE:
        return ()
    indices = set()
    for word in (part.strip() for part in text.split(";")):
        name = word.lower().replace(" ", "_")
        if name in MUSCLES:
            indices.add(MUSCLES.index(name))
        elif word in NUMBERS:
            indices.add(int(word))
        elif word.lstrip("-").isdigit():
            raise UserError(f"{where}: muscle label {word[:20]} is outside 0..{len(MUSCLES) - 1}")
        else:
            raise UserError(
                f"{where}: unknown muscle {shown(word)}; allowed: {', '.join(MUSCLES)}, their numbers 0..19, "
                f'joined by ";", or "{NO_MUSCLE}"'
            )
    return tuple(sorted(indices))


def normal_path(cell: str) -> str:
    """ "./clips//a.mp4" -> "clips/a.mp4": the normal form of a path in a clip table; what follows :: is unchanged."""
    file, mark, member = cell.partition(MEMBER)
    return (posixpath.normpath(file) if file else "") + mark + member


def _duplicate(known: Row, first: Clip, row: Row, clip: Clip) -> UserError:
    line = known.where.rpartition(":")[2]
    leak = ", a leak: a training clip is evaluated on" if (first.split == "train") != (clip.split == "train") else ""
    return UserError(
        f"{row.where}: path {shown(row.cells['path'])} in {clip.split} is already in line {line}, as "
        f"{shown(known.cells['path'])} in {first.split}{leak}; delete one of the rows"
    )


def _clip_from_row(row: Row, labelled: bool) -> Clip:
    cells, where = row
    split = SPLIT_ALIASES.get(cells["split"], cells["split"])
    if split not in SPLITS:
        raise UserError(f"{where}: unknown split {shown(cells['split'])}; allowed: {', '.join(SPLITS)}")
    if not cells["path"]:
        raise UserError(f"{where}: empty path; every row names its video file")
    for name in (*REQUIRED_COLUMNS, MUSCLE_COLUMN, *OPTIONAL_COLUMNS):
        cell = cells.get(name, "")
        if len(cell) > MAX_CELL or not (cell.isprintable() or _is_text(cell)):
            raise UserError(
                f"{where}: {name} {shown(cell)} has control characters, or more than {MAX_CELL} characters; fix the row"
            )
    files = {name: _path_from_cell(name, cells.get(name, ""), where) for name in FILE_COLUMNS}
    muscles = parse_muscles(cells[MUSCLE_COLUMN], where) if labelled else ()
    return Clip(split=split, activity=cells["activity"], muscles=muscles, **files)


def _is_text(cell: str) -> bool:
    return all(unicodedata.category(sign) != "Cc" for sign in cell)


def _path_from_cell(name: str, cell: str, where: str) -> str:
    if not cell:
        return ""
    if "\\" in cell:
        raise UserError(f"{where}: {name} {shown(cell)} has backslashes; write paths with forward slashes")
    if cell.startswith("/") or ".." in cell.split("/"):
        raise UserError(
            f"{where}: {name} {shown(cell)} leaves the data root; write it relative to the table's folder, or "
            "to DATA.PATH_PREFIX (a link in that folder may lead anywhere)"
        )
    return normal_path(cell)
