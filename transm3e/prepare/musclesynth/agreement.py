"""Do the labels agree with public tables of exercises? Each primitive beside the vote on the exercises that are like it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transm3e.data.annotations import MUSCLES
from transm3e.data.csv_tables import Row, read_rows
from transm3e.prepare.musclesynth.vocabulary import PRIMITIVES
from transm3e.prepare.votes.tables import BY_NAME, Match, SourceRow, read_sources, read_vocabulary
from transm3e.prepare.votes.vote import ActivityVote, count_votes

# "pushups" and "push-up" are the same words.
_JOINED = re.compile(r"(push|pull|sit|chin|step|press)up")


@dataclass(frozen=True)
class Agreement:
    """A primitive's label beside the vote.

    Attributes:
        primitive: its name.
        sources, rows: how many sources have such exercises, and how many of these there are.
        label, voted: regions, indices into MUSCLES.
        note: why they differ; "" where nothing is said.
    """

    primitive: str
    sources: int
    rows: int
    label: frozenset[int]
    voted: frozenset[int]
    note: str

    @property
    def jaccard(self) -> float:
        """Regions that both name, of those that either names."""
        return len(self.label & self.voted) / len(self.label | self.voted)


def compare(sources: Iterable[str | Path], vocabulary: str | Path, words: str | Path) -> list[Agreement]:
    """Vote on every primitive of the table `words` that sources have, by the rule of datasets/vote_muscles.py.

    Args:
        sources: files or folders, see votes.tables.read_sources.
        vocabulary: file, see votes.tables.read_vocabulary.
        words: CSV with the columns primitive, words, without, note: an exercise is like the primitive if its name has all
            of one set of words (sets separated by ";") and none of `without`.

    Raises:
        UserError: a table is wrong.
    """
    entries, _ = read_sources(sources)
    named = [(entry, _words(entry.exercise)) for entry in entries]
    rows = read_rows(words, ("primitive", "words", "without", "note"))
    matches = {row.cells["primitive"]: _matches(row, named) for row in rows}
    votes = count_votes(list(matches), [m for some in matches.values() for m in some], read_vocabulary(vocabulary), {})
    notes = {row.cells["primitive"]: row.cells["note"] for row in rows}
    return [_agreement(vote, len(matches[vote.activity]), notes[vote.activity]) for vote in votes if vote.ballots]


def markdown(found: Iterable[Agreement]) -> str:
    """The table, and a line of sums."""
    found = list(found)
    lines = ["| primitive | sources (exercises) | both | label only | vote only | note |", "|---|---|---|---|---|---|"]
    for each in found:
        sets = (each.label & each.voted, each.label - each.voted, each.voted - each.label)
        cells = " | ".join(", ".join(MUSCLES[muscle] for muscle in sorted(some)) for some in sets)
        lines.append(f"| {each.primitive} | {each.sources} ({each.rows}) | {cells} | {each.note} |")
    same = sum(each.label == each.voted for each in found)
    mean = sum(each.jaccard for each in found) / max(1, len(found))
    return "\n".join([*lines, "", f"{len(found)} primitives, {same} equal; mean Jaccard index {mean:.2f}"])


def _words(name: str) -> frozenset[str]:
    text = _JOINED.sub(r"\1 up", name.lower().replace("ups", "up"))
    return frozenset(word.rstrip("s") if len(word) > 3 else word for word in re.findall(r"[a-z0-9]+", text))


def _matches(row: Row, named: list[tuple[SourceRow, frozenset[str]]]) -> list[Match]:
    wanted = [_words(text) for text in row.cells["words"].split(";")]
    without = _words(row.cells["without"])
    return [
        Match(row.cells["primitive"], entry, BY_NAME)
        for entry, name in named
        if not name & without and any(words <= name for words in wanted)
    ]


def _agreement(vote: ActivityVote, rows: int, note: str) -> Agreement:
    label = frozenset(PRIMITIVES[vote.activity].muscles)
    return Agreement(vote.activity, len(vote.ballots), rows, label, frozenset(vote.regions), note)
