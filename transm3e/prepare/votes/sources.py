"""Sources: who names which muscles for which exercise, in tables with one row per exercise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from transm3e.data.csv_tables import Row, read_rows, split_list
from transm3e.errors import UserError

# A table of one source or of several; the muscles in the source's own words, joined by ";".
FULL_COLUMNS = ("source", "exercise", "primary_muscles")
# A table of one source, named as its file unless it has a column "source".
SIMPLE_COLUMNS = ("activity", "muscles")
MUSCLES_READ = ("all", "primary")
SOURCES_SHOWN = 20


@dataclass(frozen=True)
class Entry:
    """What a source says about one exercise.

    Attributes:
        source: short name of the source, see source_name.
        exercise: its name there.
        primary: the muscles it works, in the source's words, in order.
        secondary: those it works beside them, likewise; empty where the table does not tell them apart.
        where: "file:line", for messages.
    """

    source: str
    exercise: str
    primary: tuple[str, ...]
    secondary: tuple[str, ...]
    where: str

    def words(self, muscles: str) -> tuple[str, ...]:
        """The muscles that count: "primary" only, or "all", which adds the secondary ones."""
        return self.primary if muscles == "primary" else self.primary + self.secondary


def source_name(text: str) -> str:
    """A page's address -> its site, so that a site has one vote; else the text before " (", which holds remarks.

    "https://www.site.org/page" -> "site.org"; "LibreFit (only new entries)" -> "LibreFit".
    """
    name = text.partition(" (")[0].strip()
    return urlsplit(name).netloc.lower().removeprefix("www.") if name.startswith(("http://", "https://")) else name


def read_sources(paths: Iterable[str | Path]) -> tuple[list[Entry], list[Path]]:
    """Every exercise of the tables; in a folder all *.csv files are read, and those of another kind passed over.

    A table has the columns source,exercise,primary_muscles and maybe secondary_muscles, or activity,muscles and
    maybe source.

    Returns:
        entries in the order of files and rows; the files of a folder that are no tables of sources.

    Raises:
        UserError: a file is missing or broken, a file named by itself is no table of sources, a row lacks its
            source or exercise, or there is no row at all.
    """
    entries: list[Entry] = []
    passed_over: list[Path] = []
    given = [Path(path) for path in paths]
    for path in given:
        for file in sorted(path.glob("*.csv")) if path.is_dir() else [path]:
            found = _entries(file)
            if found is None and not path.is_dir():
                raise UserError(
                    f"{file}: not a table of sources; the header needs {','.join(FULL_COLUMNS)} or "
                    f"{','.join(SIMPLE_COLUMNS)}"
                )
            entries += found or []
            passed_over += [file] if found is None else []
    if not entries:
        raise UserError(
            f"no exercise in {', '.join(map(str, given))}; name tables with the columns {','.join(FULL_COLUMNS)} or "
            f"{','.join(SIMPLE_COLUMNS)}, or a folder of them"
        )
    return entries, passed_over


def read_same_sources(path: str | Path) -> dict[str, str]:
    """CSV with the columns source, same_as -> copy to the source that it copies.

    Raises:
        UserError: the file cannot be read, a cell is empty, or a source copies itself, two others, or a copy.
    """
    copies: dict[str, str] = {}
    rows = read_rows(path, ("source", "same_as"))
    for row in rows:
        copy, original = (source_name(row.cells[name]) for name in ("source", "same_as"))
        if not copy or not original or copies.setdefault(copy, original) != original:
            raise UserError(
                f"{row.where}: needs one source and the one source that it copies, got {copy!r}, {original!r}"
            )
    chained = [copy for copy, original in copies.items() if original in copies]
    if chained:
        raise UserError(f"{path}: {chained[0]!r} copies a copy; name the source that {copies[chained[0]]!r} copies")
    return copies


def without(entries: Sequence[Entry], exclude: Sequence[str]) -> list[Entry]:
    """Entries but those of the sources in `exclude`.

    Raises:
        UserError: an excluded source does not occur.
    """
    present = {entry.source for entry in entries}
    absent = sorted(set(exclude) - present)
    if absent:
        names = ", ".join(sorted(present)[:SOURCES_SHOWN])
        raise UserError(f"cannot exclude {', '.join(absent)}: no such source; there are {names}")
    return [entry for entry in entries if entry.source not in exclude]


def _entries(file: Path) -> list[Entry] | None:
    rows = read_rows(file)
    columns = rows[0].cells if rows else {}
    if all(name in columns for name in FULL_COLUMNS):
        return [_entry(row, "exercise", "primary_muscles", "") for row in rows]
    if all(name in columns for name in SIMPLE_COLUMNS):
        return [_entry(row, "activity", "muscles", file.stem) for row in rows]
    return None


def _entry(row: Row, name: str, muscles: str, default_source: str) -> Entry:
    source = source_name(row.cells.get("source", "") or default_source)
    if not source or not row.cells[name]:
        raise UserError(f"{row.where}: empty source or {name}; every row names both")
    secondary = split_list(row.cells.get("secondary_muscles", ""))
    return Entry(source, row.cells[name], split_list(row.cells[muscles]), secondary, row.where)
