"""Learning-rate finder: python tools/find_lr.py --cfg CONFIG [--steps 100] [--out find_lr.png] [KEY VALUE ...].

Trains a config's model for some steps while the learning rate rises, on one GPU or the CPU, writes no checkpoint, and
suggests a SOLVER.BASE_LR: where the loss falls fastest. The figure shows the loss over the rate; a .csv file beside it
holds its numbers. The batch is TRAIN.BATCH_SIZE, clipping and weight decay are the config's.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from transm3e.cli import exit_with_message
from transm3e.data import build_loader
from transm3e.data.build import check_tables
from transm3e.engine.faults import determinism_advice, memory_advice
from transm3e.engine.find_lr import Sweep, rising, sweep
from transm3e.engine.optim import build_optimizer
from transm3e.engine.precision import Precision
from transm3e.engine.processes.distributed import select_device
from transm3e.engine.seed import set_deterministic
from transm3e.engine.settings import TrainSettings
from transm3e.errors import UserError, disk_faults
from transm3e.files import atomic_path
from transm3e.report.figures import learning_rates
from transm3e.runs.plan import plan
from transm3e.tasks import build_task


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--cfg", required=True, metavar="CONFIG")
    add("--from", type=float, default=1e-7, dest="lowest", metavar="RATE", help="first rate; default: %(default)s")
    add("--to", type=float, default=1.0, dest="highest", metavar="RATE", help="last rate; default: %(default)s")
    add("--steps", type=int, default=100, help="default: %(default)s")
    add("--out", type=Path, default=Path("find_lr.png"), metavar="FILE", help="default: %(default)s")
    add("opts", nargs="*", default=[], metavar="KEY VALUE")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with exit_with_message():
        if not 0 < args.lowest < args.highest or args.steps < 10:
            raise UserError(
                f"--from {args.lowest:g} --to {args.highest:g} --steps {args.steps}: rates must rise from above 0, in at "
                "least 10 steps"
            )
        found, base = find(args)
        with disk_faults():
            learning_rates(found, args.out, f"{Path(args.cfg).stem}, {len(found.rates)} steps", base)
            with atomic_path(args.out.with_suffix(".csv")) as partial, partial.open("w", newline="") as lines:
                rows = zip(found.rates, found.losses, found.smoothed, strict=True)
                csv.writer(lines).writerows([("rate", "loss", "smoothed"), *rows])
        best = found.suggestion()
        print(f"SOLVER.BASE_LR {best:.2g}" if best else "no suggestion: the loss does not fall at any of these rates")
        print(f"figure: {args.out}")
    return 0


def find(args: argparse.Namespace) -> tuple[Sweep, float]:
    """The sweep, and the config's own rate."""
    *starts, run = plan([args.cfg], [*args.opts, "NUM_SHARDS", 1])
    cfg = run.cfg
    if starts:
        raise UserError(f"{args.cfg} starts from {starts[-1].name}, which is not trained yet; train it first")
    if not cfg.TRAIN.ENABLE:
        raise UserError("TRAIN.ENABLE is False, so there is nothing to find a learning rate for; set it True")
    check_tables([cfg])
    if cfg.CPU_THREADS:
        torch.set_num_threads(cfg.CPU_THREADS)
    device, settings = select_device(min(1, cfg.NUM_GPUS)), TrainSettings.from_cfg(cfg)
    set_deterministic(cfg.DETERMINISTIC)
    # The whole batch, also of a config for several GPUs.
    task, loader = build_task(cfg, device), build_loader(cfg, "train", local_size=1)
    optimizer, rates = build_optimizer(cfg, task.model), rising(args.lowest, args.highest, args.steps)
    with memory_advice(settings.memory_settings), determinism_advice(cfg.MODEL.MODEL_NAME):
        found = sweep(task, loader, optimizer, Precision.from_cfg(cfg, device), settings, rates)
    if not found.rates:
        raise UserError(
            f"the loss is NaN or infinite at the first rate, {args.lowest:g}; start from a lower one, --from"
        )
    return found, cfg.SOLVER.BASE_LR


if __name__ == "__main__":
    sys.exit(main())
