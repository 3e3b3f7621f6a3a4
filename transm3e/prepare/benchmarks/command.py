"""The command line of the scripts that prepare the paper's three benchmarks, from the authors' lists or from a tree."""

from __future__ import annotations

import argparse
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.errors import UserError
from transm3e.prepare.benchmarks.authors import ACTIVITY_FROM, prepare_lists
from transm3e.prepare.benchmarks.facts import Benchmark
from transm3e.prepare.benchmarks.from_tree import SPLIT_BY, prepare_tree
from transm3e.prepare.benchmarks.publish import Prepared, publish
from transm3e.prepare.benchmarks.tables import read_activities, read_classes, read_labels

# Options that need --lists, and those that exclude it, with their defaults.
WITH_LISTS = {"strip": "", "activity_from": "parent", "allow_missing": False}
WITHOUT_LISTS = {"split_by": "group", "seed": 0}


def prepare_benchmark(
    benchmark: Benchmark, description: str | None, annotations: Path, arguments: list[str] | None
) -> int:
    """Run the script of a benchmark and return 0; a user's mistake ends the program with status 2.

    Args:
        description: the script's docstring, for --help.
        annotations: folder of the shipped class lists and draft labels.
        arguments: the command line; None = this program's.
    """
    args = _parse_args(benchmark, description, annotations, arguments)
    with exit_with_message():
        unused = WITHOUT_LISTS if args.lists else WITH_LISTS
        given = [name for name, default in unused.items() if getattr(args, name, default) != default]
        if given:
            flag, way = "--" + given[0].replace("_", "-"), "with" if args.lists else "without"
            raise UserError(f"{flag} has no effect {way} --lists; leave it out")
        if args.lists:
            prepared = prepare_lists(args.videos, args.lists, args.strip, args.activity_from, args.allow_missing)
        else:
            prepared = _from_tree(args, benchmark, annotations)
        print(publish(benchmark, prepared, args.videos, args.out, args.overwrite), end="")
    return 0


def _parse_args(
    benchmark: Benchmark, description: str | None, annotations: Path, arguments: list[str] | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--videos", type=Path, required=True, help="folder of the videos, <activity>/<video>; it is only read")
    add("--out", type=Path, default=Path("data", benchmark.name), help="folder to make; default: %(default)s")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--lists", type=Path, metavar="FOLDER", help="the authors' ten pickles: their splits and labels"
    )
    source.add_argument("--labels", type=Path, metavar="FILE.csv", help="labels, columns activity,muscles")
    if benchmark.files:
        source.add_argument(
            "--draft-labels", action="store_true", help="this project's draft labels, which are not the authors'"
        )
        add(
            "--split-by",
            choices=SPLIT_BY,
            help="keep clips of one source video together (group), or not",
        )
    else:
        add(
            "--new-activities",
            type=Path,
            default=annotations / "musclemap136_new_activities.csv",
            metavar="FILE.csv",
            help="without --lists: the new activities, column activity; default: the paper's 20",
        )
    add("--seed", type=int, help="of the splits, without --lists; default: %(default)s")
    add("--strip", metavar="PREFIX", help="with --lists: prefix to remove from the listed paths")
    add("--activity-from", choices=ACTIVITY_FROM, help="with --lists: part of the path that names the activity")
    add("--allow-missing", action="store_true", help="with --lists: leave out missing videos")
    add("--overwrite", action="store_true", help="replace a clip table with other content")
    parser.set_defaults(**WITH_LISTS, **WITHOUT_LISTS)
    return parser.parse_args(arguments)


def _from_tree(args: argparse.Namespace, benchmark: Benchmark, annotations: Path) -> Prepared:
    """UCF101's or HMDB51's class folders with --labels or --draft-labels; MuscleMap136's with --labels."""
    classes = read_classes(annotations / f"{benchmark.files}_classes.csv") if benchmark.files else []
    official = [each.name for each in classes]
    new = [each.name for each in classes if each.new] if classes else read_activities(args.new_activities)
    if args.labels:
        labels = read_labels(args.labels, f"Labels are from {args.labels}.", official)
    elif not benchmark.files:
        raise UserError(
            "no labels: give the authors' ten pickles with --lists FOLDER, or --labels FILE.csv with "
            "activity,muscles for a tree of <activity>/<video>"
        )
    elif args.draft_labels:
        draft = annotations / f"{benchmark.files}_muscles_draft.csv"
        origin = (
            f"DRAFT LABELS of this project ({draft.name}), NOT the authors' labels: "
            f"results with them are not results on {benchmark.name}."
        )
        labels = read_labels(draft, origin, official)
    else:
        raise UserError(
            "no labels: the authors hand theirs out on request (--lists FOLDER, or --labels FILE.csv with "
            "activity,muscles); --draft-labels takes this project's draft, which is not theirs"
        )
    split_by = args.split_by if benchmark.files else "clip"
    return prepare_tree(benchmark, args.videos, labels, new, classes, split_by, args.seed)
