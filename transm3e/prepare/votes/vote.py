"""The vote: each source that names muscles for an activity has one ballot; enough ballots set a region.

The paper's label-noise suppression (section D.1): of N sources that name muscles for an activity, a region is set
when at least int(N/2) of them name it; by default, two of three sources are needed here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from transm3e.data.annotations import MUSCLES, multi_hot
from transm3e.errors import UserError
from transm3e.prepare.votes.tables import (
    MUSCLES_READ,
    NEAR,
    Match,
    Vocabulary,
    match_by_name,
    match_by_table,
    read_activities,
    read_same_sources,
    read_sources,
    read_vocabulary,
    refuse_unknown,
)

TWO, HALF, MAJORITY = "two", "half", "majority"
UNKNOWN = ("error", "skip")


@dataclass(frozen=True)
class ActivityVote:
    """The vote on one activity.

    Attributes:
        activity: its name.
        ballots: source to the regions it names, indices into MUSCLES; maybe none of them.
        silent: sources that list the activity and name no muscle; they do not count.
        needed: votes that set a region, at least 1.
        enough: whether there are as many sources as required; otherwise no region is set.
    """

    activity: str
    ballots: Mapping[str, frozenset[int]]
    silent: tuple[str, ...]
    needed: int
    enough: bool

    @cached_property
    def matrix(self) -> np.ndarray:
        """(sources, 20) uint8 of 0 and 1, in the order of `ballots`."""
        return np.array([multi_hot(ballot) for ballot in self.ballots.values()], np.uint8).reshape(-1, len(MUSCLES))

    @property
    def votes(self) -> np.ndarray:
        """(20,) int64: how many sources name each region."""
        return self.matrix.sum(0, dtype=np.int64)

    @property
    def regions(self) -> tuple[int, ...]:
        """The regions set, indices into MUSCLES; () where there are too few sources, or no agreement."""
        return tuple(np.flatnonzero(self.votes >= self.needed).tolist()) if self.enough else ()

    @property
    def borderline(self) -> tuple[int, ...]:
        """The regions that one vote more or less would change: with just enough votes, or named and one short."""
        short = (self.votes == self.needed - 1) & (self.votes > 0)
        return tuple(np.flatnonzero((self.votes == self.needed) | short).tolist()) if self.enough else ()

    @property
    def reason(self) -> str:
        """Why no region is set; "" where one is."""
        if self.regions:
            return ""
        if not self.enough:
            return f"too few sources name muscles: {len(self.ballots)}"
        return f"no region has {self.needed} of {len(self.ballots)} votes"


def votes_needed(sources: int, threshold: str | int) -> int:
    """How many of N sources must name a region, at least 1.

    "half" is the paper's int(N/2) (section D.1), which is 1 for three sources, so that one of them decides alone; "two"
    is the same but for three sources, which need two votes; "majority" is more than half; a number is itself, whatever N.
    """
    if isinstance(threshold, int):
        return threshold
    if threshold == MAJORITY:
        return sources // 2 + 1
    return max(2 if threshold == TWO and sources > 2 else 1, sources // 2)


def parse_threshold(value: str | int) -> str | int:
    """The rule of votes_needed: "two", "half", "majority", or a number of votes of 1 or more, which may come as text.

    Raises:
        UserError: anything else.
    """
    text = str(value)
    if text in (TWO, HALF, MAJORITY):
        return text
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise UserError(f"threshold {text!r}: needs {TWO}, {HALF}, {MAJORITY} or a number of votes, 1 or more")


def ballot(rows: Sequence[frozenset[int]]) -> frozenset[int]:
    """One ballot from a source's rows on one activity (variants, entries of several users).

    It holds the regions that at least half of the rows name: all regions of one row, the union of two rows, those in two
    of three rows.
    """
    named = Counter(index for regions in rows for index in regions)
    return frozenset(index for index, count in named.items() if 2 * count >= len(rows))


def count_votes(
    activities: Sequence[str],
    matches: Iterable[Match],
    vocabulary: Vocabulary,
    copies: Mapping[str, str],
    muscles: str = "all",
    threshold: str | int = TWO,
    min_sources: int = 1,
) -> list[ActivityVote]:
    """The vote on each activity, in order.

    Args:
        activities: their names.
        matches: which exercises of which sources count for them.
        vocabulary: meaning of the sources' words; unknown words are left out.
        copies: copy to the source that it copies; both have one ballot together.
        muscles: "all" or "primary", see SourceRow.words.
        threshold: see votes_needed.
        min_sources: below this number of sources no region is set.
    """
    said: dict[str, dict[str, list[frozenset[int] | None]]] = {name: defaultdict(list) for name in activities}
    for match in matches:
        source = copies.get(match.row.source, match.row.source)
        said[match.activity][source].append(vocabulary.named(match.row.words(muscles)))
    return [_vote(name, rows, threshold, min_sources) for name, rows in said.items()]


def _vote(
    activity: str, said: Mapping[str, Sequence[frozenset[int] | None]], threshold: str | int, min_sources: int
) -> ActivityVote:
    rows = {source: [regions for regions in all_rows if regions is not None] for source, all_rows in said.items()}
    ballots = {source: ballot(spoken) for source, spoken in rows.items() if spoken}
    silent = tuple(source for source in rows if source not in ballots)
    needed = votes_needed(len(ballots), threshold)
    return ActivityVote(activity, ballots, silent, needed, 0 < len(ballots) >= min_sources)


def mean_jaccard(ballots: np.ndarray) -> float | None:
    """Of (N, 20) ballots of 0 and 1, mean over pairs of (regions both name) / (regions either names), in [0, 1].

    Two sources that name no region at all agree: 1. None for fewer than two sources.
    """
    pairs = [((a & b).sum(), (a | b).sum()) for a, b in combinations(ballots.astype(bool), 2)]
    return float(np.mean([both / either if either else 1.0 for both, either in pairs])) if pairs else None


def fleiss_kappa(ballots: np.ndarray) -> float | None:
    """Fleiss' kappa of N sources that put each region into "named" or "not named", at most 1; 0 is chance.

    With n_i votes for region i of R and p = sum(n_i) / (N R): the observed agreement is the mean over the regions of
    (n_i (n_i - 1) + (N - n_i) (N - n_i - 1)) / (N (N - 1)), that of chance p^2 + (1 - p)^2, and kappa =
    (observed - chance) / (1 - chance) (Fleiss, Psychological Bulletin 76, 1971). None for fewer than two sources,
    and where all of them name all regions or none.
    """
    sources, regions = ballots.shape
    if sources < 2:
        return None
    votes = ballots.sum(0, dtype=np.float64)
    share = votes.sum() / (sources * regions)
    chance = share**2 + (1 - share) ** 2
    if chance == 1:
        return None
    against = sources - votes
    observed = np.mean(votes * (votes - 1) + against * (against - 1)) / (sources * (sources - 1))
    return float((observed - chance) / (1 - chance))


@dataclass(frozen=True)
class VoteRules:
    """Rules of the vote.

    Attributes:
        muscles: "all" counts primary and secondary muscles, "primary" the primary ones only.
        threshold: see votes_needed.
        min_sources: below this number of sources no region is set.
        near: also count the near variants of the match table.
        exclude: names of sources that do not count.
        unknown: "error", or "skip" to leave unknown words out and count them.

    Raises:
        UserError: another value.
    """

    muscles: str = "all"
    threshold: str | int = TWO
    min_sources: int = 1
    near: bool = False
    exclude: Sequence[str] = ()
    unknown: str = "error"

    def __post_init__(self) -> None:
        if self.muscles not in MUSCLES_READ or self.unknown not in UNKNOWN or self.min_sources < 1:
            raise UserError(
                f"muscles {self.muscles!r}, unknown {self.unknown!r}, min_sources {self.min_sources}: needs muscles one of "
                f"{', '.join(MUSCLES_READ)}, unknown one of {', '.join(UNKNOWN)}, and min_sources of 1 or more"
            )
        parse_threshold(self.threshold)

    def count(self, match: Match) -> bool:
        """Whether a match counts."""
        return self.near or match.how != NEAR


@dataclass(frozen=True)
class VoteResult:
    """A vote and what it rests on.

    Attributes:
        rules: of the vote.
        votes: one per activity, in order.
        matches: every match, also the near ones that do not count.
        vocabulary: meaning of the words.
        copies: copy to the source that it copies.
        absent: sources of the match table that are not among the tables.
        left_out: files of a folder of sources that are no tables of sources.
        unknown: words left out, and how often each occurred.
    """

    rules: VoteRules
    votes: list[ActivityVote]
    matches: list[Match]
    vocabulary: Vocabulary
    copies: dict[str, str]
    absent: list[str]
    left_out: list[Path]
    unknown: Counter[str]


def run_vote(
    sources: Iterable[str | Path],
    vocabulary: str | Path,
    activities: str | Path,
    match: str | Path | None = None,
    same_as: str | Path | None = None,
    rules: VoteRules | None = None,
) -> VoteResult:
    """Read the tables (see read_sources, read_vocabulary, read_activities, match_by_table, read_same_sources) and vote.

    Without a match table exercises count whose names are equal, see name_key.

    Raises:
        UserError: a table is wrong, or a word is unknown.
    """
    rules = rules or VoteRules()
    rows, left_out = read_sources(sources, rules.exclude)
    meanings, names = read_vocabulary(vocabulary), read_activities(activities)
    copies = read_same_sources(same_as) if same_as else {}
    matches, absent = match_by_table(match, names, rows) if match else (match_by_name(names, rows), [])
    counted = [one for one in matches if rules.count(one)]
    words = meanings.unknown(word for one in counted for word in one.row.words(rules.muscles))
    if rules.unknown == "error":
        refuse_unknown(words, meanings, vocabulary)
    threshold = parse_threshold(rules.threshold)
    votes = count_votes(names, counted, meanings, copies, rules.muscles, threshold, rules.min_sources)
    absent = [name for name in absent if name not in rules.exclude]
    return VoteResult(rules, votes, matches, meanings, copies, absent, left_out, words)
