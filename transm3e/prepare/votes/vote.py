"""The vote: each source that names muscles for an activity has one ballot; enough ballots set a region."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transm3e.data.annotations import MUSCLES, multi_hot
from transm3e.errors import UserError
from transm3e.prepare.votes.matching import Match
from transm3e.prepare.votes.vocabulary import Vocabulary

TWO, HALF, MAJORITY = "two", "half", "majority"


@dataclass(frozen=True)
class ActivityVote:
    """The vote on one activity.

    Attributes:
        activity: its name.
        ballots: source to the regions it names, indices into MUSCLES; maybe none of them.
        silent: sources that list the activity and name no muscle; they do not count.
        needed: votes that set a region, at least 1.
        enough: whether as many sources have spoken as are asked for; else no region is set.
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
    """What one source says in several rows on one activity (variants, entries of several users): one ballot.

    It holds the regions that at least half of the rows name: of one row all, of two rows those of either, of three
    rows those of two.
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
        muscles: "all" or "primary", see Entry.words.
        threshold: see votes_needed.
        min_sources: below this number of sources no region is set.
    """
    said: dict[str, dict[str, list[frozenset[int] | None]]] = {name: defaultdict(list) for name in activities}
    for match in matches:
        source = copies.get(match.entry.source, match.entry.source)
        said[match.activity][source].append(vocabulary.named(match.entry.words(muscles)))
    return [_vote(name, rows, threshold, min_sources) for name, rows in said.items()]


def _vote(
    activity: str, said: Mapping[str, Sequence[frozenset[int] | None]], threshold: str | int, min_sources: int
) -> ActivityVote:
    rows = {source: [regions for regions in all_rows if regions is not None] for source, all_rows in said.items()}
    ballots = {source: ballot(spoken) for source, spoken in rows.items() if spoken}
    silent = tuple(source for source in rows if source not in ballots)
    needed = votes_needed(len(ballots), threshold)
    return ActivityVote(activity, ballots, silent, needed, 0 < len(ballots) >= min_sources)
