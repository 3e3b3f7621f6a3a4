"""Check a data set: `python datasets/check_dataset.py data/FreeExercise --decode all`.

Prints what each split holds, then every problem with its file and reason. Exit status 0: no problem;
2: problems, or a mistake in the call.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.data.annotations import read_clip_table, table_file
from transm3e.data.check import DECODE_MODES, check_table, summary, write_report


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "table", metavar="ROOT_OR_CSV", type=Path, help="the clip table, or the folder of its clips.csv"
    )
    parser.add_argument(
        "--decode", choices=DECODE_MODES, default="first", help="how much of each video; default: %(default)s"
    )
    parser.add_argument("--prefix", type=Path, help="folder the paths are relative to (DATA.PATH_PREFIX)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads; default: one per CPU core")
    parser.add_argument("--report", type=Path, metavar="FILE.csv", help="write the problems to this file too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the check and return the exit status; a user's mistake ends the program with status 2."""
    args = parse_args(arguments)
    with exit_with_message():
        table = read_clip_table(args.table)
        print(summary(table))
        problems = check_table(table, args.prefix or table_file(args.table).parent, args.decode, args.workers)
        if args.report:
            write_report(args.report, problems)
    for problem in problems:
        print(f"{problem.split}: {problem.path + ': ' if problem.path else ''}{problem.reason}")
    print(f"{len(problems)} problem(s) in {len(table)} clips")
    return USER_MISTAKE if problems else 0


if __name__ == "__main__":
    sys.exit(main())
