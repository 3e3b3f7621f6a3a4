"""The tables of a vote: muscles that sources name per exercise, the meaning of their words, exercises of an activity."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from transm3e.data.annotations import NO_MUSCLE, parse_muscles
from transm3e.data.csv_tables import Row, plain, read_rows, split_list
from transm3e.errors import UserError

# A table of one source or of several; the muscles in the source's own words, joined by ";".
FULL_COLUMNS = ("source", "exercise", "primary_muscles")
# A table of one source, named as its file unless it has a column "source".
SIMPLE_COLUMNS = ("activity", "muscles")
NEEDED = f"{','.join(FULL_COLUMNS)} or {','.join(SIMPLE_COLUMNS)}"
MUSCLES_READ = ("all", "primary")
# In place of regions: a word that names no muscle ("legs", "cardio"); a source with only such words has no vote.
UNSPECIFIC = "unspecific"
SAME, NEAR, BY_NAME = "same", "near", "name"
SHOWN, LOST_SHOWN = 20, 5


class SourceRow(NamedTuple):
    """What a source says about one exercise.

    Attributes:
        source: short name of the source, see source_name.
        exercise: its name there.
        primary: the muscles it works, in the source's words, in order.
        secondary: secondary muscles in the same form; empty where the table has none.
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


class Match(NamedTuple):
    """An exercise of a source matched to an activity; how: SAME or NEAR (a variant) by the match table, or BY_NAME."""

    activity: str
    row: SourceRow
    how: str


class Vocabulary(NamedTuple):
    """Words and what they mean.

    Attributes:
        regions: word (see plain) to indices into MUSCLES; () is a muscle outside the 20 regions, None is unspecific.
    """

    regions: dict[str, tuple[int, ...] | None]

    def named(self, words: Iterable[str]) -> frozenset[int] | None:
        """All regions that known words mean, unknown words left out; None where no word names a muscle."""
        meanings = [self.regions.get(plain(word)) for word in words]
        said = [meaning for meaning in meanings if meaning is not None]
        return frozenset(index for meaning in said for index in meaning) if said else None

    def unknown(self, words: Iterable[str]) -> Counter[str]:
        """How often each word occurs that the vocabulary does not hold."""
        return Counter(word for word in map(plain, words) if word not in self.regions)


def source_name(text: str) -> str:
    """A page's address -> its site, so that a site has one vote; else the text before " (", which holds remarks.

    "https://www.site.org/page" -> "site.org"; "LibreFit (only new entries)" -> "LibreFit".
    """
    name = text.partition(" (")[0].strip()
    return urlsplit(name).netloc.lower().removeprefix("www.") if name.startswith(("http://", "https://")) else name


def read_sources(paths: Iterable[str | Path], exclude: Sequence[str] = ()) -> tuple[list[SourceRow], list[Path]]:
    """Every exercise of the tables; in a folder all *.csv files are read, and other kinds of tables left out.

    A table has the columns source,exercise,primary_muscles and optionally secondary_muscles, or activity,muscles and
    optionally source.

    Returns:
        rows in the order of files and lines, without the sources in `exclude`; the files of a folder that are no tables
        of sources.

    Raises:
        UserError: a file is missing or broken, a file named by itself is no table of sources, a row lacks its
            source or exercise, there is no row at all, or an excluded source does not occur.
    """
    rows: list[SourceRow] = []
    left_out: list[Path] = []
    given = [Path(path) for path in paths]
    for path in given:
        for file in sorted(path.glob("*.csv")) if path.is_dir() else [path]:
            found = _source_rows(file)
            if found is None and not path.is_dir():
                raise UserError(f"{file}: not a table of sources; the header needs {NEEDED}")
            rows += found or []
            left_out += [file] if found is None else []
    if not rows:
        raise UserError(
            f"no exercise in {', '.join(map(str, given))}; name tables with the columns {NEEDED}, or a folder of them"
        )
    present = {row.source for row in rows}
    if absent := sorted(set(exclude) - present):
        names = ", ".join(sorted(present)[:SHOWN])
        raise UserError(f"cannot exclude {', '.join(absent)}: no such source; there are {names}")
    return [row for row in rows if row.source not in exclude], left_out


def read_same_sources(path: str | Path) -> dict[str, str]:
    """CSV with the columns source, same_as -> copy to the source that it copies.

    Raises:
        UserError: the file cannot be read, a cell is empty, or a source copies itself, two others, or a copy.
    """
    copies: dict[str, str] = {}
    for row in read_rows(path, ("source", "same_as")):
        copy, original = (source_name(row.cells[name]) for name in ("source", "same_as"))
        if not copy or not original or copies.setdefault(copy, original) != original:
            raise UserError(
                f"{row.where}: needs one source and the one source that it copies, got {copy!r}, {original!r}"
            )
    chained = [copy for copy, original in copies.items() if original in copies]
    if chained:
        raise UserError(f"{path}: {chained[0]!r} copies a copy; name the source that {copies[chained[0]]!r} copies")
    return copies


