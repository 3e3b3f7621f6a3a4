"""Reliability of a model by cross-validation: python tools/calibrate.py RUN RUN ... --table CLIPS.csv --out FILE.json.

Each RUN is a folder that tools/run_net.py made, trained without one fold of the clips and evaluated on it. FILE.json gets mAP,
ECE, and each muscle's average precision beside its random level; --picture draws them. With --checkpoint IN --weights OUT the
last linear layer of IN, trained by the same config on all clips, is scaled and shifted so that its sigmoids are probabilities,
and written to OUT.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transm3e.cli import exit_with_message
from transm3e.errors import UserError
from transm3e.files import atomic_write_text
from transm3e.models.weights import check_target, read_checkpoint, write_weights
from transm3e.report.reliability import cross_validated, draw_reliability, families_of, held_out, read_folds


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folders of the folds' runs")
    add(
        "--table",
        type=Path,
        required=True,
        help="clip table with the clips' activities, which are resampled as a whole",
    )
    add("--split", default="new_val", help="of the held-out clips; default: %(default)s")
    add("--out", type=Path, required=True, metavar="FILE.json")
    add("--picture", type=Path, metavar="FILE.png", help="predicted against observed shares, and AP by muscle")
    add("--checkpoint", metavar="IN", help="weights to calibrate")
    add("--weights", type=Path, metavar="OUT", help="where they go")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with exit_with_message():
        if bool(args.checkpoint) != bool(args.weights):
            raise UserError("--checkpoint and --weights belong together; give both or none")
        if args.weights:
            check_target(args.weights)
        folds = read_folds(args.runs, args.split)
        families = families_of(args.table, np.concatenate([fold.clips for fold in folds]))
        found = cross_validated(folds, families)
        if args.weights:
            write_calibrated(args.checkpoint, args.weights, found)
        if args.picture:
            draw_reliability(*held_out(folds), found, args.picture)
        atomic_write_text(args.out, json.dumps(found, indent=1) + "\n")
        print({name: value for name, value in found.items() if name not in ("biases", "muscles")})
    return 0


def write_calibrated(checkpoint: str, out: Path, found: dict[str, Any]) -> None:
    """Scale and shift the last linear layer's logits.

    Raises:
        UserError: the last weights are not a linear layer with a bias for each muscle.
    """
    state = read_checkpoint(checkpoint)
    weights = state["model_state"]
    head = next((name for name in reversed(weights) if name.endswith(".weight")), "").removesuffix("weight")
    biases = torch.tensor(found["biases"])
    if (
        not head
        or weights[f"{head}weight"].ndim != 2
        or weights.get(f"{head}bias", torch.empty(0)).shape != biases.shape
    ):
        raise UserError(
            f"{checkpoint}: its last weights are not a linear layer with a bias for each of {len(biases)} muscles"
        )
    weights[f"{head}weight"] *= found["slope"]
    weights[f"{head}bias"] = found["slope"] * weights[f"{head}bias"] + biases
    # The path of the run is private.
    write_weights(out, weights, re.sub(r"(?m)^OUTPUT_DIR: .*$", "OUTPUT_DIR: ''", state.get("cfg", "")))


if __name__ == "__main__":
    sys.exit(main())
