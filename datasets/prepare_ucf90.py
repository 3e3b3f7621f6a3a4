"""Make Muscle-UCF90 from UCF101's class folders: `python datasets/prepare_ucf90.py --videos UCF-101 --draft-labels`.

Labels are the authors' (--lists, --labels) or, only if you ask for it, this project's draft (--draft-labels).
What is made, and what is known of the counts: datasets/README.md. Nothing is written into the videos' folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.prepare.benchmarks.command import argument_parser, run_class_folders
from transm3e.prepare.benchmarks.facts import MUSCLEUCF90 as BENCHMARK

ANNOTATIONS = Path(__file__).parent / "annotations"


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    args = argument_parser(BENCHMARK, __doc__).parse_args(arguments)
    with exit_with_message():
        classes, draft = ANNOTATIONS / "ucf101_classes.csv", ANNOTATIONS / "ucf101_muscles_draft.csv"
        print(run_class_folders(args, BENCHMARK, classes, draft), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
