"""Draw a batch as the model reads it: python tools/show_batch.py --cfg CONFIG [--split train] ... [KEY VALUE ...].

Writes batch_<modality>.png per modality into --out. Augmentation, mixup and CutMix are the config's; AUG.ENABLE False
or MIXUP.ENABLE False after the options disables them. An evaluation split shows the views of each clip.

--bad FILE in place of --cfg replays a step whose loss or gradient was NaN, in its run's config and with the weights
beside FILE: it names the first module whose output is not finite, and draws the batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from transm3e.cli import CONFIG_SUFFIXES, exit_with_message
from transm3e.config import load_cfg
from transm3e.data.annotations import SPLITS
from transm3e.data.build import label_names
from transm3e.data.modalities import build_modalities
from transm3e.data.types import Batch
from transm3e.engine.processes.distributed import select_device
from transm3e.engine.replay import read_bad_state, read_bad_step, replay, replay_cfg
from transm3e.files import make_folder
from transm3e.modalities import MODALITIES, read_modalities
from transm3e.registry import import_files
from transm3e.report.batch_figure import build_figure_loader, draw_batch, one_batch


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--cfg", nargs="+", default=[], metavar="CONFIG", help="a config file, KEY VALUE ...")
    which.add_argument("--bad", type=Path, metavar="FILE", help="bad_batch_rank_N.pt of a run's folder")
    add("--import", action="append", default=[], dest="imports", metavar="FILE", help="with --bad: as IMPORTS [FILE]")
    add("--split", choices=SPLITS, default=SPLITS[0], help="default: %(default)s")
    add("--epoch", type=int, default=0, help="default: %(default)s")
    add("--step", type=int, default=0, help="number of the batch in its epoch; default: %(default)s")
    add("--clips", type=int, default=8, help="rows of a figure; default: %(default)s")
    add("--modalities", nargs="+", metavar="NAME", help=f"of {', '.join(MODALITIES)}; default: what the config reads")
    add("--out", type=Path, metavar="FOLDER", help="default: RUNS_DIR/batch; bad_batch beside FILE")
    args, tail = parser.parse_known_args(argv)
    unknown = [word for word in tail if word.startswith("--")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}")
    if len(args.cfg) > 1 and args.cfg[1].endswith(CONFIG_SUFFIXES):
        parser.error(f"one config at a time, not {args.cfg[1]} as well")
    args.modalities, keys = _split(args.modalities or [])
    args.opts = [*args.cfg[1:], *keys, *tail]
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with exit_with_message():
        if args.bad:
            show_bad(args)
            return 0
        cfg = load_cfg(args.cfg[0], args.opts)
        names = list(dict.fromkeys(args.modalities or read_modalities(cfg, args.split == SPLITS[0])))
        loader = build_figure_loader(cfg, args.split, names)
        make_folder(folder := args.out or Path(cfg.RUNS_DIR) / "batch", "--out")
        batch = one_batch(loader, args.epoch, args.step)
        for clip in batch.failed:
            print(f"left out: {clip.path}: {clip.reason}", file=sys.stderr)
        draw(cfg, batch, names, args, folder, f"epoch {args.epoch}, step {args.step} of {len(loader)}")
    return 0


def show_bad(args: argparse.Namespace) -> None:
    """Replay a step that ended a training, and draw the batch it failed on."""
    bad = read_bad_step(args.bad)
    state = read_bad_state(args.bad, bad)
    import_files(args.imports)
    cfg = replay_cfg(state, args.opts)
    if cfg.CPU_THREADS:
        torch.set_num_threads(cfg.CPU_THREADS)
    print(f"the {bad.what} was {bad.value} in {bad.where}, on rank {bad.rank}")
    batch, lines = replay(bad, state, cfg, select_device(min(1, cfg.NUM_GPUS)))
    print("\n".join(lines))
    make_folder(folder := args.out or args.bad.parent / "bad_batch", "--out")
    names = list(dict.fromkeys(args.modalities or read_modalities(cfg, training=True)))
    draw(cfg, batch, names, args, folder, bad.where)


def draw(cfg: CfgNode, batch: Batch, names: Sequence[str], args: argparse.Namespace, folder: Path, when: str) -> None:
    """Draw one figure per modality, and print the file names."""
    shown = {"split": args.split, "when": when, "clips": args.clips, "classes": label_names(cfg, args.split)}
    for file in draw_batch(batch, build_modalities(cfg, names), folder, **shown):
        print(file)


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Split words into modalities and the KEY VALUE ... after them; keys are in upper case."""
    first = next((i for i, word in enumerate(words) if word.partition("=")[0].isupper()), len(words))
    return words[:first], words[first:]


if __name__ == "__main__":
    sys.exit(main())
