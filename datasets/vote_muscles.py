"""Annotate activities by majority vote: `python datasets/vote_muscles.py --sources TABLES --activities CSV --out FOLDER`.

Of N sources that name muscles for an activity, a region is set when at least int(N/2) of them name it, as in the paper;
with three sources, two are needed. Writes votes.csv, labels.csv (for the --labels of the prepare scripts), matches.csv, report.md and votes.png.
Input and rules: datasets/README.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.errors import UserError
from transm3e.prepare.votes.output import REPORT, left_out, write_votes
from transm3e.prepare.votes.tables import MUSCLES_READ
from transm3e.prepare.votes.vote import TWO, UNKNOWN, VoteRules, run_vote

ANNOTATIONS = Path(__file__).parent / "annotations"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sources", type=Path, nargs="+", required=True, metavar="PATH", help="tables of sources, or folders of them")
    add("--activities", type=Path, required=True, metavar="CSV", help="column activity: what to vote on")
    add("--match", type=Path, metavar="CSV", help="activity,source,exercise[,match]; default: exercises of equal name")
    add(
        "--vocabulary",
        type=Path,
        metavar="CSV",
        default=ANNOTATIONS / "muscle_vocabulary.csv",
        help="term,regions: what the sources' words mean; default: this project's proposal, %(default)s",
    )
    add("--same-as", type=Path, metavar="CSV", help="source,same_as: copies, which vote with their original")
    add("--exclude", nargs="+", default=[], metavar="SOURCE", help="sources that do not count")
    add("--muscles", choices=MUSCLES_READ, default="all", help="primary, or all: secondary ones too; default: all")
    add("--near", action="store_true", help="also count the near variants of the match table")
    add(
        "--threshold",
        default=TWO,
        metavar="RULE",
        help="two, half (the paper's: one vote of three sets a region), majority, or a number; default: %(default)s",
    )
    add("--min-sources", type=int, default=1, metavar="N", help="no label with fewer sources; default: %(default)s")
    add("--unknown", choices=UNKNOWN, default="error", help="skip: leave unknown words out; default: %(default)s")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder to make, or made by an earlier call")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the vote and return 0; a user's mistake ends the program with status 2."""
    options = vars(parse_args(arguments))
    out = options.pop("out")
    rules = {field.name: options.pop(field.name) for field in fields(VoteRules)}
    with exit_with_message():
        if any(out.resolve() == path.resolve() for path in options["sources"]):
            raise UserError(
                f"--out {out} is a folder of sources, where labels would be read as a source; choose another folder"
            )
        result = run_vote(**options, rules=VoteRules(**rules))
        write_votes(result, out)
    for vote in result.votes:
        if not vote.regions:
            print(f"no label for {vote.activity}: {vote.reason}")
    for line in left_out(result):
        print(line)
    labelled = sum(bool(vote.regions) for vote in result.votes)
    print(f"labels for {labelled} of {len(result.votes)} activities in {out}, see {REPORT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
