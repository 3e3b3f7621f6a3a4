"""A page that scores videos dropped on it: python -m transm3e.web [RUN_FOLDER|CONFIG] [KEY VALUE ...].

Without a run: the included pose model, as in make phone. Ctrl-C ends it, and deletes uploads and results.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from transm3e.cli import exit_with_message

if TYPE_CHECKING:
    from transm3e.web.server import Server


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m transm3e.web", description=__doc__, allow_abbrev=False)
    parser.add_argument("run", nargs="?", default="", help="run folder or config; default: the included pose model")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings")
    parser.add_argument("--host", default="127.0.0.1", help="address; others than this machine may then reach the page")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-mb", type=int, default=500, help="largest upload")
    parser.add_argument("--max-minutes", type=float, default=10, help="longest video")
    args = parser.parse_args(argv)
    if args.max_mb < 1 or not args.max_minutes > 0:
        parser.error("--max-mb and --max-minutes must be above 0")
    # Before the model is loaded: imports that only a server needs.
    from transm3e.web.jobs import Jobs
    from transm3e.web.scoring import Scorer, find_run
    from transm3e.web.server import MIB, Server

    with exit_with_message():
        run = find_run(args.run, args.opts)
        scorer = Scorer(run, args.max_minutes)
        with tempfile.TemporaryDirectory(prefix="transm3e-web-", ignore_cleanup_errors=True) as folder:
            jobs = Jobs(Path(folder), scorer)
            with Server(args.host, args.port, jobs, args.max_mb * MIB, run.name) as server:
                _serve(server, run.name)
    return 0


def _serve(server: Server, name: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started it in the background
        signal.signal(number, signal.default_int_handler)
    print(f"{server.url} scores videos with {name}; Ctrl-C ends it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended; uploads and results are deleted", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
