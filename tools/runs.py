"""List runs with their state, scores, dataset and date, newest first: python tools/runs.py [RUNS_DIR] [--json]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.report.run_list import list_runs, runs_table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("runs_dir", nargs="?", type=Path, default=Path("runs"), help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="the same as JSON, scores in [0, 1]")
    args = parser.parse_args(argv)
    with exit_with_message():
        runs = list_runs(args.runs_dir)
        print(json.dumps([run.as_plain() for run in runs], indent=2) if args.json else runs_table(runs).rstrip("\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
