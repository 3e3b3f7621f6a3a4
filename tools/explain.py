"""Show what a trained model's scores rest on: python tools/explain.py --cfg CONFIG [KEY VALUE ...] [--split S] [--video FILE].

The weights are those of the run that tools/run_net.py trains with the same arguments, or TEST.CHECKPOINT_FILE_PATH.
Writes into --out rows of frames of some clips of a split (clips.png) with a deletion test (deletion.png) and, for a model
with MCTs, what each token reads (tokens.png); or, with --video, an overlay video of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from transm3e.cli import exit_with_message
from transm3e.data.annotations import EVAL_SPLITS, MUSCLES
from transm3e.data.loader import ClipLoader
from transm3e.engine.processes.distributed import select_device
from transm3e.errors import UserError
from transm3e.files import make_folder
from transm3e.report.batch_figure import build_figure_loader, one_batch
from transm3e.report.explain import (
    JOINT_METHOD,
    METHODS,
    check_method,
    class_of,
    deletion_figure,
    explain,
    rows_figure,
    tokens_figure,
)
from transm3e.report.video_views import VideoViews, explain_video
from transm3e.report.videos import untrained_muscles
from transm3e.runs.folder import evaluation_checkpoint
from transm3e.runs.plan import plan
from transm3e.tasks import build_trained_task


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cfg", nargs="+", required=True, metavar="CONFIG", help="a config file, KEY VALUE ...")
    add("--split", choices=EVAL_SPLITS, default="new_val", help="default: %(default)s")
    add("--clips", type=int, default=4, help="number of views, from the split's first on; default: %(default)s")
    add("--step", type=int, default=0, help="which batch of so many views; default: %(default)s")
    add("--video", metavar="FILE", help="a video instead of a split")
    add("--muscle", default="", metavar="NAME", help="default: the one with the highest score")
    add("--method", choices=METHODS, default="", help="default: gradcam; for a model of joints: joints")
    add("--out", type=Path, metavar="FOLDER", help="default: explain in the run's folder")
    args, tail = parser.parse_known_args(argv)
    if unknown := [word for word in tail if word.startswith("--")]:
        parser.error(f"unknown option {unknown[0]}")
    if args.clips < 1:
        parser.error(f"--clips {args.clips}: it must be 1 or more")
    args.opts = [*args.cfg[1:], *tail]
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with exit_with_message():
        run = plan([args.cfg[0]], [*args.opts, "MODEL.ACT_CHECKPOINT", False, "TEST.NUM_ENSEMBLE_VIEWS", 1])[-1]
        cfg = run.cfg
        device = select_device(min(1, cfg.NUM_GPUS))
        task = build_trained_task(cfg, evaluation_checkpoint(run), device)
        method = check_method(task.model, args.method)
        muscle = class_of(task.activities.names if task.activities else MUSCLES, args.muscle)
        make_folder(folder := args.out or run.folder / "explain", "--out")
        if args.video:
            file = folder / f"{Path(args.video).stem}.mp4"
            explain_video(
                VideoViews.from_cfg(cfg, task, args.video, device, untrained_muscles(run, task.columns)),
                file,
                method,
                muscle,
            )
            print(file)
            return 0
        cfg.defrost()
        cfg.TEST.BATCH_SIZE = args.clips * max(1, cfg.NUM_GPUS)
        batch = one_batch(_loader(cfg, args.split, task.model.modality), 0, args.step).to(device)
        found = explain(task, batch.clips, method, muscle)
        title = f"{run.name}, {args.split}"
        files = [folder / "clips.png"]
        rows_figure(batch, found, cfg.SKELETON.LAYOUT, cfg.TEST.THRESHOLD, files[0], title)
        if method != JOINT_METHOD:
            files.append(folder / "deletion.png")
            deletion_figure(task, batch.clips, found, files[-1], title)
        if task.model.has_mcts:
            files.append(folder / "tokens.png")
            tokens_figure(task, batch, files[-1], title)
        print("\n".join(map(str, files)))
    return 0


def _loader(cfg: CfgNode, split: str, modality: str) -> ClipLoader:
    """Clips with their images, where there are videos."""
    try:
        return build_figure_loader(cfg, split, [modality, "rgb"])
    except UserError:
        return build_figure_loader(cfg, split, [modality])


if __name__ == "__main__":
    sys.exit(main())
