"""The page's model, loaded once, and what it says about a video: files in a folder, numbers for the page."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transm3e.config.targets import MUSCLE_TARGET
from transm3e.data import build_videos
from transm3e.data.backends import open_source
from transm3e.data.csv_tables import read_rows
from transm3e.data.decode import DecodeError
from transm3e.data.reading import clock
from transm3e.engine.processes.distributed import select_device
from transm3e.errors import UserError
from transm3e.progress import LISTENER
from transm3e.report.body import body_figure, score_scale
from transm3e.report.videos import OVERLAY_WINDOW, score_videos
from transm3e.runs.folder import evaluation_checkpoint
from transm3e.runs.plan import Run, plan
from transm3e.runs.record import CONFIG
from transm3e.tasks import build_trained_task
from transm3e.web.jobs import Report

# The model of `make phone`, see PHONE_OPTS of the Makefile.
PHONE = "configs/FreeExercise/posenet.yaml"
PHONE_OPTS = (
    *("TEST.CHECKPOINT_FILE_PATH", "datasets/annotations/free_exercise_posenet.pyth"),
    *("DATA.TARGET_FPS", 5, "TEST.NUM_ENSEMBLE_VIEWS", 10),
)
# Always: one process and no workers, as forking a process with threads may hang it.
OPTS = ("TRAIN.ENABLE", False, "TEST.ENABLE", False, "DATA_LOADER.NUM_WORKERS", 0)
STAGES = {"persons": "finding the person", "videos": "scoring", "overlay": "drawing"}
OVERLAY, SCORES, WINDOWS, BODY = "overlay.mp4", "scores.csv", "scores_windows.csv", "body.svg"


def find_run(source: str, opts: list[str]) -> Run:
    """The run of a run folder or a config; "" = the included pose model.

    Raises:
        UserError: no such folder or config, or as plan.
    """
    if not source and not Path(PHONE).is_file():
        raise UserError(f"{PHONE} is not here; start in the project's folder, or name a run folder or a config")
    if Path(source).is_dir() and source:
        if not (Path(source) / CONFIG).is_file():
            raise UserError(f"{source} is no run folder: it has no {CONFIG}; name one of runs/, or a config")
        return plan([str(Path(source) / CONFIG)], [*opts, *OPTS, "OUTPUT_DIR", source])[-1]
    return plan([source or PHONE], [*(() if source else PHONE_OPTS), *opts, *OPTS])[-1]


class Scorer:
    """Scores a video with a run's model.

    Args:
        run: its cfg names the detector and the windows.
        most_minutes: longer videos are refused.

    Raises:
        UserError: no trained weights.
    """

    def __init__(self, run: Run, most_minutes: float) -> None:
        self.run, self.most_minutes = run, most_minutes
        self.device = select_device(run.cfg.NUM_GPUS)
        self.task = build_trained_task(run.cfg, evaluation_checkpoint(run), self.device)

    def __call__(self, video: Path, folder: Path, report: Report) -> dict[str, Any]:
        """Write OVERLAY, SCORES, WINDOWS and, for muscles, BODY into the folder.

        Returns:
            names: muscles or activities that are known; starts, ends: seconds of W windows; scores: W lists of one per
            name; mean: one per name, of the whole video; files: those written.

        Raises:
            UserError: it is no video, too long, or has no person where the model needs one.
        """
        self._check(video)
        cfg = self.run.cfg.clone()
        cfg.defrost()
        cfg.DEMO.INPUT_VIDEO, cfg.DEMO.OUTPUT_FILE, cfg.OUTPUT_DIR = str(video), str(folder / OVERLAY), str(folder)
        cfg.DEMO.PICTURES = cfg.DEMO.OVERLAYS = ""
        cfg.freeze()
        run = replace(self.run, cfg=cfg)
        token = LISTENER.set(lambda title, done, total: report(STAGES.get(title.split()[0], title), done / total))
        report("reading", 0.0)

        def note(where: str) -> None:
            if found := re.match(r"frame (\d+) of (\d+) ", where):
                report(STAGES["persons"], int(found[1]) / int(found[2]))

        try:
            windows = {"window": cfg.DEMO.WINDOW or OVERLAY_WINDOW, "stride": cfg.DEMO.STRIDE}
            videos = build_videos(cfg, video, **windows, note=note, cache=folder)
            if reason := videos.bodies[0].reason:
                raise UserError(f"cannot be scored: {reason}")
            report(STAGES["videos"], 0.0)
            with torch.no_grad():
                score_videos(run, videos, self.device, self.task)
        finally:
            LISTENER.reset(token)
        return _read(folder, self.task.target == MUSCLE_TARGET)

    def _check(self, video: Path) -> None:
        try:
            with closing(open_source(video, timeout=self.run.cfg.DATA.DECODE_TIMEOUT)) as source:
                seconds = float(clock(source.num_frames, source.seconds)[-1])
        except DecodeError as error:
            raise UserError(f"cannot be read as a video: {error.reason}") from error
        if seconds > 60 * self.most_minutes:
            raise UserError(
                f"{seconds / 60:.0f} minutes long; allowed: {self.most_minutes:g}; cut it, or start the page with "
                "--max-minutes"
            )


def _read(folder: Path, of_muscles: bool) -> dict[str, Any]:
    whole = read_rows(folder / SCORES)[0].cells
    if whole["error"] or not (folder / OVERLAY).is_file():
        raise UserError(f"cannot be scored: {whole['error'] or 'its frames cannot be drawn'}")
    spans: dict[tuple[float, float], dict[str, float]] = {}
    for row in (row.cells for row in read_rows(folder / WINDOWS)):
        name = row["muscle" if of_muscles else "activity"]
        spans.setdefault((float(row["start"]), float(row["end"])), {})[name] = float(row["score"])
    names = list(next(iter(spans.values())))
    mean = {name: float(whole[name]) for name in names}
    files = [OVERLAY, SCORES, WINDOWS]
    if of_muscles:
        body_figure({"": mean}, folder / BODY, scale=score_scale(list(mean.values())))
        files.append(BODY)
    return {
        "names": names,
        "starts": [start for start, _ in spans],
        "ends": [end for _, end in spans],
        "scores": [[scores[name] for name in names] for scores in spans.values()],
        "mean": [mean[name] for name in names],
        "files": files,
    }
