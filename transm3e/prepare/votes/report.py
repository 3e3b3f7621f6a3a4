"""The vote as a page to read, in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from transm3e.data.annotations import MUSCLES
from transm3e.data.csv_tables import plain
from transm3e.prepare.votes.agreement import fleiss_kappa, mean_jaccard
from transm3e.prepare.votes.matching import NEAR
from transm3e.prepare.votes.run import VoteResult
from transm3e.prepare.votes.vote import HALF, MAJORITY, TWO, ActivityVote
from transm3e.prepare.votes.write import PICTURE, figure_text

DEFINITIONS = """\
- **Sources**: those that name at least one muscle for the activity. A source has one vote, however many of its
  exercises match: its vote holds the regions that at least half of them name. Copies vote together with their original.
- **Borderline**: one vote more or less would change the region; of those set, marked ~.
- **Jaccard**: mean over all pairs of sources of (regions both name) / (regions either names); 1 is full agreement.
- **kappa**: Fleiss' kappa over the 20 regions, named or not; 1 is full agreement, 0 what chance gives."""


def markdown(result: VoteResult) -> str:
    """The whole report: the rule, a row per activity, what has no label, what matched, what was passed over."""
    parts = ["# Muscles by majority vote", _rule(result), f"![votes]({PICTURE})", _table(result.votes), DEFINITIONS]
    unlabelled = [f"- {_cell(vote.activity)}: {vote.reason}" for vote in result.votes if not vote.regions]
    parts += _section("Without a label", unlabelled)
    parts += _section("What counted", [_matched(result, vote.activity) for vote in result.votes])
    parts += _section("Passed over", [f"- {_cell(line)}" for line in passed_over(result)])
    return "\n\n".join(parts) + "\n"


def _rule(result: VoteResult) -> str:
    wanted = {
        TWO: "at least int(N/2) of its N sources, and two of three or one of fewer, name it",
        HALF: "at least int(N/2) of its N sources, and at least one, name it",
        MAJORITY: "more than half of its sources name it",
    }
    rule = wanted.get(str(result.threshold), f"at least {result.threshold} of its sources name it")
    muscles = "primary and secondary" if result.muscles == "all" else "primary"
    near = "count too" if result.near_count else "do not count"
    few = f" Activities with fewer than {result.min_sources} sources get no label." if result.min_sources > 1 else ""
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
        figure_text(mean_jaccard(vote.matrix)),
        figure_text(fleiss_kappa(vote.matrix)),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _with_votes(vote: ActivityVote, regions: Sequence[int]) -> str:
    marks = {index: "~" if index in vote.borderline and index in vote.regions else "" for index in regions}
    return ", ".join(f"{MUSCLES[index]} {vote.votes[index]}{marks[index]}" for index in regions)


def _matched(result: VoteResult, activity: str) -> str:
    exercises: dict[str, dict[str, None]] = defaultdict(dict)
    near: dict[str, None] = {}
    for match in (match for match in result.matches if match.activity == activity):
        name = f"{match.entry.exercise} (near)" if match.how == NEAR else match.entry.exercise
        if result.counts(match):
            exercises[match.entry.source][name] = None
        else:
            near[f"{match.entry.source}: {match.entry.exercise}"] = None
    text = "; ".join(f"{source}: {' + '.join(names)}" for source, names in exercises.items()) or "nothing"
    silent = next(vote.silent for vote in result.votes if vote.activity == activity)
    left_out = f". Names no muscle: {', '.join(silent)}" if silent else ""
    variants = f". Near, not counted: {'; '.join(near)}" if near else ""
    return f"- {_cell(activity)}: {_cell(text + left_out + variants)}"


def passed_over(result: VoteResult) -> list[str]:
    """What the tables hold and the vote does not count, a line for each kind."""
    words = [f"{word} ({count})" for word, count in sorted(result.unknown.items())]
    copies = {match.entry.source for match in result.matches} & set(result.copies)
    outside = {word for match in result.matches if result.counts(match) for word in match.entry.words(result.muscles)}
    known = (word for word in outside if plain(word) not in result.unknown)
    no_region = sorted(word for word in known if not result.vocabulary.named([word]))
    found = {
        "Words that set no region": no_region,
        "Unknown words, and how often": words,
        "Sources excluded": list(result.excluded),
        "Sources of the match table without a table": result.absent,
        "Copies that vote with their original": [f"{name} ({result.copies[name]})" for name in sorted(copies)],
        "Files that are no tables of sources": [path.name for path in result.passed_over],
    }
    return [f"{title}: {', '.join(items)}" for title, items in found.items() if items]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _cell(text: str) -> str:
    # The text is somebody else's: it must neither end a cell nor become HTML.
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
