"""Scores of video files: a table, and a figure for each."""

from __future__ import annotations

import csv
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transm3e.config.targets import MUSCLE_TARGET
from transm3e.data import build_videos
from transm3e.data.annotations import read_clip_table
from transm3e.data.decode import DecodeError
from transm3e.data.skeleton.bodies import Body
from transm3e.data.types import FailedClip
from transm3e.data.videos import Videos, Window
from transm3e.engine.evaluate import ScoredSplit, predict
from transm3e.engine.precision import Precision
from transm3e.engine.processes.distributed import gather, is_main, local_size, note, rank, world_size
from transm3e.engine.processes.signals import StopRequest
from transm3e.errors import RESUMES, ExitRequest, UserError, first_line
from transm3e.files import (
    atomic_path,
    atomic_write_text,
    clip_table_file,
    local_path,
    make_folder,
    read_text,
    split_member,
)
from transm3e.foreign.json_text import parse_json
from transm3e.modalities import JOINTS, MODALITIES
from transm3e.report.overlay import SUFFIXES, ScoresOverTime, write_overlay
from transm3e.report.scores import write_scores
from transm3e.report.video_figure import draw_video
from transm3e.runs.folder import evaluation_checkpoint
from transm3e.runs.plan import Run
from transm3e.runs.record import DEMO_CONFIG
from transm3e.tasks import Classify, build_trained_task

logger = logging.getLogger(__name__)
OVERLAY_WINDOW = 3.0  # seconds, where DEMO.WINDOW is 0


def find_videos(run: Run, request: StopRequest) -> Videos:
    """This process's share of the video files, and for a model of joints the persons in them; detection may take long."""

    def report_progress(where: str) -> None:
        note(where)
        if request.signal_number:
            raise ExitRequest(f"stopped while detecting persons; {RESUMES} there", request.exit_status)

    demo = run.cfg.DEMO
    if (overlay := _single_overlay(run)) and not Path(demo.INPUT_VIDEO).is_file():
        raise UserError(
            f"DEMO.OUTPUT_FILE {overlay} is the overlay of one video, but DEMO.INPUT_VIDEO {demo.INPUT_VIDEO} is no file; "
            "set DEMO.OVERLAYS to a folder for those of several videos"
        )
    share: dict[str, Any] = {"rank": rank(), "world_size": world_size(), "local_size": local_size()}
    window = demo.WINDOW or (OVERLAY_WINDOW if overlay or demo.OVERLAYS else 0.0)
    return build_videos(run.cfg, demo.INPUT_VIDEO, **share, note=report_progress, window=window, stride=demo.STRIDE)


def _single_overlay(run: Run) -> str:
    """DEMO.OUTPUT_FILE where it names a video and not a table of scores."""
    file: str = run.cfg.DEMO.OUTPUT_FILE
    return file if Path(file).suffix.lower() in SUFFIXES else ""


def _scores_file(run: Run) -> Path:
    return (
        run.folder / "scores.csv"
        if _single_overlay(run)
        else Path(run.cfg.DEMO.OUTPUT_FILE or run.folder / "scores.csv")
    )


def score_videos(run: Run, videos: Videos, device: torch.device, task: Classify | None = None) -> None:
    """Muscle scores of any video files, as CSV, and their figures; `task` is the trained model where it is loaded."""
    task = task or build_trained_task(run.cfg, evaluation_checkpoint(run), device)
    # Before all videos are scored, so that a report that cannot be read is refused early.
    unknown = untrained_muscles(run, task.columns)
    batches = videos.loader.epoch(0)
    how = run.cfg.DATA.ENSEMBLE_METHOD, Precision.from_cfg(run.cfg, device, testing=True)
    everything = predict(task, batches, device, "videos", len(videos.loader), *how)
    bodies = list(chain.from_iterable(gather(videos.bodies)))
    windows = {row: window for share in gather(videos.windows) for row, window in share.items()}
    predictions, of_windows = _split(everything, windows)
    if is_main():
        write_video_scores(run, predictions, unknown, bodies)
        if windows:
            _write_windows(_scores_file(run), of_windows, windows, unknown)
    draw_videos(run, predictions, unknown, videos)
    write_overlays(run, of_windows, windows, unknown, videos)


