"""Fetch BlazePose's two networks for `--detector blazepose`: `python datasets/get_pose_models.py`.

Takes the wheel of mediapipe (Apache-2.0) with pip, unpacks the two files into $TRANSM3E_CACHE/pose (default:
~/.cache/transm3e/pose), checks their hashes, and deletes the wheel: neither it nor its dependencies are installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.cli import exit_with_message
from transm3e.data.blazepose.models import MODELS, RELEASE, get_models


def main(arguments: list[str] | None = None) -> int:
    """Fetch them and return 0; a user's mistake ends the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, metavar="FILE", help=f"a wheel of {RELEASE}, instead of downloading it")
    args = parser.parse_args(arguments)
    with exit_with_message():
        folder = get_models(args.wheel)
    print(f"{' and '.join(model.name for model in MODELS)} are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
