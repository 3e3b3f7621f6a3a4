"""Measure speed, memory and work: python tools/benchmark.py model --cfg CONFIG [CONFIG ...] [--against NAME] ...

Models run side by side with a reference; the table goes to standard output and, with all raw figures and a
picture, to the folder --out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.benchmark.arguments import parse_args, settings_of
from transm3e.benchmark.contestant import build_entries
from transm3e.benchmark.markdown import to_markdown
from transm3e.benchmark.model import measure
from transm3e.benchmark.picture import draw
from transm3e.benchmark.results import Results, make_folder, write_json
from transm3e.cli import exit_with_message
from transm3e.files import atomic_write_text


def main() -> int:
    args = parse_args(sys.argv[1:], __doc__)
    with exit_with_message():
        benchmark_model(args)
    return 0


def benchmark_model(args: argparse.Namespace) -> None:
    """Measure, show and keep."""
    entries, reference = build_entries(args.cfg, args.against, args.opts)
    folder = Path(args.out)
    make_folder(folder)
    results = measure(entries, reference, settings_of(args), sys.argv, keep=lambda so_far: keep(so_far, folder))
    draw(results, folder / "model.png")
    print(to_markdown(results), end="")


def keep(results: Results, folder: Path) -> None:
    """Figures and table; called after every batch size."""
    write_json(results, folder / "model.json")
    atomic_write_text(folder / "model.md", to_markdown(results))


if __name__ == "__main__":
    sys.exit(main())
