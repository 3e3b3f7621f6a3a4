"""Look into checkpoints of this and other projects, and convert them.

python tools/checkpoint.py inspect FILE [--all] [--against CONFIG [KEY VALUE ...]]
python tools/checkpoint.py convert FILE OUT --cfg CONFIG [KEY VALUE ...] [--source S] [--allow NAME ...] [--force]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from transm3e.cli import exit_with_message
from transm3e.config import load_cfg
from transm3e.errors import UserError
from transm3e.files import atomic_path
from transm3e.models import build_model
from transm3e.models.weights import SOURCES, check_target, load_weights, write_weights
from transm3e.models.weights.load import AUTO
from transm3e.models.weights.tables import checkpoint_table, report_table


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    with exit_with_message():
        if args.source != AUTO:
            # An unknown source is refused even where nothing is loaded, and before anything is read.
            SOURCES[args.source]
        args.command(args)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    look = commands.add_parser("inspect", help="source, sizes and names")
    convert_ = commands.add_parser("convert", help="write a checkpoint in our names")
    for command in (look, convert_):
        command.add_argument("file", help="or a URL; FILE::KEY takes the weights under KEY")
        command.add_argument("--source", default=AUTO, help=f"{AUTO}, {', '.join(SOURCES)}")
        command.add_argument("--allow", nargs="+", default=[], metavar="NAME", help="beginnings that may be missing")
    look.add_argument("--all", action="store_true", help="a line per tensor, not per group")
    look.add_argument(
        "--against", nargs="+", metavar="CONFIG", help="report how it would load into this config's model"
    )
    look.set_defaults(command=inspect)
    convert_.set_defaults(command=convert)
    convert_.add_argument("out", type=Path, help=".pyth, .pth, .pt or .safetensors")
    convert_.add_argument("--cfg", nargs="+", required=True, metavar="CONFIG", help="config file, KEY VALUE ...")
    convert_.add_argument("--force", action="store_true", help="overwrite OUT")
    return parser.parse_args(argv)


def inspect(args: argparse.Namespace) -> None:
    """Print the content of a file."""
    print(checkpoint_table(args.file, args.all))
    if args.against:
        _, model = build(args.against)
        print(report_table(load_weights(model, args.file, args.allow, source=args.source)))


def convert(args: argparse.Namespace) -> None:
    """Load a file into a config's model and write that model's weights."""
    check_target(args.out)
    if args.out.exists() and not args.force:
        raise UserError(f"{args.out} exists; choose another name, or add --force to overwrite it")
    cfg, model = build(args.cfg)
    print(report_table(load_weights(model, args.file, args.allow, source=args.source)))
    with atomic_path(args.out) as partial:
        write_weights(partial, model.state_dict(), cfg.dump())
    print(f"wrote {args.out}")


def build(words: Sequence[str]) -> tuple[CfgNode, nn.Module]:
    cfg = load_cfg(words[0], words[1:])
    return cfg, build_model(cfg)


if __name__ == "__main__":
    sys.exit(main())
