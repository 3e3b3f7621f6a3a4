"""The whole vote: tables in, one ActivityVote per activity out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transm3e.errors import UserError
from transm3e.prepare.votes.matching import NEAR, Match, match_by_name, match_by_table, read_activities
from transm3e.prepare.votes.sources import MUSCLES_READ, read_same_sources, read_sources, without
from transm3e.prepare.votes.vocabulary import Vocabulary, read_vocabulary, refuse_unknown
from transm3e.prepare.votes.vote import TWO, ActivityVote, count_votes, parse_threshold

UNKNOWN = ("error", "skip")


@dataclass(frozen=True)
class VoteResult:
    """A vote and what it rests on.

    Attributes:
        votes: one per activity, in order.
        matches: every match, also the near ones that do not count.
        near_count: whether near variants count.
        vocabulary: meaning of the words.
        muscles: "all" or "primary".
        threshold: "two", "half", "majority" or a number.
        min_sources: below this number of sources no region is set.
        copies: copy to the source that it copies.
        excluded: sources left out by the user.
        absent: sources of the match table that are not among the tables.
        passed_over: files of a folder of sources that are no tables of sources.
        unknown: words passed over, and how often each was met.
    """

    votes: list[ActivityVote]
    matches: list[Match]
    near_count: bool
    vocabulary: Vocabulary
    muscles: str
    threshold: str | int
    min_sources: int
    copies: dict[str, str]
    excluded: tuple[str, ...]
    absent: list[str]
    passed_over: list[Path]
    unknown: Counter[str]

    def counts(self, match: Match) -> bool:
        """Whether a match has a say in the vote."""
        return self.near_count or match.how != NEAR


def run_vote(
    sources: Iterable[str | Path],
    vocabulary: str | Path,
    activities: str | Path,
    match: str | Path | None = None,
    same_as: str | Path | None = None,
    exclude: Sequence[str] = (),
    muscles: str = "all",
    threshold: str | int = TWO,
    min_sources: int = 1,
    near: bool = False,
    unknown: str = "error",
) -> VoteResult:
    """Read the tables and let the sources vote on each activity.

    Args:
        sources: files or folders, see read_sources.
        vocabulary: file, see read_vocabulary.
        activities: file, see read_activities.
        match: file, see match_by_table; without it exercises count whose names are equal, see name_key.
        same_as: file, see read_same_sources.
        exclude: names of sources that do not count.
        muscles: "all" counts primary and secondary muscles, "primary" the primary ones only.
        threshold: "two", "half", "majority" or a number of votes, see parse_threshold.
        min_sources: below this number of sources no region is set.
        near: also count the near variants of the match table.
        unknown: "error", or "skip" to leave unknown words out and count them.

    Raises:
        UserError: a table or an argument is wrong, or a word is unknown.
    """
    _check(muscles, min_sources, unknown)
    rule = parse_threshold(threshold)
    entries, passed_over = read_sources(sources)
    entries = without(entries, exclude)
    meanings, names = read_vocabulary(vocabulary), read_activities(activities)
    copies = read_same_sources(same_as) if same_as else {}
    matches, absent = match_by_table(match, names, entries) if match else (match_by_name(names, entries), [])
    counted = [one for one in matches if near or one.how != NEAR]
    words = meanings.unknown(word for one in counted for word in one.entry.words(muscles))
    if unknown == "error":
        refuse_unknown(words, meanings, vocabulary)
    votes = count_votes(names, counted, meanings, copies, muscles, rule, min_sources)
    return VoteResult(
        votes=votes,
        matches=matches,
        near_count=near,
        vocabulary=meanings,
        muscles=muscles,
        threshold=rule,
        min_sources=min_sources,
        copies=copies,
        excluded=tuple(exclude),
        absent=[name for name in absent if name not in exclude],
        passed_over=passed_over,
        unknown=words,
    )


def refuse_source_folder(out: str | Path, sources: Iterable[str | Path]) -> None:
    """Do nothing if the results get a folder of their own.

    Raises:
        UserError: `out` is a folder of sources; the labels written there would vote in the next call.
    """
    if any(Path(out).resolve() == Path(path).resolve() for path in sources):
        raise UserError(f"{out} is a folder of sources, labels in it would be read as a source; choose another folder")


def _check(muscles: str, min_sources: int, unknown: str) -> None:
    if muscles not in MUSCLES_READ or unknown not in UNKNOWN or min_sources < 1:
        raise UserError(
            f"muscles {muscles!r}, unknown {unknown!r}, min_sources {min_sources}: needs muscles one of "
            f"{', '.join(MUSCLES_READ)}, unknown one of {', '.join(UNKNOWN)}, and min_sources of 1 or more"
        )
