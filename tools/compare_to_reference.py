"""Which muscles of an execution deviate from those its activity should train, and when.

python tools/compare_to_reference.py --cfg CONFIG [KEY VALUE ...] --video FILE (--activity NAME | --good FILE [FILE ...])

The reference is what most of the activity's clips are labelled with in the clip table (--table; default the config's),
or the mean score of good executions. Muscles are active from TEST.THRESHOLD on. Writes deviations.csv, a body map of differences
(difference.png) and an overlay video into --out. The weights are found as by tools/explain.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.data.annotations import read_clip_table, table_file
from transm3e.engine.processes.distributed import select_device
from transm3e.errors import UserError
from transm3e.files import make_folder
from transm3e.report.reference import MOST, compare, expected_of, mean_of, summary, write_comparison
from transm3e.report.video_views import VideoViews
from transm3e.report.videos import untrained_muscles
from transm3e.runs.folder import evaluation_checkpoint
from transm3e.runs.plan import plan
from transm3e.tasks import build_trained_task


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cfg", nargs="+", required=True, metavar="CONFIG", help="a config file, KEY VALUE ...")
    add("--video", required=True, metavar="FILE", help="the execution")
    reference = parser.add_mutually_exclusive_group(required=True)
    reference.add_argument("--activity", metavar="NAME", help="of the clip table")
    reference.add_argument("--good", nargs="+", metavar="FILE", help="videos of good executions")
    add("--table", metavar="CLIPS.csv", help="default: the config's")
    add("--out", type=Path, metavar="FOLDER", help="default: reference in the run's folder")
    args, tail = parser.parse_known_args(argv)
    if unknown := [word for word in tail if word.startswith("--")]:
        parser.error(f"unknown option {unknown[0]}")
    args.opts = [*args.cfg[1:], *tail]
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with exit_with_message():
        run = plan([args.cfg[0]], args.opts)[-1]
        device = select_device(min(1, run.cfg.NUM_GPUS))
        expected = {}
        if args.activity:
            table = table_file(args.table or run.cfg.DATA.PATH_TO_DATA_DIR)
            expected = expected_of(read_clip_table(table), args.activity, str(table))
        task = build_trained_task(run.cfg, evaluation_checkpoint(run), device)
        if task.activities:
            raise UserError(f"{run.name} predicts activities; compare with a model of muscles")
        unknown = untrained_muscles(run, task.columns)
        views = VideoViews.from_cfg(run.cfg, task, args.video, device, unknown)
        if args.good:
            expected = mean_of(
                [VideoViews.from_cfg(run.cfg, task, file, device, unknown).over_time for file in args.good]
            )
        threshold = run.cfg.TEST.THRESHOLD
        found = compare(views.over_time, expected, threshold, MOST if args.activity else threshold)
        make_folder(folder := args.out or run.folder / "reference", "--out")
        title = f"Difference from {args.activity or f'{len(args.good)} good execution(s)'}".replace("_", " ")
        files = write_comparison(views, found, folder, title, threshold)
        print(summary(found))
        print("\n".join(map(str, files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
