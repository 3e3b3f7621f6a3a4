"""Resize videos before training: `python datasets/resize_videos.py data/MuscleMap136 --out data/MuscleMap136_256`.

Reads a clip table's videos, or all videos below a folder without one. It can be stopped and repeated: files up
to date are kept, others are not touched. Exit status 0: all files are there; 2: some failed (they are named), or a mistake in
the call.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import USER_MISTAKE, exit_with_message
from transm3e.files import clip_table_file
from transm3e.prepare.jobs import FAILED, add_job_options, summary
from transm3e.prepare.resize import PRESETS, ResizeSettings, resize_folder, resize_table
from transm3e.tables.cluster.shards import submit_if_asked


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="ROOT_OR_CSV_OR_FOLDER", type=Path, help="a clip table, or videos")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="folder to make, outside the source")
    parser.add_argument("--prefix", type=Path, help="folder a table's paths are relative to (DATA.PATH_PREFIX)")
    number = {"type": int, "metavar": "N"}
    parser.add_argument(
        "--short-side", default=256, **number, help="pixels, even, never enlarged; default: %(default)s"
    )
    parser.add_argument("--keyframe-interval", default=12, **number, help="frames, at most; default: %(default)s")
    parser.add_argument("--crf", default=22, **number, help="0 (lossless) to 51 (smallest); default: %(default)s")
    parser.add_argument("--preset", choices=PRESETS, default="medium", help="x264's; default: %(default)s")
    parser.add_argument("--timeout", default=3600.0, type=float, metavar="S", help="per file; default: %(default)g s")
    add_job_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Resize and return the exit status; a user's mistake ends the program with status 2."""
    args = parse_args(arguments)
    with exit_with_message():
        submit_if_asked(__file__, args, arguments)
        settings = ResizeSettings(args.short_side, args.keyframe_interval, args.crf, args.preset, args.timeout)
        if clip_table_file(args.source).is_file():
            results = resize_table(args.source, args.out, settings, args.workers, args.prefix, args.shard)
        else:
            results = resize_folder(args.source, args.out, settings, args.workers, args.shard)
        print(summary(results, args.shard))
    return USER_MISTAKE if any(result.status == FAILED for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
