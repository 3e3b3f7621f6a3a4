"""Make a data set from Free Exercise DB: `python datasets/prepare_free_exercise.py --source free-exercise-db`.

Safe to stop and call again: videos that stand are kept. What is made, and the rights in it: datasets/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.data.annotations import table_from_clips
from transm3e.data.check import summary
from transm3e.data.free_exercise.prepare import prepare
from transm3e.data.free_exercise.source import MUSCLE_KEYS

ANNOTATIONS = Path(__file__).parent / "annotations"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a clone of github.com/yuhonas/free-exercise-db")
    parser.add_argument(
        "--out", type=Path, default=Path("data/FreeExercise"), help="folder to make; default: %(default)s"
    )
    parser.add_argument("--frames", type=int, default=16, help="frames per clip; default: %(default)s")
    parser.add_argument("--size", type=int, default=256, help="short side in pixels, even; default: %(default)s")
    parser.add_argument("--families", type=Path, help="CSV with id, family, proposed_split (default: the source's own)")
    parser.add_argument(
        "--muscles", choices=tuple(MUSCLE_KEYS), default="all", help="which of an exercise's muscles to label"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split; default: %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads; default: one per CPU core")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    args = vars(parse_args(arguments))
    with exit_with_message():
        clips, skipped = prepare(
            muscle_map=ANNOTATIONS / "free_exercise_muscles.json",
            family_rules=ANNOTATIONS / "free_exercise_families.json",
            **args,
        )
    print(summary(table_from_clips(clips)))
    for name, reason in skipped:
        print(f"skipped {name}: {reason}")
    print(f"{len(clips)} clips in {args['out']}, {len(skipped)} exercises skipped (skipped.csv)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