def _split(everything: ScoredSplit, windows: Mapping[int, Window]) -> tuple[ScoredSplit, ScoredSplit]:
    """The scores of whole videos, and those of windows."""
    of_window = np.isin(everything.rows, list(windows))

    def part(keep: np.ndarray, failed: list[FailedClip]) -> ScoredSplit:
        paths = [path for path, kept in zip(everything.paths, keep, strict=True) if kept]
        rows, scores, labels = (array[keep] for array in (everything.rows, everything.scores, everything.labels))
        return replace(everything, rows=rows, paths=paths, scores=scores, labels=labels, failed=failed)

    whole = [clip for clip in everything.failed if clip.row not in windows]
    return part(~of_window, whole), part(of_window, [clip for clip in everything.failed if clip.row in windows])


def _write_windows(
    scores_file: Path, predictions: ScoredSplit, windows: Mapping[int, Window], unknown: Sequence[str]
) -> None:
    """One row per window and muscle beside the scores of whole videos: clip, start and end in seconds, muscle, score."""
    file = scores_file.with_name(f"{scores_file.stem}_windows.csv")
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(
            ("clip", "start", "end", "muscle" if predictions.target == MUSCLE_TARGET else "activity", "score")
        )
        for row, scores in sorted(
            zip(predictions.rows.tolist(), predictions.scores, strict=True),
            key=lambda each: (windows[each[0]].path, windows[each[0]].start),
        ):
            window = windows[row]
            for name, score in zip(predictions.columns, scores, strict=True):
                if name not in unknown:
                    writer.writerow((window.path, f"{window.start:.3f}", f"{window.end:.3f}", name, f"{score:.6f}"))
    failed = f", {len(predictions.failed)} failed" if predictions.failed else ""
    print(f"scores of {len(predictions.rows)} windows{failed}: {file}")


def write_overlays(
    run: Run, predictions: ScoredSplit, windows: Mapping[int, Window], unknown: Sequence[str], videos: Videos
) -> None:
    """Write the overlay of each video of this process's share that has scores, where the config asks for overlays.

    Raises:
        UserError: a file cannot be written.
    """
    single, folder = _single_overlay(run), run.cfg.DEMO.OVERLAYS
    if not (single or folder):
        return
    known = [i for i, name in enumerate(predictions.columns) if name not in unknown]
    columns = tuple(predictions.columns[i] for i in known)
    of_video: dict[str, list[int]] = {}
    for item, row in enumerate(predictions.rows.tolist()):
        of_video.setdefault(windows[row].path, []).append(item)
    for body in videos.bodies:
        items = sorted(of_video.get(body.path, []), key=lambda i: windows[int(predictions.rows[i])].start)
        if not items:
            print(f"no overlay of {body.path}, as it has no scores", file=sys.stderr)
            continue
        spans = [windows[int(predictions.rows[i])] for i in items]
        starts, ends = np.array([s.start for s in spans]), np.array([s.end for s in spans])
        over_time = ScoresOverTime(starts, ends, predictions.scores[items][:, known], columns)
        for file in filter(None, (single, folder and os.path.join(folder, f"{body.path}.mp4"))):
            make_folder(Path(file).parent, "DEMO.OUTPUT_FILE" if file == single else "DEMO.OVERLAYS")
            try:
                write_overlay(videos.root / body.path, file, over_time, body.skeleton)
                print(f"overlay: {file}")
            except DecodeError as error:
                logger.warning("no overlay of %s: %s", body.path, error.reason)


