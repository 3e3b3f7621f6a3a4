"""Write a vote into a folder: CSV tables, a Markdown report, a figure; files of others are not overwritten."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from transm3e.data.annotations import MUSCLES, NO_MUSCLE
from transm3e.data.csv_tables import plain
from transm3e.errors import UserError
from transm3e.files import atomic_write_text, read_text
from transm3e.foreign.json_text import parse_json
from transm3e.prepare.votes.figure import vote_figure
from transm3e.prepare.votes.tables import NEAR
from transm3e.prepare.votes.vote import HALF, MAJORITY, TWO, ActivityVote, VoteResult, fleiss_kappa, mean_jaccard

VOTES, LABELS, MATCHES, REPORT, FIGURE = "votes.csv", "labels.csv", "matches.csv", "report.md", "votes.png"
FILES = (VOTES, LABELS, MATCHES, REPORT, FIGURE)
RECORD = ".made.json"  # holds the SHA-256 of every file that was made here
DEFINITIONS = """\
- **Sources**: those that name at least one muscle for the activity. A source has one vote, however many of its
  exercises match: its vote holds the regions that at least half of them name. Copies vote together with their original.
- **Borderline**: one vote more or less would change the region; of those set, marked ~.
- **Jaccard**: mean over all pairs of sources of (regions both name) / (regions either names); 1 is full agreement.
- **kappa**: Fleiss' kappa over the 20 regions, named or not; 1 is full agreement, 0 what chance gives."""


def write_votes(result: VoteResult, folder: str | Path) -> None:
    """Write all FILES into a folder; see own_files.

    - votes.csv: activity, sources, threshold (votes needed), a column of votes per region, regions set, borderline
      regions, mean pairwise Jaccard index, Fleiss' kappa, and why no region is set.
    - labels.csv: activity, muscles; only activities of which a region is set.
    - matches.csv: which exercise of which source was matched to which activity, how, whether it counted, the regions
      it names ("none": only muscles outside the regions; empty: none at all), and its row.

    Raises:
        UserError: see own_files.
    """
    with own_files(folder, FILES) as made:
        after = ("regions", "borderline", "jaccard", "kappa", "no_label")
        _write(made / VOTES, ("activity", "sources", "threshold", *MUSCLES, *after), map(_votes_row, result.votes))
        labels = ((vote.activity, _names(vote.regions)) for vote in result.votes if vote.regions)
        _write(made / LABELS, ("activity", "muscles"), labels)
        header = ("activity", "source", "exercise", "match", "counted", "regions", "row")
        _write(made / MATCHES, header, _match_rows(result))
        (made / REPORT).write_text(markdown(result), encoding="utf-8")
        vote_figure(result.votes, made / FIGURE)


@contextmanager
def own_files(folder: str | Path, names: Sequence[str]) -> Iterator[Path]:
    """A new folder to write the files `names` into; at the end of the block they replace those in `folder`.

    An exception within the block leaves `folder` as it was.

    Raises:
        UserError: a file of `folder` with one of the names was not made here or was changed since, or the folder cannot be
            written.
    """
    out = Path(folder)
    existing = {name: _digest(out / name) for name in names if (out / name).exists()}
    made = _read_record(out / RECORD)
    foreign = [name for name, digest in existing.items() if digest not in made]
    if foreign:
        raise UserError(
            f"{out}: {', '.join(foreign)} not made here, or changed since; move it or choose another folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out, prefix=".making.") as staging:
            yield Path(staging)
            fresh = {_digest(Path(staging) / name) for name in names}
            # Record old and new files as ours, so that a call after an interruption may replace either.
            atomic_write_text(out / RECORD, json.dumps(sorted({*existing.values(), *fresh})))
            for name in names:
                (Path(staging) / name).replace(out / name)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; choose another folder") from error


def _read_record(path: Path) -> set[str]:
    try:
        record = parse_json(read_text(path)) if path.exists() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); choose another folder") from error
    if not isinstance(record, list) or not all(isinstance(item, str) for item in record):
        raise UserError(f"{path}: needs a list of digests; choose another folder")
    return set(record)


def _digest(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path} is no file; choose another folder")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _names(regions: Iterable[int]) -> str:
    return ";".join(MUSCLES[index] for index in sorted(regions))


def _agreement(vote: ActivityVote) -> list[str]:
    """Jaccard index and kappa with two decimals; "" where there is none."""
    values = (mean_jaccard(vote.matrix), fleiss_kappa(vote.matrix))
    return ["" if value is None else f"{value:.2f}" for value in values]


def _votes_row(vote: ActivityVote) -> tuple[object, ...]:
    regions = _names(vote.regions), _names(vote.borderline)
    return (
        vote.activity,
        len(vote.ballots),
        vote.needed,
        *vote.votes.tolist(),
        *regions,
        *_agreement(vote),
        vote.reason,
    )


