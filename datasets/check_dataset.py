"""Check a data set: `python datasets/check_dataset.py data/FreeExercise --decode all --out reports/FreeExercise`.

Prints the content of each split, then every problem with its file and reason, and muscles that cannot be learned or scored.
Exit status 0: no problem; 2: problems, or a mistake in the call. It can be stopped and repeated: with --out or --cache,
unchanged files are not inspected again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.config.targets import ORDER_FILE
from transm3e.data.activities import find_activities
from transm3e.data.annotations import read_clip_table, table_file
from transm3e.prepare.check import DECODE_MODES, check_table, summary, write_report
from transm3e.prepare.check.finding import MUSCLES
from transm3e.prepare.check.report import CACHE, make_report_folder, write_dataset_report
from transm3e.prepare.check.table import DEFAULT_LENGTH, DEFAULT_LIMIT, DEFAULT_STRIDE, CheckSettings, inspect_files
from transm3e.prepare.jobs import add_job_options, merge_hint
from transm3e.tables.cluster.shards import submit_if_asked


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("table", metavar="ROOT_OR_CSV", type=Path, help="the clip table, or the folder of its clips.csv")
    add("--decode", choices=DECODE_MODES, default="first", help="how much of each video; default: %(default)s")
    add("--prefix", type=Path, help="folder the paths are relative to (DATA.PATH_PREFIX)")
    add("--timeout", type=float, default=DEFAULT_LIMIT, help="seconds a file may take; default: %(default)s")
    add("--frames", type=int, default=DEFAULT_LENGTH, help="DATA.NUM_FRAMES of the runs; default: %(default)s")
    add("--stride", type=int, default=DEFAULT_STRIDE, help="DATA.SAMPLING_RATE of the runs; default: %(default)s")
    add("--out", type=Path, metavar="FOLDER", help="write report.md, figures, problems.csv and notes.csv there")
    add("--report", type=Path, metavar="FILE.csv", help="write the problems to this file")
    add("--cache", type=Path, metavar="FILE", help=f"findings to keep for the next check; default: FOLDER/{CACHE}")
    add_job_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the check and return the exit status; a user's mistake ends the program with status 2."""
    args = parse_args(arguments)
    with exit_with_message():
        submit_if_asked(__file__, args, arguments)
        table, file = read_clip_table(args.table), table_file(args.table)
        if (file.parent / ORDER_FILE).is_file():
            find_activities(table, file)
        root = args.prefix or file.parent
        cache = args.cache or (make_report_folder(args.out) / CACHE if args.out else None)
        print(summary(table), flush=True)
        look = CheckSettings(root, args.decode, args.workers, args.timeout, cache)
        if not args.shard.is_all:
            inspect_files(table, look, args.shard)
            print(merge_hint(args.shard))
            return 0
        checked = check_table(table, look, args.frames, args.stride)
        if args.report:
            write_report(args.report, checked.problems)
        report = write_dataset_report(args.out, root.resolve().name, checked) if args.out else None
    for problem in checked.problems:
        print(problem)
    for note in checked.notes:
        if note.kind == MUSCLES:
            print(f"note: {note}")
    print(f"{len(checked.problems)} problem(s), {len(checked.notes)} note(s) in {len(table)} clips")
    if report:
        print(f"report: {report}")
    return USER_MISTAKE if checked.problems else 0


if __name__ == "__main__":
    sys.exit(main())
