"""What a preparation hands over: the clips, what was left out, and what the user should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transm3e.data.annotations import Clip
from transm3e.prepare.benchmarks.counts import count_report
from transm3e.prepare.benchmarks.facts import Benchmark

NAMES_SHOWN = 8


@dataclass(frozen=True)
class Prepared:
    """Clips of one benchmark, not yet written.

    Attributes:
        clips: their paths are relative to the videos' folder.
        skipped: (path, reason) of every file or listed video left out.
        facts: how it was made, a sentence each; whose labels these are comes first.
    """

    clips: list[Clip]
    skipped: list[tuple[str, str]]
    facts: list[str]


def report(benchmark: Benchmark, prepared: Prepared, place: Sequence[str]) -> str:
    """The whole story as Markdown: how it was made, counts against the paper's, what was left out.

    Args:
        benchmark: which.
        prepared: what was made.
        place: sentences on where the table and the videos are.
    """
    lines = [f"# {benchmark.name}", "", *(f"- {fact}" for fact in [*prepared.facts, *place])]
    lines += ["", "## Counts", "", count_report(benchmark, prepared.clips)]
    reasons = Counter(reason for _, reason in prepared.skipped)
    first = {reason: path for path, reason in reversed(prepared.skipped)}
    lines += ["", f"## Left out: {len(prepared.skipped)} (each in skipped.csv)", ""]
    lines += [f"- {count} x {reason}; first: {first[reason]}" for reason, count in reasons.most_common()]
    return _writable("\n".join(lines).rstrip() + "\n")


def listing(names: Sequence[str]) -> str:
    """ "a, b, c and 2 more" """
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _writable(text: str) -> str:
    # File names that are not UTF-8 come as surrogates.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
