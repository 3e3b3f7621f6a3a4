"""Make MuscleSynth, the synthetic data set that needs no download.

    python datasets/prepare_musclesynth.py --size small

writes data/MuscleSynth/small/{clips.csv, clips/, skeletons/}; a second call finds it there.

    python datasets/prepare_musclesynth.py --compare-labels TABLES

prints the muscles of each movement beside the majority vote of public tables of exercises (datasets/README.md).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.prepare.musclesynth.agreement import compare, markdown
from transm3e.prepare.musclesynth.generate import generate
from transm3e.prepare.musclesynth.plan import SIZES

ANNOTATIONS = Path(__file__).parent / "annotations"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    sizes = ", ".join(f"{name} ({size.total} clips)" for name, size in SIZES.items())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", metavar="SIZE", help=f"{sizes}; default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: data/MuscleSynth/SIZE")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; default: one per CPU core")
    parser.add_argument(
        "--skeletons-only", action="store_true", help="no videos; --out is then data/MuscleSynth/SIZE-skeletons"
    )
    parser.add_argument("--compare-labels", type=Path, nargs="+", metavar="PATH", help="only print how labels agree")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Make the data set and return 0; a user's mistake ends the program with status 2."""
    args = parse_args(argv)
    with exit_with_message():
        if args.compare_labels:
            words = [ANNOTATIONS / name for name in ("muscle_vocabulary.csv", "musclesynth_votes.csv")]
            print(markdown(compare(args.compare_labels, *words)))
        else:
            name = f"{args.size}-skeletons" if args.skeletons_only else args.size
            out = args.out or Path("data/MuscleSynth") / name
            print(generate(out, args.size, args.seed, args.workers, draw=not args.skeletons_only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
