"""Make MuscleMap136's clip table: `python datasets/prepare_musclemap136.py --videos VIDEOS --lists PICKLES`.

From the authors' ten pickles (--lists), or from a tree <activity>/<video> with --labels FILE.csv. What is made:
datasets/README.md. Nothing is written into the videos' folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transm3e.prepare.benchmarks.command import prepare_benchmark
from transm3e.prepare.benchmarks.facts import MUSCLEMAP136


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    return prepare_benchmark(MUSCLEMAP136, __doc__, Path(__file__).parent / "annotations", arguments)


if __name__ == "__main__":
    sys.exit(main())
