"""Make a data set from Free Exercise DB: `python datasets/prepare_free_exercise.py --source free-exercise-db`.

With --poses it makes skeletons instead of videos: from the source's photos, or, without --source, from the landmarks in
datasets/annotations. It can be stopped and repeated: files up to date are kept. Output and licences: datasets/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from transm3e.cli import exit_with_message
from transm3e.data.annotations import Clip, table_from_clips
from transm3e.errors import UserError
from transm3e.prepare.check import summary
from transm3e.prepare.free_exercise.logistic import logistic_splits
from transm3e.prepare.free_exercise.poses import prepare_poses
from transm3e.prepare.free_exercise.prepare import prepare
from transm3e.prepare.free_exercise.source import MUSCLE_KEYS
from transm3e.prepare.jobs import cores
from transm3e.report.table import results_table
from transm3e.runs.results import summarise

ANNOTATIONS = Path(__file__).parent / "annotations"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a clone of github.com/yuhonas/free-exercise-db")
    parser.add_argument("--poses", action="store_true", help="skeletons by BlazePose, no videos")
    parser.add_argument("--out", type=Path, help="folder to make; default: data/FreeExercise, or ...Poses")
    parser.add_argument("--frames", type=int, help="frames per clip; default: 16, of poses 32")
    parser.add_argument("--size", type=int, help="short side of videos in pixels, even; default: 256")
    parser.add_argument("--families", type=Path, help="CSV with id, family, proposed_split (default: the source's own)")
    parser.add_argument(
        "--muscles", choices=tuple(MUSCLE_KEYS), default="all", help="which of an exercise's muscles to label"
    )
    parser.add_argument("--fold", type=int, help="with --poses: cross-validation, see datasets/README.md; 0 to 4")
    parser.add_argument("--whole", action="store_true", help="with --poses: every clip in train, or in the folds")
    parser.add_argument(
        "--logistic",
        action="store_true",
        help="with --poses: score scikit-learn's logistic regression of two poses as well",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split; default: %(default)s")
    parser.add_argument("--workers", type=int, default=cores(), help="threads; default: one per CPU core")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the preparation and return 0; a user's mistake ends the program with status 2."""
    args = {name: value for name, value in vars(parse_args(arguments)).items() if value is not None}
    logistic = args.pop("logistic")
    with exit_with_message():
        if logistic and (not args["poses"] or args["whole"] or "fold" in args):
            raise UserError("--logistic scores all splits of --poses; leave out --whole and --fold")
        out, clips, skipped = _prepare(**args)
    print(summary(table_from_clips(clips)))
    for name, reason in skipped:
        print(f"skipped {name}: {reason}")
    print(f"{len(clips)} clips in {out}, {len(skipped)} exercises skipped (skipped.csv)")
    if logistic:
        with exit_with_message():
            splits, strength = logistic_splits(out)
        print(results_table([(f"Logistic regression, C {strength:g}", summarise(splits))]), end="")
    return 0


def _prepare(
    poses: bool, whole: bool, out: Path | None = None, **args: Any
) -> tuple[Path, list[Clip], list[tuple[str, str]]]:
    fold = ("-whole" if whole else "") + (f"-{args['fold']}" if "fold" in args else "")
    out = out or Path(f"data/FreeExercisePoses{fold}" if poses else "data/FreeExercise")
    args["muscle_map"] = ANNOTATIONS / "free_exercise_muscles.json"
    args["family_rules"] = ANNOTATIONS / "free_exercise_families.json"
    if poses and "size" in args:
        raise UserError("--size is for videos, which --poses does not make; use one of the two")
    if not poses and fold:
        raise UserError("--fold and --whole need --poses; add it, or leave them out")
    if poses:
        return out, *prepare_poses(out, ANNOTATIONS / "free_exercise_poses.npz", whole=whole, **args)
    if "source" not in args:
        raise UserError("videos need --source CLONE; give it, or use --poses, which works without it")
    return out, *prepare(out=out, **args)


if __name__ == "__main__":
    sys.exit(main())
