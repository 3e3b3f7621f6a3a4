"""What the three prepare scripts share: their arguments, and the choice between the authors' lists and a tree."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from transm3e.errors import UserError
from transm3e.prepare.benchmarks.authors import ACTIVITY_FROM, prepare_lists
from transm3e.prepare.benchmarks.facts import Benchmark
from transm3e.prepare.benchmarks.from_tree import SPLIT_BY, prepare_tree
from transm3e.prepare.benchmarks.publish import Prepared, publish
from transm3e.prepare.benchmarks.tables import read_activities, read_classes, read_labels

# Options of one way only, and their defaults.
WITH_LISTS = {"strip": "", "activity_from": "parent", "allow_missing": False}
WITHOUT_LISTS = {"split_by": "group", "seed": 0}


def argument_parser(benchmark: Benchmark, description: str | None) -> argparse.ArgumentParser:
    """The arguments of every prepare script of a benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--videos", type=Path, required=True, help="folder of the videos, <activity>/<video>; it is only read")
    add("--out", type=Path, default=Path("data", benchmark.name), help="folder to make; default: %(default)s")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--lists", type=Path, metavar="FOLDER", help="the authors' ten pickles: their splits and labels"
    )
    source.add_argument("--labels", type=Path, metavar="FILE.csv", help="labels, columns activity,muscles")
    if benchmark.group:
        source.add_argument(
            "--draft-labels", action="store_true", help="this project's draft labels, which are not the authors'"
        )
        add(
            "--split-by",
            choices=SPLIT_BY,
            help="keep clips of one source video together (group), or not",
        )
    add("--seed", type=int, help="of the splits, without --lists; default: %(default)s")
    add("--strip", metavar="PREFIX", help="with --lists: beginning of the listed paths to leave away")
    add("--activity-from", choices=ACTIVITY_FROM, help="with --lists: where a path names its activity")
    add("--allow-missing", action="store_true", help="with --lists: leave listed videos that are not there out")
    add("--overwrite", action="store_true", help="replace a clip table that says something else")
    parser.set_defaults(**WITH_LISTS, **WITHOUT_LISTS)
    return parser


def run(args: argparse.Namespace, benchmark: Benchmark, from_tree: Callable[[], Prepared]) -> str:
    """Prepare from --lists, else with `from_tree`; write everything and return the report.

    Raises:
        UserError: the input is wrong, see prepare_lists, prepare_tree and publish; or an option has no effect.
    """
    _refuse_idle_options(args)
    if args.lists:
        prepared = prepare_lists(args.videos, args.lists, args.strip, args.activity_from, args.allow_missing)
    else:
        prepared = from_tree()
    return publish(benchmark, prepared, args.videos, args.out, args.overwrite)


def run_class_folders(args: argparse.Namespace, benchmark: Benchmark, classes_file: Path, draft_file: Path) -> str:
    """UCF101's or HMDB51's tree with --labels or --draft-labels, or the authors' lists; see run."""

    def from_tree() -> Prepared:
        classes = read_classes(classes_file)
        official = [entry.name for entry in classes]
        if args.draft_labels:
            origin = (
                f"DRAFT LABELS of this project ({draft_file.name}), NOT the authors' labels: "
                f"results with them are not results on {benchmark.name}."
            )
            labels = read_labels(draft_file, origin, official)
        elif args.labels:
            labels = read_labels(args.labels, f"Labels are from {args.labels}.", official)
        else:
            raise UserError(
                "no labels: the authors hand theirs out on request (--lists FOLDER, or --labels FILE.csv with "
                "activity,muscles); --draft-labels takes this project's draft, which is not theirs"
            )
        new = [entry.name for entry in classes if entry.new]
        return prepare_tree(benchmark, args.videos, labels, new, classes, args.split_by, args.seed)

    return run(args, benchmark, from_tree)


def run_activity_folders(args: argparse.Namespace, benchmark: Benchmark) -> str:
    """MuscleMap136's tree with --labels and --new-activities, or the authors' lists; see run."""

    def from_tree() -> Prepared:
        if not args.labels:
            raise UserError(
                "no labels: give the authors' ten pickles with --lists FOLDER, or --labels FILE.csv with "
                "activity,muscles for a tree of <activity>/<video>"
            )
        labels = read_labels(args.labels, f"Labels are from {args.labels}.")
        new = read_activities(args.new_activities)
        return prepare_tree(benchmark, args.videos, labels, new, split_by="clip", seed=args.seed)

    return run(args, benchmark, from_tree)


def _refuse_idle_options(args: argparse.Namespace) -> None:
    idle = WITHOUT_LISTS if args.lists else WITH_LISTS
    given = [name for name, default in idle.items() if getattr(args, name, default) != default]
    if given:
        flag, way = "--" + given[0].replace("_", "-"), "with" if args.lists else "without"
        raise UserError(f"{flag} has no effect {way} --lists; leave it out")
