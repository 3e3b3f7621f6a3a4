"""Measure speed, memory and work: python tools/benchmark.py model --cfg CONFIG [CONFIG ...] [--against NAME] ...

Models run side by side with a reference; the data loader (python tools/benchmark.py loader [--files WxH ...] ...) with
plain pipelines; a training step in several processes (python tools/benchmark.py processes --cfg CONFIG) with one by itself.
The table goes to standard output and, with all raw values and a figure, to the folder --out.
python tools/benchmark.py counts says what a training step asks of a GPU, without one.
python tools/benchmark.py params counts the parameters of table 2's models, beside the published ones (status 1 if one of
ours is not what it should be), or of any configs (--cfg CONFIG [CONFIG ...]).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transm3e.benchmark import counts, params
from transm3e.benchmark.arguments import loader_settings_of, parse_args, process_settings_of, settings_of
from transm3e.benchmark.candidate import build_entries
from transm3e.benchmark.figure import draw
from transm3e.benchmark.loader.measure import measure_loaders
from transm3e.benchmark.markdown import to_markdown
from transm3e.benchmark.model import measure
from transm3e.benchmark.processes import measure_processes
from transm3e.benchmark.results import LoaderResults, Results
from transm3e.cli import exit_with_message
from transm3e.errors import ExitRequest
from transm3e.files import atomic_write_text, make_folder

MISMATCH = 1  # status if a model has an unexpected number of parameters


def main() -> int:
    args = parse_args(sys.argv[1:], __doc__)
    with exit_with_message():
        commands = {"model": benchmark_model, "loader": benchmark_loader, "processes": benchmark_processes}
        commands |= {"params": show_params, "counts": show_counts}
        commands[args.subcommand](args)
    return 0


def benchmark_model(args: argparse.Namespace) -> None:
    """Measure, print and save."""
    entries, reference = build_entries(args.cfg, args.against, args.opts)
    folder = Path(args.out)
    make_folder(folder, "--out")
    results = measure(
        entries, reference, settings_of(args), sys.argv, keep=lambda so_far: keep(so_far, folder, "model")
    )
    draw(results, folder / "model.png")
    print(to_markdown(results), end="")


def benchmark_loader(args: argparse.Namespace) -> None:
    """The same for loaders; the files that are made stay in --out, too."""
    folder = Path(args.out)
    make_folder(folder, "--out")
    settings = loader_settings_of(args)
    results = measure_loaders(settings, folder / "files", sys.argv, keep=lambda so_far: keep(so_far, folder, "loader"))
    draw(results, folder / "loader.png")
    print(to_markdown(results), end="")


def benchmark_processes(args: argparse.Namespace) -> None:
    """The same for a training step in several processes."""
    [entry], _ = build_entries([args.cfg], "none", args.opts)
    print(measure_processes(entry, process_settings_of(args), Path(args.out)), end="")


def show_counts(args: argparse.Namespace) -> None:
    """Count and show."""
    entries, _ = build_entries(args.cfg, args.against, args.opts)
    found = counts.count_steps(entries, args.precision, args.batch_size, args.gpu)
    print(counts.to_markdown(found, args.precision, args.gpu), end="")


def show_params(args: argparse.Namespace) -> None:
    """Count, print and, with --out, save."""
    if args.out:
        make_folder(Path(args.out), "--out")
    if args.cfg:
        parts = params.count_parts(args.cfg, args.opts)
        print(params.keep_params(params.parts_markdown(parts), parts, args.out), end="")
        return
    rows = params.count_rows()
    print(params.keep_params(params.rows_markdown(rows), rows, args.out), end="")
    if problems := [line for row in rows for line in row.problems]:
        raise ExitRequest("\n".join(problems), MISMATCH)


def keep(results: Results | LoaderResults, folder: Path, name: str) -> None:
    """Save values and table; called after every batch size or kind of files."""
    atomic_write_text(folder / f"{name}.json", results.as_json())
    atomic_write_text(folder / f"{name}.md", to_markdown(results))


if __name__ == "__main__":
    sys.exit(main())