def write_video_scores(
    run: Run, predictions: ScoredSplit, unknown: Sequence[str] = (), bodies: Sequence[Body] = ()
) -> None:
    """Scores of video files as CSV, paths relative to their folder; see write_scores.

    Args:
        predictions: of all videos that could be read.
        unknown: muscles whose scores are meaningless, see untrained_muscles.
        bodies: of all processes; for a model of joints they give the columns frames and coverage, and rows for videos
            without a body.
    """
    file = _scores_file(run)
    reasons = {clip.row: (clip.path, clip.reason) for clip in predictions.failed}
    reasons |= {body.row: (body.path, body.reason) for body in bodies if body.reason}
    failed = [reasons[row] for row in sorted(reasons)]
    more = {}
    if MODALITIES[run.cfg.DATA.MODALITY].kind == JOINTS:
        seen = [body for body in bodies if body.frames is not None]
        more["frames"] = {body.path: str(body.frames) for body in seen}
        more["coverage"] = {body.path: f"{body.coverage:.4f}" for body in seen}
    make_folder(file.parent, "DEMO.OUTPUT_FILE")
    write_scores(file, predictions.paths, predictions.scores, predictions.columns, failed, unknown, more)
    atomic_write_text(run.folder / DEMO_CONFIG, run.cfg.dump())
    print(f"scores of {len(predictions.paths)} videos, {len(failed)} failed: {file}")
    if unknown:
        print(f"not known, as hardly any training clip shows them: {', '.join(unknown)}")


def untrained_muscles(run: Run, columns: Sequence[str]) -> list[str]:
    """Muscles whose scores are meaningless, as hardly any training clip has them.

    For a run: those without a training clip in its table; [] if the table is missing. For another checkpoint
    (TEST.CHECKPOINT_FILE_PATH): those not known by the report of tools/calibrate.py beside it; [] without a report.
    """
    cfg = run.cfg
    table = cfg.DATA.PATH_TO_DATA_DIR
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        checkpoint = local_path(split_member(cfg.TEST.CHECKPOINT_FILE_PATH)[0])
        return _unreliable(checkpoint.with_suffix(".json"), columns)
    if not table or not clip_table_file(table).is_file():
        return []
    labels = read_clip_table(table).select("train").labels
    if labels.shape[1] != len(columns) or not labels.any():
        return []
    return [name for name, count in zip(columns, labels.sum(axis=0), strict=True) if not count]


def _unreliable(report: Path, columns: Sequence[str]) -> list[str]:
    """Muscles that a report of tools/calibrate.py calls not known; [] if there is no file.

    Raises:
        UserError: the file is not such a report.
    """
    if not report.is_file():
        return []
    try:
        muscles = parse_json(read_text(report))["muscles"]
        return [name for name in columns if name in muscles and not muscles[name]["known"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{report}: not a report of tools/calibrate.py ({first_line(error)}); move it elsewhere"
        ) from error


def draw_videos(run: Run, predictions: ScoredSplit, unknown: Sequence[str], videos: Videos) -> None:
    """Draw a figure for each video of this process's share into DEMO.PICTURES, if that is set.

    Raises:
        UserError: a figure cannot be written.
    """
    if not run.cfg.DEMO.PICTURES:
        return
    folder = Path(run.cfg.DEMO.PICTURES)
    scores = dict(zip(predictions.paths, predictions.scores.tolist(), strict=True))
    reasons = {clip.path: clip.reason for clip in predictions.failed}
    drawn = 0
    for body in videos.bodies:
        known = {
            name: score
            for name, score in zip(predictions.columns, scores.get(body.path, ()), strict=False)
            if name not in unknown
        }
        file = folder / f"{body.path}.png"
        make_folder(file.parent, "DEMO.PICTURES")
        try:
            shown = replace(body, reason=body.reason or reasons.get(body.path, ""))
            draw_video(videos.root / body.path, shown, known, unknown, file)
            drawn += 1
        except DecodeError as error:
            logger.warning("no figure of %s: %s", body.path, error.reason)
    print(f"figures of {drawn} videos: {folder}")
