"""The command line of tools/benchmark.py."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from transm3e.benchmark.counts import GPUS
from transm3e.benchmark.loader.measure import LoaderSettings
from transm3e.benchmark.loader.pipelines import VARIANTS
from transm3e.benchmark.memory import DTYPES
from transm3e.benchmark.model import Settings
from transm3e.benchmark.processes import ProcessSettings
from transm3e.benchmark.step import MODES

# TRAIN.BATCH_SIZE, RNG_SEED, or with =VALUE.
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z][A-Z0-9_]*)*(=.*)?", re.DOTALL)
DEFAULT_OUT = "runs/benchmark"
FOLDER_OPTIONS = ("--out", "--source")
SMALLEST_SIDE = 32
Kind = TypeVar("Kind")
DEFAULT_SIZES = ((340, 256), (1280, 720))


def parse_args(argv: Sequence[str], description: str | None) -> argparse.Namespace:
    """Options of the subcommand, with config settings as KEY VALUE or KEY=VALUE words anywhere, or after --opts.

    Returns:
        subcommand; cfg, against, out; opts: list of words; and what settings_of reads.
    """
    words, opts = _split(argv)
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    commands = parser.add_subparsers(dest="subcommand", required=True)
    _add_model(commands.add_parser("model", help="speed, memory and work of models", allow_abbrev=False))
    _add_loader(commands.add_parser("loader", help="clips per second of the data loader", allow_abbrev=False))
    _add_processes(
        commands.add_parser("processes", help="a training step alone, in DDP, in shards", allow_abbrev=False)
    )
    _add_params(commands.add_parser("params", help="parameters of table 2's models, or of configs", allow_abbrev=False))
    _add_counts(
        commands.add_parser("counts", help="what a training step asks of a GPU; none is needed", allow_abbrev=False)
    )
    args = parser.parse_args(words)
    if args.subcommand == "loader" and opts:
        parser.error(f"loader takes no config settings, as {opts[0]}; it measures the paper's clips and augmentation")
    if args.subcommand == "params" and opts and not args.cfg:
        parser.error(f"params takes config settings, as {opts[0]}, only with --cfg; table 2 has those of its rows")
    args.opts = opts
    return args


def settings_of(args: argparse.Namespace) -> Settings:
    """How to measure, from the words of the command line."""
    modes = tuple(mode for mode in MODES if mode in args.modes)
    return _settings(Settings, args, modes=modes, batch_sizes=tuple(args.batch_sizes))


def process_settings_of(args: argparse.Namespace) -> ProcessSettings:
    """How processes are measured, from the words of the command line."""
    return _settings(ProcessSettings, args, world_sizes=tuple(dict.fromkeys(args.world_sizes)))


def loader_settings_of(args: argparse.Namespace) -> LoaderSettings:
    """What loaders are measured on, from the words of the command line."""
    source = None if args.source is None else Path(args.source)
    return _settings(
        LoaderSettings,
        args,
        sizes=tuple(args.files if args.files is not None else () if source else DEFAULT_SIZES),
        source=source,
        workers=tuple(dict.fromkeys(args.workers)),
        against=tuple(name for name in dict.fromkeys(args.against) if name != "none"),
        resize=not args.no_resize,
    )


def _settings(kind: Callable[..., Kind], args: argparse.Namespace, **given: Any) -> Kind:
    """A settings object of these and of the options that are called as its fields."""
    words = {name: value for name, value in vars(args).items() if name in kind.__annotations__}
    return kind(**{**words, **given})


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cfg", nargs="+", required=True, metavar="CONFIG", help="configs of models with weights")
    add(
        "--against",
        metavar="NAME",
        help="what to compare with: torchvision:NAME, pytorchvideo:NAME, another config, or none; "
        "default: torchvision:mvit_v2_s for models of MViTv2-S's sizes, else none",
    )
    add("--batch-sizes", nargs="+", type=_positive, default=[], metavar="N", help="clips; default: the fewest possible")
    add("--grow", action="store_true", help="double the first batch size until out of memory")
    add("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: both")
    _add_rounds(parser)
    add("--threads", type=_positive, default=0, metavar="N", help="of the CPU; default: as torch likes")
    add("--memory-limit", type=_positive_number, default=0.0, metavar="GIB", help="CPU; default: 80%% of what is free")
    add("--out", default=DEFAULT_OUT, metavar="FOLDER", help=f"for model.md, .json, .png; default: {DEFAULT_OUT}")


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--repeats", type=_positive, default=7, metavar="N", help="timed rounds; default: 7")
    add("--warmup", type=_positive, default=2, metavar="N", help="untimed rounds before them; default: 2")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=tuple(DTYPES), default="float32", help="bf16, fp16: autocast; default: float32")


def _add_counts(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cfg", nargs="+", required=True, metavar="CONFIG", help="configs of models with weights")
    add("--against", metavar="NAME", help="what to count beside them, as of model")
    add("--batch-size", type=_positive, default=16, metavar="N", help="clips of a step; default: 16")
    add("--precision", choices=tuple(DTYPES), default="fp16", help="default: fp16")
    add("--gpu", choices=tuple(GPUS), default="V100", help="whose kernels are taken; default: V100")


def _add_loader(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    sizes = " ".join(f"{width}x{height}" for width, height in DEFAULT_SIZES)
    add("--files", nargs="+", type=_size, metavar="WxH", help=f"sizes of the files to make; default: {sizes}")
    add("--source", metavar="FOLDER", help="own videos to measure on; then files are made only for --files")
    add(
        "--videos",
        type=_positive,
        default=4,
        metavar="N",
        help="files of each kind, as many as --workers or more; default: 4",
    )
    add("--no-resize", action="store_true", help="leave out the files re-encoded as datasets/resize_videos.py does")
    add("--views", type=_positive, default=2, metavar="N", help="augmented clips per video; default: 2")
    add(
        "--workers", nargs="*", type=_positive, default=[2], metavar="N", help="processes, besides one core; default: 2"
    )
    add(
        "--against",
        nargs="+",
        default=["pytorchvideo"],
        metavar="NAME",
        help="plain pipelines: pytorchvideo or torchcodec with torchvision's transforms, variants with "
        f"{', '.join('+' + form for form in VARIANTS)} (pytorchvideo+half+float), or none; default: pytorchvideo",
    )
    add("--repeats", type=_positive, default=5, metavar="N", help="timed epochs; default: 5")
    add(
        "--out",
        default=DEFAULT_OUT,
        metavar="FOLDER",
        help=f"for loader.md, .json, .png, files; default: {DEFAULT_OUT}",
    )


def _add_processes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cfg", required=True, metavar="CONFIG", help="of a model with weights")
    add("--world-sizes", nargs="+", type=_positive, default=[1, 2], metavar="N", help="processes; default: 1 2")
    add("--batch-size", type=_positive, default=2, metavar="N", help="clips of each process; default: 2")
    _add_rounds(parser)
    add("--threads", type=_positive, default=1, metavar="N", help="of each process on the CPU; default: 1")
    add("--out", default=DEFAULT_OUT, metavar="FOLDER", help=f"for processes.md; default: {DEFAULT_OUT}")


def _add_params(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cfg", nargs="+", metavar="CONFIG", help="configs, part by part; default: table 2 beside what is published")
    add("--out", metavar="FOLDER", help="for params.md and params.json; default: no files")


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words for argparse, and KEY VALUE words. The folder of an option may look like a key."""
    words: list[str] = []
    opts: list[str] = []
    rest = iter(argv)
    for word in rest:
        if KEY.fullmatch(word) and (not words or words[-1] not in FOLDER_OPTIONS):
            # If the value is missing, the config's error message names the key.
            opts += [word] if "=" in word else [word, *[value for value in [next(rest, None)] if value is not None]]
        elif word != "--opts":
            words.append(word)
    return words, opts


def _size(word: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", word)
    width, height = map(int, match.groups()) if match else (0, 0)
    if min(width, height) < SMALLEST_SIDE or width % 2 or height % 2:
        raise argparse.ArgumentTypeError(
            f"{word} must be WIDTHxHEIGHT in pixels, both even and at least {SMALLEST_SIDE}"
        )
    return width, height


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} must be at least 1")
    return number


def _positive_number(word: str) -> float:
    number = float(word)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{word} must be above 0")
    return number
