"""All that only a GPU can answer, in one Markdown table: tools/gpu_check.sh [--cpu] [--parts NAME ...].

Status 1 if something is not as it must be; the rest of the table is there all the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.benchmark.gpu.check import PARTS, run_parts
from transm3e.benchmark.gpu.rows import full, tiny
from transm3e.cli import FAILED, exit_with_message

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU, to see that it runs")
    parser.add_argument(
        "--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), metavar="NAME", help="of: " + ", ".join(PARTS)
    )
    args = parser.parse_args()
    with exit_with_message():
        text, sound = run_parts(tiny(ROOT) if args.cpu else full(ROOT), args.parts)
    print(text, end="")
    return 0 if sound else FAILED


if __name__ == "__main__":
    sys.exit(main())
