"""Clip tables as text: one column set, every other cell, row and column as it was; and names for files made of clips."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from transm3e.data.annotations import read_clip_table, table_file
from transm3e.data.decode import VIDEO_SUFFIXES
from transm3e.data.pictures import PICTURE_SUFFIXES
from transm3e.errors import UserError


def table_with_column(path: str | Path, column: str, values: Mapping[str, str]) -> str:
    """The text of a clip table in which `column` (added where absent) holds `values` of the clips they name.

    Args:
        path: the CSV file, or the folder that holds clips.csv.
        values: clip's path as in the table -> cell; rows of other clips stay as they are.

    Raises:
        UserError: the table is not a good one (see read_clip_table), or a row has more cells than the header.
    """
    read_clip_table(path)
    file = table_file(path)
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        names = list(reader.fieldnames or ())
        rows = list(reader)
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise UserError(f"{file}: clip {number} has more cells than the header has columns; mend it first")
        name = row["path"].strip()
        row[column] = values.get(name, row.get(column) or "")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names if column in names else [*names, column], restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def target_names(paths: Sequence[str], suffix: str) -> dict[str, str]:
    """Name each clip's path after its new kind: clips/a.avi -> clips/a.mp4; where a.mkv is there too, a.avi.mp4.

    Raises:
        UserError: two clips would still share a name.
    """
    bare = {path: _without_suffix(path) for path in paths}
    shared = {name for name, count in Counter(bare.values()).items() if count > 1}
    names = {path: (path if name in shared else name) + suffix for path, name in bare.items()}
    for name, count in Counter(names.values()).items():
        if count > 1:
            twins = ", ".join(path for path in paths if names[path] == name)
            raise UserError(f"{twins} would both become {name}; rename one of them")
    return names


def _without_suffix(path: str) -> str:
    suffix = Path(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES) else path
