"""CSV tables as they come from elsewhere."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transm3e.errors import UserError
from transm3e.files import read_text


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        cells: column to text without blanks at its ends; "" where the row has none.
        where: "file:line", for messages.
    """

    cells: dict[str, str]
    where: str


def read_rows(path: str | Path, columns: Sequence[str] = ()) -> list[Row]:
    """The rows of a UTF-8 CSV file with a header; empty lines and remarks, which begin with #, are passed over.

    Raises:
        UserError: the file is missing, not UTF-8 CSV, lacks one of `columns`, or a row has more cells than the header.
    """
    file = Path(path)
    try:
        lines = enumerate(read_text(file, encoding="utf-8-sig").splitlines(keepends=True), start=1)
        kept = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
        reader = csv.DictReader((line for _, line in kept), strict=True)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(
                f"{file}: column(s) {', '.join(missing)} missing; the header needs {','.join(columns)}, "
                "see datasets/README.md"
            )
        return [_row(cells, f"{file}:{kept[reader.line_num - 1][0]}") for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{file}: cannot be read as a UTF-8 CSV file ({reason}); name a CSV file, UTF-8") from error


def split_list(text: str) -> tuple[str, ...]:
    """ "biceps; triceps" -> ("biceps", "triceps"), each once, in order."""
    return tuple(dict.fromkeys(word for part in text.split(";") if (word := part.strip())))


def plain(text: str) -> str:
    """Text without regard to case and the number of blanks, to compare names as they are written."""
    return " ".join(text.casefold().split())


def _row(cells: dict[str, str | None], where: str) -> Row:
    if None in cells:
        raise UserError(f'{where}: more cells than the header has columns; put a cell that holds a comma in "..."')
    return Row({name: (text or "").strip() for name, text in cells.items()}, where)
