"""Set one column in the text of a clip table, with all else unchanged; and names for files made from clips."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from transm3e.data.annotations import normal_path, read_clip_table, table_file
from transm3e.data.container import VIDEO_SUFFIXES
from transm3e.data.csv_tables import read_rows
from transm3e.data.images import IMAGE_SUFFIXES
from transm3e.errors import UserError


def table_with_column(path: str | Path, column: str, values: Mapping[str, str]) -> str:
    """The text of a clip table in which `column` (added where absent) holds `values` of the clips they name.

    Args:
        path: the CSV file, or the folder that holds clips.csv.
        values: path of a clip (as in ClipTable.paths) -> cell; rows of other clips are unchanged.

    Raises:
        UserError: the table is invalid (see read_clip_table).
    """
    read_clip_table(path)
    rows = [row.cells for row in read_rows(table_file(path), remarks=False)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys([*rows[0], column])))
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, column: values.get(normal_path(row["path"]), row.get(column, ""))})
    return text.getvalue()


def target_names(paths: Sequence[str], suffix: str) -> dict[str, str]:
    """Each clip's path with a new suffix: clips/a.avi -> clips/a.mp4, or a.avi.mp4 if there is also an a.mkv.

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
    return path.removesuffix(suffix) if suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES) else path
