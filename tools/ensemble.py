"""Average the scores of evaluated runs: python tools/ensemble.py RUN RUN [RUN ...] --out FOLDER [--weights W W ...].

RUN is a folder that tools/run_net.py made: checkpoints of one model, streams of a graph model (late fusion) or different
models, evaluated on the same clips. Clips are matched by path; nothing is run again. FOLDER gets results.json,
predictions and muscles.png like a run's folder; an earlier ensemble there is replaced.

CTR-GCN's weights for joint, bone, motion of joints and motion of bones: --weights 0.6 0.6 0.4 0.4.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.report.ensemble import build_ensemble, check_folder, ensemble_table, read_member, write_ensemble


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folders of evaluated runs")
    add("--out", type=Path, required=True, metavar="FOLDER", help="new, empty, or of an earlier ensemble")
    add(
        "--weights", nargs="+", type=float, metavar="W", help="one per run, above 0; only ratios matter; default: equal"
    )
    add("--name", help="of the ensemble; default: the name of FOLDER")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with exit_with_message():
        check_folder(args.out, args.runs)
        members = [read_member(folder) for folder in args.runs]
        ensemble = build_ensemble(members, args.name or args.out.resolve().name, args.weights)
        write_ensemble(ensemble, args.out)
        if ensemble.left_out:
            print(f"left out, as not all runs have it: {', '.join(ensemble.left_out)}", file=sys.stderr)
        print(f"{ensemble_table(ensemble)}\nin {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
