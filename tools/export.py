"""Write a trained model as a file for other programs, checked against the model.

python tools/export.py --cfg CONFIG [KEY VALUE ...] --to onnx|torch_export|torchscript --out FILE [--precision P] [--clips FILE ...]

The file takes clips as the loader gives them, pixels (B, C, T, H, W) uint8 (joints (B, C, T, V, M) float32), for any B, and
returns scores (B, C) float32 in [0, 1].
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from transm3e.cli import exit_with_message
from transm3e.data import build_videos
from transm3e.errors import UserError
from transm3e.files import make_folder
from transm3e.inference import load
from transm3e.inference.export import FORMATS, TOLERANCES, export


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cfg", nargs="+", required=True, metavar="CONFIG", help="config, run folder or checkpoint, KEY VALUE ..."
    )
    parser.add_argument("--to", choices=FORMATS, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--precision", choices=TOLERANCES, default="float32", help="of the weights; fp16 and int8 for ONNX"
    )
    parser.add_argument("--clips", nargs="+", default=[], metavar="FILE", help="videos on which it is checked, too")
    parser.add_argument("--tolerance", type=float, help=f"largest difference of a score; {TOLERANCES}")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    args = parser.parse_args(argv)
    with exit_with_message():
        if args.out.exists() and not args.force:
            raise UserError(f"{args.out} exists; choose another name, or add --force to overwrite it")
        if args.to == "onnx" and args.out.suffix != ".onnx":
            raise UserError(f"--out {args.out}: a file for --to onnx ends in .onnx")
        torch.manual_seed(0)
        predictor = load(args.cfg[0], args.cfg[1:], "cpu")
        videos = build_videos(predictor.cfg, args.clips) if args.clips else None
        batches = list(videos.loader) if videos else []
        if failed := [clip for batch in batches for clip in batch.failed]:
            raise UserError(f"{failed[0].path}: {failed[0].reason}")
        make_folder(args.out.parent, "--out")
        clips = [batch.clips for batch in batches]
        worst = export(predictor.cfg, predictor.task, args.out, args.to, args.precision, clips, args.tolerance)
        real = f" and {len(args.clips)} videos" if args.clips else ""
        print(f"{args.out}: {args.to}, {args.precision}; scores differ by {worst:.1e} at most, on random clips{real}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
