"""Make Muscle-UCF90 from UCF101's class folders: `python datasets/prepare_ucf90.py --videos UCF-101 --draft-labels`.

Labels are the authors' (--lists, --labels) or, only if you ask for it, this project's draft (--draft-labels).
What is made, and what is known of the counts: datasets/README.md. Nothing is written into the videos' folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transm3e.prepare.benchmarks.command import prepare_benchmark
from transm3e.prepare.benchmarks.facts import MUSCLEUCF90


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    return prepare_benchmark(MUSCLEUCF90, __doc__, Path(__file__).parent / "annotations", arguments)


if __name__ == "__main__":
    sys.exit(main())
