"""Make tables of the paper, or your own: python tools/make_table.py TABLE.yaml [TABLE.yaml ...] [--dry-run].

Runs what is missing, each run once, and writes the scores beside the paper's as Markdown, CSV and LaTeX. The same
command resumes after an interruption. configs/tables/ holds tables 2 to 14.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.errors import UserError
from transm3e.tables.cluster.backends import local_backend, slurm_backend
from transm3e.tables.command import build_plan, run_missing, write_tables
from transm3e.tables.listing import TFLOPS, listing, positive_rate
from transm3e.tables.read import DATASETS
from transm3e.tables.scale import SCALES
from transm3e.tables.statistics.uncertainty import RESAMPLES, Comparison, check_comparison

RUN_NET = Path(__file__).with_name("run_net.py")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("tables", nargs="+", metavar="TABLE", help="files such as configs/tables/table04.yaml, or URLs")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run", action="store_true", help="list rows, runs, shared runs and estimated GPU hours, and stop"
    )
    instead.add_argument("--show", action="store_true", help="write the tables from finished runs, and run nothing")
    add(
        "--on",
        nargs="+",
        metavar="DATASET",
        help=f"{', '.join(DATASETS)}, or your own folder of configs/; default: "
        "those that the table names, or that the paper has scores on",
    )
    add("--scale", choices=SCALES, default="full", help="size of models, clips and epochs; default: %(default)s")
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help="each row once per seed; default: 0")
    add("--rows", nargs="+", metavar="LABEL", help="only rows whose label begins with LABEL")
    add("--jobs", type=int, metavar="N", help="runs at once; default: as many as the GPUs serve, or 1")
    add("--gpus-per-run", type=int, metavar="N", help="default: 1, or 0 (the CPU) where there is none")
    submit = parser.add_mutually_exclusive_group()
    submit.add_argument(
        "--slurm", nargs="*", metavar="NAME=VALUE", help="submit to SLURM: partition=gpu time=24:00:00 account=..."
    )
    submit.add_argument("--submitit-local", action="store_true", help="runs here that outlive this command")
    add("--detach", action="store_true", help="with --slurm: submit, and do not wait; the same command watches later")
    add("--tflops", type=positive_rate, default=TFLOPS, metavar="X", help="rate of the estimate; default: %(default)g")
    add("--against", metavar="LABEL", help="row that the others are tested against; default: the table's last row")
    add(
        "--resamples",
        type=int,
        default=RESAMPLES,
        metavar="N",
        help="of intervals and tests, or 0; default: %(default)s",
    )
    add("--by-clip", action="store_true", help="draw single clips for intervals and tests instead of whole activities")
    add("--out", type=Path, metavar="FOLDER", help="of the tables and logs; default: RUNS_DIR/tables")
    add("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE ... for every row, as for run_net.py")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with exit_with_message():
        if args.detach and args.slurm is None:
            raise UserError("--detach needs --slurm: without it the runs are this command's own")
        backend = (
            local_backend(args.jobs, args.gpus_per_run, args.submitit_local)
            if args.slurm is None
            else slurm_backend(args.slurm, args.jobs, args.gpus_per_run, args.detach)
        )
        plan = build_plan(args.tables, args.on, args.scale, args.seeds, args.rows, backend.gpus_per_run, args.opts)
        comparison = Comparison(args.against, args.resamples, args.by_clip)
        check_comparison(comparison, plan.tables)
        if args.dry_run:
            print(listing(plan, args.tflops), end="")
            return 1 if plan.problems else 0
        out = args.out or plan.runs_dir / "tables"
        command = [sys.executable, str(RUN_NET)]
        failures = {} if args.show else run_missing(plan, command, backend.environments, out / "logs", backend.runner)
        print(write_tables(plan, failures, out, comparison), end="")
        return 1 if failures or plan.problems else 0


if __name__ == "__main__":
    sys.exit(main())
