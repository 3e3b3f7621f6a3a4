"""Shared by the command-line tools: PySlowFast's arguments, and one-line messages instead of tracebacks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from transm3e.errors import ExitRequest, UserError, disk_faults

CONFIG_SUFFIXES = (".yaml", ".yml")
# Exit statuses: an error of the program; a user's mistake; "the same command resumes", after a scheduler's signal
# (EX_TEMPFAIL); another process of the run is lost or stuck; Ctrl-C.
FAILED, USER_MISTAKE, REQUEUE, LOST_PROCESS, INTERRUPTED = 1, 2, 75, 76, 130


def parse_args(argv: Sequence[str], description: str | None) -> argparse.Namespace:
    """Parse --cfg FILE [FILE ...], --opts KEY VALUE ... (or bare KEY VALUE, or KEY=VALUE), and PySlowFast's flags.

    Returns:
        cfg: list of files; opts: list of words, with those of --import and the shards; init_method; print_config.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument(
        "--help-keys",
        nargs="?",
        const="",
        metavar="PATTERN",
        help="print the keys whose names or meanings hold PATTERN",
    )
    first.add_argument(
        "--import", action="append", default=[], dest="imports", metavar="FILE", help="as IMPORTS [FILE]"
    )
    asked = first.parse_known_args(argv)[0]
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False, parents=[first])
    if asked.help_keys is not None:
        _print_keys(asked.help_keys, asked.imports, parser)
    parser.add_argument("--cfg", nargs="+", required=True, metavar="FILE", help="config files, run in turn")
    parser.add_argument("--shard_id", type=int, help="number of this host, from 0")
    parser.add_argument("--num_shards", type=int, help="number of hosts")
    parser.add_argument("--init_method", default="", help="address of host 0, tcp://HOST:PORT, if there are several")
    parser.add_argument("--print-config", action="store_true", help="print every setting of every run and stop")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE ... or KEY=VALUE ...")
    args, tail = parser.parse_known_args(argv)
    unknown = [word for word in tail if word.startswith("--")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}")
    # Older PySlowFast takes KEY VALUE without --opts; --cfg has swallowed them if they follow it.
    first_key = next((i for i, word in enumerate(args.cfg) if not word.endswith(CONFIG_SUFFIXES)), len(args.cfg))
    if first_key == 0:
        parser.error(f"--cfg {args.cfg[0]}: a config file ends in {' or '.join(CONFIG_SUFFIXES)}")
    shards = [("NUM_SHARDS", args.num_shards), ("SHARD_ID", args.shard_id)]
    flags = [word for key, value in shards if value is not None for word in (key, value)]
    imports = ["IMPORTS", args.imports] if args.imports else []
    args.opts = [*args.cfg[first_key:], *tail, *args.opts, *flags, *imports]
    args.cfg = args.cfg[:first_key]
    return args


def _print_keys(pattern: str, imports: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """--help-keys [PATTERN]: print keys, those of the user's own files included, and exit."""
    from transm3e.config.schema import reference
    from transm3e.registry import import_files

    with exit_with_message():
        import_files(imports)
    found = "\n".join(reference(pattern))
    if not found:
        parser.error(f"no key's name or meaning holds {pattern!r}; --help-keys alone lists all")
    print(found)
    parser.exit()


@contextmanager
def exit_with_message() -> Iterator[None]:
    """Turn errors that the user can fix into one line and an exit status."""
    try:
        with disk_faults():
            yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_MISTAKE)
    except ExitRequest as request:
        print(request, file=sys.stderr)
        sys.exit(request.exit_status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
