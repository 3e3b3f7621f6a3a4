"""The reader of all CSV tables written by users or by other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from transm3e.errors import UserError, shown
from transm3e.files import read_text

# Delimiters that spreadsheets use in countries with a decimal comma.
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        cells: column -> text, stripped of blanks.
        where: "file:line" of the row's first line, for messages.
    """

    cells: dict[str, str]
    where: str


def read_rows(
    path: str | Path, columns: Sequence[str] = (), optional: Sequence[str] = (), remarks: bool = True
) -> list[Row]:
    """The rows of a UTF-8 CSV file with a header; empty lines and rows of empty cells are ignored.

    Args:
        path: the file.
        columns: that the header must have, among others.
        optional: that it may have, for the message about a missing column.
        remarks: whether lines that begin with # are comments.

    Raises:
        UserError: the file is missing, not UTF-8 CSV, or larger than files.MAX_TEXT; its header lacks one of `columns`,
            or has a repeated or unnamed column; a row has more or fewer cells than the header.
    """
    file = Path(path)
    try:
        lines = _Lines(read_text(file, encoding="utf-8-sig"), remarks)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    reader = csv.reader(lines, strict=True)
    try:
        header = _checked_header([cell.strip() for cell in next(reader, [])], file, columns, optional)
        lines.row_begins, rows = True, []
        for cells in reader:
            lines.row_begins = True
            # Spreadsheets write cleared rows as commas only.
            if len(cells) > 1 and not any(map(str.strip, cells)):
                continue
            if len(cells) != len(header):
                raise _uneven(f"{file}:{lines.first}", len(cells), len(header))
            rows.append(Row(dict(zip(header, map(str.strip, cells), strict=True)), f"{file}:{lines.first}"))
        return rows
    except csv.Error as error:
        raise _unreadable(f"{file}:{lines.first}", error) from error


def split_list(text: str) -> tuple[str, ...]:
    """ "biceps; triceps" -> ("biceps", "triceps"), in order, without duplicates."""
    return tuple(dict.fromkeys(word for part in text.split(";") if (word := part.strip())))


def plain(text: str) -> str:
    """Text with case and blanks normalised, to compare names."""
    return " ".join(text.casefold().split())


class _Lines:
    """Lines for csv.reader, without empty lines and comments between rows; those within a quoted cell are kept.

    Attributes:
        row_begins: to be set to True after each row.
        first: number of the line where the current row begins, from 1.
    """

    def __init__(self, text: str, remarks: bool) -> None:
        self._text, self._remarks = text, remarks
        self.row_begins, self.first = True, 1

    def __iter__(self) -> Iterator[str]:
        # str.splitlines() would also split at characters that editors do not treat as line ends, such as U+2028.
        for number, line in enumerate(io.StringIO(self._text), start=1):
            if self.row_begins:
                if not line.strip() or (self._remarks and line.startswith("#")):
                    continue
                self.row_begins, self.first = False, number
            yield line


def _checked_header(header: list[str], file: Path, columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    seen = next((sign for sign in OTHER_DELIMITERS if len(header) == 1 and sign in header[0]), "")
    if seen:
        raise UserError(
            f"{file}: the header is one cell, {shown(header[0])}, with {OTHER_DELIMITERS[seen]} between the names; save "
            "the table with commas between cells (a spreadsheet's 'CSV UTF-8 (comma delimited)')"
        )
    missing = [name for name in columns if name not in header]
    if missing:
        more = f" and may have {', '.join(optional)}" if optional else ""
        raise UserError(
            f"{file}: column(s) {', '.join(missing)} missing; the header needs {','.join(columns)}{more}, "
            "see datasets/README.md"
        )
    for number, name in enumerate(header):
        if not name:
            raise UserError(f"{file}: column {number + 1} of the header has no name; name it, or delete the column")
        if name in header[:number]:
            raise UserError(f"{file}: the header names column {shown(name)} twice; keep one of the two columns")
    return header


def _uneven(where: str, cells: int, columns: int) -> UserError:
    remedy = (
        'join the muscles of a clip by ";", and put a cell that holds a comma in "..."'
        if cells > columns
        else "an empty cell needs its comma, too"
    )
    return UserError(f"{where}: {cells} cell{'s' * (cells != 1)}, but the header has {columns} columns; {remedy}")


def _unreadable(where: Path | str, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{where}: cannot be read as a UTF-8 CSV file ({reason}); save it as CSV, UTF-8")
