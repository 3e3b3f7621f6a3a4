"""Train and evaluate what config files describe: python tools/run_net.py --cfg FILE [FILE ...] [--opts KEY VALUE ...].

Steps of a run: config -> plan (which runs, in which order) -> data and task -> training -> evaluation -> report.
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from typing import Any

from transm3e.cli import exit_with_message, parse_args

if __name__ == "__main__":
    args = parse_args(sys.argv[1:], __doc__)
    if args.print_config:
        # Before the imports that only a run needs.
        from transm3e.runs.plan import print_plan

        with exit_with_message():
            print_plan(args.cfg, args.opts)
        sys.exit(0)

import torch

from transm3e.config.targets import VALIDATION
from transm3e.data import build_loader
from transm3e.data.build import check_tables
from transm3e.doctor import check_devices
from transm3e.engine.evaluate import Evaluator
from transm3e.engine.faults import determinism_advice
from transm3e.engine.logging import log_to
from transm3e.engine.processes.distributed import gather, is_main, local_size, rank, world_size
from transm3e.engine.processes.launch import has_main_process, launch, starts_all_processes
from transm3e.engine.processes.signals import stop_request
from transm3e.engine.train import Trainer
from transm3e.engine.writers import check_backends
from transm3e.errors import disk_faults
from transm3e.report import run as report
from transm3e.report import videos as video_report
from transm3e.runs.folder import Start, claim, evaluation_checkpoint, is_evaluated, is_trained
from transm3e.runs.plan import Run, plan
from transm3e.runs.record import changed_settings, on_other_data, owner_of
from transm3e.tasks import build_task, build_trained_task

logger = logging.getLogger("transm3e.run_net")


def main() -> int:
    args = parse_args(sys.argv[1:], __doc__)
    with exit_with_message():
        runs = plan(args.cfg, args.opts)
        for problem in check_devices():
            print(f"warning: {problem}", file=sys.stderr)
        check_tables([run.cfg for run in runs])
        check_backends(run.cfg for run in runs)
        for run in runs:
            owner = owner_of(run)
            # With several hosts, which may see different states of the files, the main process decides.
            if starts_all_processes(run.cfg, args.init_method) and (done := report.already_done(run, owner)):
                print(done, file=sys.stderr)
            else:
                launch(execute, run.cfg, args.init_method, run, owner)
        if has_main_process(runs[0].cfg, args.init_method):
            print(report.final_table(runs), end="")
    return 0


def execute(run: Run, owner: dict[str, Any], device: torch.device) -> None:
    """One run in this process; finished training or evaluation is not repeated."""
    run, owner = report.agreed(run, owner)
    if done := gather(report.already_done(run, owner) if is_main() else "")[0]:
        if is_main():
            print(done, file=sys.stderr)
        return
    is_other = on_other_data(run, owner) if is_main() else ""
    with (
        claim(run, owner) if is_main() else nullcontext(Start()) as start,
        log_to(run.folder, is_main()),
        disk_faults(),
        determinism_advice(run.cfg.MODEL.MODEL_NAME),
        stop_request() as request,
    ):
        logger.info("%s -> %s on %s%s", run.name, run.folder, device, is_other and f"; {is_other}")
        # Before training, so that missing files are reported at once.
        videos = video_report.find_videos(run, request) if run.cfg.DEMO.ENABLE else None
        # Decided by the main process, as other hosts may see an older state of the files.
        trained, evaluated = gather((is_trained(run), is_evaluated(run)))[0]
        if not trained:
            train(run, owner, device, start)
        if not evaluated:
            evaluate(run, owner, device)
        if videos:
            video_report.score_videos(run, videos, device)


def train(run: Run, owner: dict[str, Any], device: torch.device, start: Start) -> None:
    """Train to the last epoch, with quick validation on known_val and new_val."""
    cfg = run.cfg
    if is_main() and (changed := changed_settings(run)):
        logger.info("config.yaml stays as training began; resumed with %s", changed)
    # Build the test loaders now, so that missing files are reported before training.
    Evaluator.from_cfg(cfg, cfg.TEST.SPLITS if cfg.TEST.ENABLE else [], device)
    validated = [s for s in VALIDATION if s in cfg.TEST.SPLITS and cfg.TRAIN.EVAL_PERIOD]
    validator = Evaluator.from_cfg(cfg, validated, device, single_view=True)
    task = build_task(cfg, device)
    trainer = Trainer.from_cfg(
        cfg,
        task=task,
        loader=build_loader(cfg, "train", rank=rank(), world_size=world_size(), local_size=local_size()),
        validate=lambda: report.validation(validator(task)),
        device=device,
        origin={"cfg": cfg.dump(), "run": owner},
    )
    start.begun = True
    trainer.run()


def evaluate(run: Run, owner: dict[str, Any], device: torch.device) -> None:
    """Score the splits with the trained model, and write results.json and figures."""
    task = build_trained_task(run.cfg, checkpoint := evaluation_checkpoint(run), device)
    predictions = Evaluator.from_cfg(run.cfg, run.cfg.TEST.SPLITS, device)(task)
    if is_main():
        report.write_report(run, owner, checkpoint, predictions)
    report.refuse_missing(run, predictions)


if __name__ == "__main__":
    sys.exit(main())
