"""The vocabulary: which of the 20 regions a source's word for a muscle means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from transm3e.data.annotations import NO_MUSCLE, parse_muscles
from transm3e.data.csv_tables import plain, read_rows
from transm3e.errors import UserError

# Instead of regions: a word that names no muscle ("legs", "cardio"), so that who says only this has not spoken.
UNSPECIFIC = "unspecific"
WORDS_SHOWN = 20


@dataclass(frozen=True)
class Vocabulary:
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

    def nearest(self, word: str) -> Sequence[str]:
        """Known words like this one, the most alike first; at most two, maybe none."""
        return get_close_matches(word, self.regions, n=2)


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
            raise UserError(f"{row.where}: {term!r} stands in an earlier row with other regions; delete one")
    return Vocabulary(regions)


def refuse_unknown(unknown: Counter[str], vocabulary: Vocabulary, path: str | Path) -> None:
    """Do nothing if there is no unknown word.

    Raises:
        UserError: there is one; the message lists them with the nearest known words.
    """
    if not unknown:
        return
    shown = [_with_nearest(word, vocabulary) for word in sorted(unknown)[:WORDS_SHOWN]]
    more = f" and {len(unknown) - WORDS_SHOWN} more" if len(unknown) > WORDS_SHOWN else ""
    raise UserError(
        f"unknown word(s) for muscles: {', '.join(shown)}{more}; add them to {path} (regions, {NO_MUSCLE!r} or "
        f"{UNSPECIFIC!r}), or pass over them with --unknown skip"
    )


def _with_nearest(word: str, vocabulary: Vocabulary) -> str:
    nearest = vocabulary.nearest(word)
    return f"{word!r} (like {' or '.join(map(repr, nearest))})" if nearest else f"{word!r} (like none)"
