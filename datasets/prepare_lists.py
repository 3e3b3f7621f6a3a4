"""Make a clip table from published lists or from class folders.

    python datasets/prepare_lists.py --videos UCF-101 --lists ucfTrainTestlist --fold 1 --out data/UCF101
    python datasets/prepare_lists.py --videos kinetics400 --out data/Kinetics400

The first reads lists of UCF101, HMDB51, Kinetics, MMAction2 or PySlowFast, recognised by their content; the second the folders
train/<class>/, val/<class>/ and test/<class>/. Nothing is written into the videos' folder. What is made:
datasets/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.prepare.benchmarks.list_files import LAYOUTS
from transm3e.prepare.benchmarks.published import ListOptions, prepare_published


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="FOLDER", help="folder of the videos; it is only read")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder to make")
    add("--lists", nargs="+", default=[], metavar="[SPLIT=]FILE", help="lists, or their folder; default: class folders")
    add("--classes", type=Path, metavar="FILE", help='names of the classes: JSON {"name": number}, or a name per line')
    add("--labels", type=Path, metavar="FILE.csv", help="muscles of the activities, columns activity,muscles")
    add("--muscles", action="store_true", help="the lists' numbers are muscles 0..19, as many as a line has")
    several = "the lists' numbers are activities, as many as a line has (DATA.MULTI_LABEL)"
    add("--multi-label", action="store_true", help=several)
    add("--line", default="", choices=tuple(LAYOUTS), help="what follows a path, where the lists are ambiguous")
    add(
        "--first-label",
        dest="first",
        type=int,
        choices=(0, 1),
        help="number of the first class, where the lists are ambiguous",
    )
    add("--fold", default="", metavar="N", help="the fold, of lists with several (trainlist01, ..._split2)")
    add("--strip", default="", metavar="PREFIX", help="prefix to remove from the listed paths")
    add("--allow-missing", action="store_true", help="leave out missing videos")
    add("--overwrite", action="store_true", help="replace a clip table with other content")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    args = vars(parse_args(arguments))
    where = {name: args.pop(name) for name in ("videos", "out", "lists", "overwrite")}
    with exit_with_message():
        print(prepare_published(**where, options=ListOptions(**args)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
