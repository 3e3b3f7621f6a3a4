"""Make MuscleMap136's clip table: `python datasets/prepare_musclemap136.py --videos VIDEOS --lists PICKLES`.

From the authors' ten pickles (--lists), or from a tree <activity>/<video> with --labels FILE.csv. What is made:
datasets/README.md. Nothing is written into the videos' folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.prepare.benchmarks.command import argument_parser, run_activity_folders
from transm3e.prepare.benchmarks.facts import MUSCLEMAP136 as BENCHMARK

ANNOTATIONS = Path(__file__).parent / "annotations"


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    parser = argument_parser(BENCHMARK, __doc__)
    parser.add_argument(
        "--new-activities",
        type=Path,
        default=ANNOTATIONS / "musclemap136_new_activities.csv",
        metavar="FILE.csv",
        help="without --lists: the new activities, column activity; default: the paper's 20",
    )
    args = parser.parse_args(arguments)
    with exit_with_message():
        print(run_activity_folders(args, BENCHMARK), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