def _match_rows(result: VoteResult) -> Iterable[tuple[str, ...]]:
    for match in result.matches:
        regions = result.vocabulary.named(match.row.words(result.rules.muscles))
        text = "" if regions is None else _names(regions) or NO_MUSCLE
        counted = "yes" if result.rules.count(match) else "no"
        # Only the file's name: a folder of this machine means nothing to other readers.
        row = Path(match.row.where).name
        yield (match.activity, match.row.source, match.row.exercise, match.how, counted, text, row)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(header)
        writer.writerows(rows)


def markdown(result: VoteResult) -> str:
    """The whole report: the rule, a row per activity, activities without labels, matches, and what was left out."""
    parts = ["# Muscles by majority vote", _rule(result), f"![votes]({FIGURE})", _table(result.votes), DEFINITIONS]
    unlabelled = [f"- {_cell(vote.activity)}: {vote.reason}" for vote in result.votes if not vote.regions]
    parts += _section("Without a label", unlabelled)
    parts += _section("What counted", [_matched(result, vote.activity) for vote in result.votes])
    parts += _section("Left out", [f"- {_cell(line)}" for line in left_out(result)])
    return "\n\n".join(parts) + "\n"


def _rule(result: VoteResult) -> str:
    wanted = {
        TWO: "at least int(N/2) of its N sources, and two of three or one of fewer, name it",
        HALF: "at least int(N/2) of its N sources, and at least one, name it",
        MAJORITY: "more than half of its sources name it",
    }
    rule = wanted.get(str(result.rules.threshold), f"at least {result.rules.threshold} of its sources name it")
    muscles = "primary and secondary" if result.rules.muscles == "all" else "primary"
    near = "count too" if result.rules.near else "do not count"
    few = (
        f" Activities with fewer than {result.rules.min_sources} sources get no label."
        if result.rules.min_sources > 1
        else ""
    )
    labelled = sum(bool(vote.regions) for vote in result.votes)
    return (
        f"{labelled} of {len(result.votes)} activities have a label. A region is set when {rule}. Counted are the "
        f"{muscles} muscles of a source. Near variants of an activity {near}.{few}"
    )


def _table(votes: Iterable[ActivityVote]) -> str:
    head = "| activity | sources | needed | regions set (votes) | borderline, not set | Jaccard | kappa |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *map(_table_row, votes)])


def _table_row(vote: ActivityVote) -> str:
    near_miss = [index for index in vote.borderline if index not in vote.regions]
    cells = [
        _cell(vote.activity),
        len(vote.ballots),
        vote.needed,
        _with_votes(vote, vote.regions) or "none",
        _with_votes(vote, near_miss),
        *_agreement(vote),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _with_votes(vote: ActivityVote, regions: Sequence[int]) -> str:
    marks = {index: "~" if index in vote.borderline and index in vote.regions else "" for index in regions}
    return ", ".join(f"{MUSCLES[index]} {vote.votes[index]}{marks[index]}" for index in regions)


def _matched(result: VoteResult, activity: str) -> str:
    exercises: dict[str, dict[str, None]] = defaultdict(dict)
    near: dict[str, None] = {}
    for match in (match for match in result.matches if match.activity == activity):
        name = f"{match.row.exercise} (near)" if match.how == NEAR else match.row.exercise
        if result.rules.count(match):
            exercises[match.row.source][name] = None
        else:
            near[f"{match.row.source}: {match.row.exercise}"] = None
    text = "; ".join(f"{source}: {' + '.join(names)}" for source, names in exercises.items()) or "nothing"
    silent = next(vote.silent for vote in result.votes if vote.activity == activity)
    left_out = f". Names no muscle: {', '.join(silent)}" if silent else ""
    variants = f". Near, not counted: {'; '.join(near)}" if near else ""
    return f"- {_cell(activity)}: {_cell(text + left_out + variants)}"


def left_out(result: VoteResult) -> list[str]:
    """What the vote does not count, a line for each kind."""
    words = [f"{word} ({count})" for word, count in sorted(result.unknown.items())]
    copies = {match.row.source for match in result.matches} & set(result.copies)
    outside = {
        word for match in result.matches if result.rules.count(match) for word in match.row.words(result.rules.muscles)
    }
    known = (word for word in outside if plain(word) not in result.unknown)
    no_region = sorted(word for word in known if not result.vocabulary.named([word]))
    found = {
        "Words that set no region": no_region,
        "Unknown words, and how often": words,
        "Sources excluded": list(result.rules.exclude),
        "Sources of the match table without a table": result.absent,
        "Copies that vote with their original": [f"{name} ({result.copies[name]})" for name in sorted(copies)],
        "Files that are no tables of sources": [path.name for path in result.left_out],
    }
    return [f"{title}: {', '.join(items)}" for title, items in found.items() if items]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _cell(text: str) -> str:
    # Foreign text must neither end a cell nor become HTML.
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
