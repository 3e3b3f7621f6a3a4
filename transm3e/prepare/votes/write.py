"""The vote as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from transm3e.data.annotations import MUSCLES, NO_MUSCLE
from transm3e.prepare.votes.agreement import fleiss_kappa, mean_jaccard
from transm3e.prepare.votes.run import VoteResult
from transm3e.prepare.votes.vote import ActivityVote

VOTES, LABELS, MATCHES, REPORT, PICTURE = "votes.csv", "labels.csv", "matches.csv", "report.md", "votes.png"
FILES = (VOTES, LABELS, MATCHES, REPORT, PICTURE)


def names_of(regions: Iterable[int], joint: str = ";") -> str:
    """Indices into MUSCLES -> their names."""
    return joint.join(MUSCLES[index] for index in sorted(regions))


def figure_text(value: float | None) -> str:
    """A figure of agreement with two decimals; "" where there is none."""
    return "" if value is None else f"{value:.2f}"


def write_tables(result: VoteResult, folder: str | Path) -> None:
    """Write votes.csv, labels.csv and matches.csv into a folder that exists.

    - votes.csv: activity, sources, threshold (votes needed), a column of votes per region, regions set, borderline
      regions, mean pairwise Jaccard index, Fleiss' kappa, and why no region is set.
    - labels.csv: activity, muscles; only activities of which a region is set.
    - matches.csv: which exercise of which source stood for which activity, how it was matched, whether it counted,
      the regions it names ("none": only muscles outside the regions; empty: none at all) and where it stands.
    """
    folder = Path(folder)
    _write(folder / VOTES, _votes_header(), map(_votes_row, result.votes))
    labels = ((vote.activity, names_of(vote.regions)) for vote in result.votes if vote.regions)
    _write(folder / LABELS, ("activity", "muscles"), labels)
    _write(
        folder / MATCHES, ("activity", "source", "exercise", "match", "counted", "regions", "row"), _match_rows(result)
    )


def _votes_header() -> tuple[str, ...]:
    before, after = ("activity", "sources", "threshold"), ("regions", "borderline", "jaccard", "kappa", "no_label")
    return (*before, *MUSCLES, *after)


def _votes_row(vote: ActivityVote) -> tuple[object, ...]:
    agreement = figure_text(mean_jaccard(vote.matrix)), figure_text(fleiss_kappa(vote.matrix))
    regions = names_of(vote.regions), names_of(vote.borderline)
    return (vote.activity, len(vote.ballots), vote.needed, *vote.votes.tolist(), *regions, *agreement, vote.reason)


def _match_rows(result: VoteResult) -> Iterable[tuple[str, ...]]:
    for match in result.matches:
        regions = result.vocabulary.named(match.entry.words(result.muscles))
        text = "" if regions is None else names_of(regions) or NO_MUSCLE
        counted = "yes" if result.counts(match) else "no"
        # The file's name only: a folder of this machine means nothing to the next reader.
        row = Path(match.entry.where).name
        yield (match.activity, match.entry.source, match.entry.exercise, match.how, counted, text, row)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(header)
        writer.writerows(rows)
