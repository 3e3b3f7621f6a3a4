"""Draw a batch as the model sees it: python tools/show_batch.py --cfg CONFIG [--split train] ... [KEY VALUE ...].

Writes batch_<modality>.png per modality into --out. Augmentation, mixup and CutMix are the config's; with AUG.ENABLE
False or MIXUP.ENABLE False behind the options they can be left out. An evaluation split shows the views of each clip.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transm3e.cli import CONFIG_SUFFIXES, exit_with_message
from transm3e.config import load_cfg
from transm3e.data.annotations import SPLITS
from transm3e.data.build import label_names
from transm3e.data.modalities import build_modalities
from transm3e.files import make_folder
from transm3e.modalities import MODALITIES, read_modalities
from transm3e.report.batch_picture import build_picture_loader, draw_batch, one_batch


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cfg", nargs="+", required=True, metavar="CONFIG", help="a config file, KEY VALUE ...")
    add("--split", choices=SPLITS, default=SPLITS[0], help="default: %(default)s")
    add("--epoch", type=int, default=0, help="default: %(default)s")
    add("--step", type=int, default=0, help="number of the batch in its epoch; default: %(default)s")
    add("--clips", type=int, default=8, help="rows of a picture; default: %(default)s")
    add("--modalities", nargs="+", metavar="NAME", help=f"of {', '.join(MODALITIES)}; default: what the config reads")
    add("--out", type=Path, metavar="FOLDER", help="default: RUNS_DIR/batch")
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
        cfg = load_cfg(args.cfg[0], args.opts)
        names = list(dict.fromkeys(args.modalities or read_modalities(cfg, args.split == SPLITS[0])))
        loader = build_picture_loader(cfg, args.split, names)
        folder = args.out or Path(cfg.RUNS_DIR) / "batch"
        make_folder(folder, "--out")
        batch = one_batch(loader, args.epoch, args.step)
        for clip in batch.failed:
            print(f"left out: {clip.path}: {clip.reason}", file=sys.stderr)
        when = f"epoch {args.epoch}, step {args.step} of {len(loader)}"
        inputs = build_modalities(cfg, names)
        shown = {"split": args.split, "when": when, "clips": args.clips, "classes": label_names(cfg, args.split)}
        for file in draw_batch(batch, inputs, folder, **shown):
            print(file)
    return 0


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Modalities and the KEY VALUE ... behind them; keys are written large."""
    first = next((i for i, word in enumerate(words) if word.partition("=")[0].isupper()), len(words))
    return words[:first], words[first:]


if __name__ == "__main__":
    sys.exit(main())
