"""Make a clip table of Kinetics, or of any videos with one class each.

    python datasets/prepare_kinetics.py --videos kinetics400 --lists LISTS --classes kinetics_classnames.json
    python datasets/prepare_kinetics.py --videos kinetics400

The first reads PySlowFast's train.csv, val.csv and test.csv, the second the folders train/<class>/, val/<class>/ and
test/<class>/. Nothing is written into the videos' folder. What is made: datasets/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.data.benchmarks.kinetics import prepare_kinetics


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="FOLDER", help="folder of the videos; it is only read")
    add("--lists", type=Path, metavar="FOLDER", help="PySlowFast's lists; default: class folders in --videos")
    add("--classes", type=Path, metavar="FILE", help='names of the classes: JSON {"name": number}, or a name a line')
    add("--separator", default=" ", metavar="TEXT", help="between path and label in a list; default: a blank")
    add("--strip", default="", metavar="PREFIX", help="beginning of the listed paths to leave away")
    add("--allow-missing", action="store_true", help="leave listed videos out that are not there")
    add("--out", type=Path, default=Path("data/Kinetics400"), metavar="FOLDER", help="default: %(default)s")
    add("--overwrite", action="store_true", help="replace a clip table that says something else")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    with exit_with_message():
        print(prepare_kinetics(**vars(parse_args(arguments))), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
