"""Optical flow of a clip table's videos: `python datasets/extract_flow.py data/MuscleMap136 --update-table`.

Writes flow/<clip>.mp4 (or .npz) beside the clips. It can be stopped and repeated: files up to date are kept. Exit status 0:
every clip has its flow; 2: some failed (they are named), or a mistake in the call.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.prepare.flow.estimate import DIS_PRESETS
from transm3e.prepare.flow.extract import METHODS, WRITERS, FlowSettings, extract_table
from transm3e.prepare.jobs import FAILED, add_job_options, cores, summary
from transm3e.tables.cluster.shards import submit_if_asked


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "table", metavar="ROOT_OR_CSV", type=Path, help="the clip table, or the folder of its clips.csv"
    )
    parser.add_argument("--prefix", type=Path, help="folder the paths are relative to (DATA.PATH_PREFIX)")
    parser.add_argument("--method", choices=METHODS, default="dis", help="default: %(default)s")
    parser.add_argument("--preset", choices=tuple(DIS_PRESETS), default="medium", help="of dis; default: %(default)s")
    parser.add_argument("--weights", metavar="FILE", default="", help="raft: state dict of torchvision's RAFT")
    parser.add_argument("--bound", type=float, default=20.0, metavar="PIXELS", help="clip there; default: %(default)g")
    parser.add_argument("--short-side", type=int, default=256, metavar="N", help="pixels, even; default: %(default)s")
    parser.add_argument("--format", choices=tuple(WRITERS), default="video", help="default: %(default)s")
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="S", help="per clip; default: %(default)g s")
    parser.add_argument("--update-table", action="store_true", help="name the files in the table's column flow")
    add_job_options(parser)
    parser.set_defaults(workers=None)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Extract and return the exit status; a user's mistake ends the program with status 2."""
    args = parse_args(arguments)
    with exit_with_message():
        submit_if_asked(__file__, args, arguments)
        workers = args.workers if args.workers is not None else 1 if args.method == "raft" else cores()
        settings = FlowSettings(
            method=args.method,
            preset=args.preset,
            bound=args.bound,
            short_side=args.short_side,
            format=args.format,
            weights=args.weights,
            timeout=args.timeout,
        )
        results = extract_table(args.table, settings, workers, args.prefix, args.update_table, args.shard)
        print(summary(results, args.shard))
    return USER_MISTAKE if any(result.status == FAILED for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