def read_vocabulary(path: str | Path) -> Vocabulary:
    """CSV with the columns term, regions; regions are names or numbers joined by ";", "none" or "unspecific".

    Raises:
        UserError: the file cannot be read, a cell is empty, a region is unknown, or a term has two meanings.
    """
    regions: dict[str, tuple[int, ...] | None] = {}
    for row in read_rows(path, ("term", "regions")):
        term, text = plain(row.cells["term"]), row.cells["regions"]
        if not term or not text:
            raise UserError(
                f"{row.where}: empty term or regions; write regions, {NO_MUSCLE!r} for a muscle outside all of them, or "
                f"{UNSPECIFIC!r} for a word that names no muscle"
            )
        meaning = None if text == UNSPECIFIC else parse_muscles(text, row.where)
        if regions.setdefault(term, meaning) != meaning:
            raise UserError(f"{row.where}: {term!r} has other regions in an earlier row; delete one")
    return Vocabulary(regions)


def refuse_unknown(unknown: Mapping[str, int], vocabulary: Vocabulary, path: str | Path) -> None:
    """Do nothing if there is no unknown word.

    Raises:
        UserError: there is one; the message lists them with the nearest known words.
    """
    if not unknown:
        return
    near = {word: get_close_matches(word, vocabulary.regions, n=2) for word in sorted(unknown)[:SHOWN]}
    words = ", ".join(f"{word!r} (like {' or '.join(map(repr, some)) or 'none'})" for word, some in near.items())
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    raise UserError(
        f"unknown word(s) for muscles: {words}{more}; add them to {path} (regions, {NO_MUSCLE!r} or "
        f"{UNSPECIFIC!r}), or leave them out with --unknown skip"
    )


def read_activities(path: str | Path) -> list[str]:
    """The column "activity" of a CSV file, each activity once, in order; a match table serves too.

    Raises:
        UserError: the file cannot be read, an activity is empty, or there is none.
    """
    rows = read_rows(path, ("activity",))
    empty = [row.where for row in rows if not row.cells["activity"]]
    if empty or not rows:
        raise UserError(f"{empty[0] if empty else path}: no activity; name one per row in the column activity")
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(plain(row.cells["activity"]), row.cells["activity"])
    return list(names.values())


def match_by_name(activities: Sequence[str], rows: Sequence[SourceRow]) -> list[Match]:
    """Exercises with the activity's name, ignoring only case, punctuation, blanks and plurals."""
    named = defaultdict(list)
    for row in rows:
        named[name_key(row.exercise)].append(row)
    return [Match(activity, row, BY_NAME) for activity in activities for row in named[name_key(activity)]]


def name_key(name: str) -> str:
    """ "Push-Ups" and "pushup" -> "pushup": letters and digits only, each word in the singular."""
    words = re.findall(r"[^\W_]+", name.casefold())
    return "".join(re.sub(r"(?<=ch|sh|ss)es$|(?<=x)es$|(?<=[^s])s$", "", word) for word in words)


def match_by_table(
    path: str | Path, activities: Sequence[str], rows: Sequence[SourceRow]
) -> tuple[list[Match], list[str]]:
    """CSV with the columns activity, source, exercise and maybe match ("same", the default, or "near").

    An exercise that a source lists in several rows gives several matches. Rows of activities that are not asked for
    are passed over.

    Returns:
        matches in the order of activities and rows; the sources of the table that no row comes from.

    Raises:
        UserError: the file cannot be read, a cell is empty or wrong, or a source lacks the exercise.
    """
    listed: dict[str, dict[str, list[SourceRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        listed[row.source][plain(row.exercise)].append(row)
    asked = {plain(name): name for name in activities}
    matches: dict[Match, None] = {}
    absent: dict[str, None] = {}
    lost: list[str] = []
    for cells, where in read_rows(path, ("activity", "source", "exercise")):
        activity, exercise, source = cells["activity"], cells["exercise"], source_name(cells["source"])
        how = cells.get("match", "") or SAME
        if not activity or not source or not exercise or how not in (SAME, NEAR):
            raise UserError(f"{where}: needs activity, source, exercise, and match {SAME!r} or {NEAR!r}")
        if source not in listed:
            absent[source] = None
        elif plain(exercise) not in listed[source]:
            nearest = get_close_matches(plain(exercise), listed[source], n=1)
            like = f", it has {listed[source][nearest[0]][0].exercise!r}" if nearest else ""
            lost.append(f"{where}: {source} has no {exercise!r}{like}")
        elif name := asked.get(plain(activity)):
            for row in listed[source][plain(exercise)]:
                if not {Match(name, row, SAME), Match(name, row, NEAR)} & matches.keys():
                    matches[Match(name, row, how)] = None
    if lost:
        more = f" (and {len(lost) - LOST_SHOWN} more)" if len(lost) > LOST_SHOWN else ""
        raise UserError(f"{'; '.join(lost[:LOST_SHOWN])}{more}; write exercises as the source does, or delete the row")
    return sorted(matches, key=lambda match: activities.index(match.activity)), list(absent)


def _source_rows(file: Path) -> list[SourceRow] | None:
    rows = read_rows(file)
    columns = rows[0].cells if rows else {}
    if all(name in columns for name in FULL_COLUMNS):
        return [_source_row(row, "exercise", "primary_muscles", "") for row in rows]
    if all(name in columns for name in SIMPLE_COLUMNS):
        return [_source_row(row, "activity", "muscles", file.stem) for row in rows]
    return None


def _source_row(row: Row, name: str, muscles: str, default_source: str) -> SourceRow:
    source = source_name(row.cells.get("source", "") or default_source)
    if not source or not row.cells[name]:
        raise UserError(f"{row.where}: empty source or {name}; every row names both")
    secondary = split_list(row.cells.get("secondary_muscles", ""))
    return SourceRow(source, row.cells[name], split_list(row.cells[muscles]), secondary, row.where)
