"""The command line of tools/gpu_check.sh, in the checkout's folder."""

from __future__ import annotations

import argparse
import multiprocessing as mp
import sys
from pathlib import Path

import torch

from transm3e.benchmark.gpu.check import PARTS, run_parts
from transm3e.benchmark.gpu.rows import full, tiny
from transm3e.cli import FAILED, USER_MISTAKE


def main() -> int:
    parser = argparse.ArgumentParser("tools/gpu_check.sh", allow_abbrev=False)
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU, to see that it runs")
    parser.add_argument(
        "--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), metavar="NAME", help=f"of {list(PARTS)}"
    )
    args = parser.parse_args()
    if not args.cpu and not _sees_gpu():
        print("error: torch sees no GPU; python -m transm3e.doctor says why, --cpu runs tiny sizes", file=sys.stderr)
        return USER_MISTAKE
    text, sound = run_parts((tiny if args.cpu else full)(Path.cwd()), args.parts)
    print(text, end="")
    return 0 if sound else FAILED


def _sees_gpu() -> bool:
    """Asked in another process, since asking starts CUDA, which does not survive the forks of the parts."""
    asked = mp.get_context("fork").Process(target=lambda: sys.exit(not torch.cuda.is_available()))
    asked.start()
    asked.join()
    return asked.exitcode == 0


if __name__ == "__main__":
    sys.exit(main())
