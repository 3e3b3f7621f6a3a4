"""A whole video in views as long as a model's clips: their scores over time, and what these rest on, as an overlay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from transm3e.data.annotations import MUSCLES
from transm3e.data.backends import open_source
from transm3e.data.dataset import ClipDataset
from transm3e.data.decode import DecodeError
from transm3e.data.draws import EvalDraw
from transm3e.data.geometry import Box
from transm3e.data.reading import clock
from transm3e.data.sampling import at_rate
from transm3e.data.skeleton import Skeleton, fit_video, read_skeleton
from transm3e.data.skeleton.bodies import Body
from transm3e.data.skeleton.clip import skeleton_clip
from transm3e.data.transforms import ViewParams
from transm3e.data.videos import build_videos
from transm3e.errors import UserError
from transm3e.report.explain import JOINT_METHOD, blend, explain, paint_joints
from transm3e.report.overlay import Paint, ScoresOverTime, write_overlay
from transm3e.tasks import Classify

MOST_VIEWS = 200  # their clips are in memory together
VIEWS_TOGETHER = 4
LETTERS = 700  # longer side of a frame, in pixels, for which letters are sized


class Remembered:
    """A view of a video that remembers its frames and its crop."""

    def __init__(self, draw: EvalDraw) -> None:
        self.draw, self.numbers = draw, np.empty(0, np.int64)
        self.view = ViewParams(Box(0, 0, 1, 1))

    def frames(self, num_frames: int) -> np.ndarray:
        """See transm3e.data.draws.Draw."""
        self.numbers = self.draw.frames(num_frames)
        return self.numbers

    def params(self, height: int, width: int) -> ViewParams:
        """See transm3e.data.draws.Draw."""
        self.view = self.draw.params(height, width)
        return self.view


@dataclass(frozen=True)
class VideoViews:
    """All of a video in views, spread evenly, and their scores.

    Attributes:
        file: the video.
        body: the person in it, for a model of joints.
        task: the trained task.
        views: in order of time.
        parts: their clips, a few views at a time, on the model's device.
        rate: frames per second that views are numbered in; 0 = the video's own frames.
        persons: SKELETON.NUM_PERSONS and LAYOUT.
        names: of what the model scores, muscles or activities.
        over_time: scores of the views, of those whose scores mean something.
    """

    file: Path
    body: Body
    task: Classify
    views: list[Remembered]
    parts: list[dict[str, Tensor]]
    rate: float
    persons: tuple[int, str]
    names: tuple[str, ...]
    over_time: ScoresOverTime

    @classmethod
    def from_cfg(
        cls, cfg: CfgNode, task: Classify, video: str, device: torch.device, unknown: Sequence[str] = ()
    ) -> VideoViews:
        """Read and score a video; persons are detected first where the model reads joints.

        Args:
            device: of the model.
            unknown: muscles whose scores are meaningless (transm3e.report.videos.untrained_muscles).

        Raises:
            UserError: no such file, it cannot be read, nobody is in it, or it is too long.
        """
        if not Path(video).is_file():
            raise UserError(f"{video}: no such file")
        videos = build_videos(cfg, video)
        body, rate = videos.bodies[0], float(cfg.DATA.TARGET_FPS)
        if body.reason:
            raise UserError(f"{video}: {body.reason}")
        try:
            with closing(open_source(Path(video))) as source:
                count, seconds = source.num_frames, source.seconds
            shown = len(at_rate(seconds, rate)) if rate and seconds is not None else count
            views, clips = _read(videos.loader.dataset, shown, video)
        except DecodeError as error:
            raise UserError(f"{video}: {error.reason}") from error
        parts = [
            {name: clip[i : i + VIEWS_TOGETHER].to(device) for name, clip in clips.items()}
            for i in range(0, len(views), VIEWS_TOGETHER)
        ]
        with torch.no_grad():
            model = task.model.eval()
            scores = torch.cat([task.loss.scores(model(task.inputs(part)).logits) for part in parts]).cpu().numpy()
        names = tuple(task.activities.names if task.activities else MUSCLES)
        known = [i for i, name in enumerate(names) if name not in unknown]
        starts, ends = _spans(views, clock(count, seconds), rate if seconds is not None else 0.0)
        over_time = ScoresOverTime(starts, ends, scores[:, known], tuple(names[i] for i in known))
        persons = (cfg.SKELETON.NUM_PERSONS, cfg.SKELETON.LAYOUT)
        return cls(
            Path(video), body, task, views, parts, rate if seconds is not None else 0.0, persons, names, over_time
        )

    def nearest(self, number: int, second: float) -> tuple[int, int]:
        """The view, and the frame in it, that show a frame of the video best."""
        at = second * self.rate if self.rate else number
        middles = [(view.numbers.min() + view.numbers.max()) / 2 for view in self.views]
        view = int(np.abs(np.array(middles) - at).argmin())
        return view, int(np.abs(self.views[view].numbers - at).argmin())


def _read(dataset: ClipDataset, frames: int, video: str) -> tuple[list[Remembered], dict[str, Tensor]]:
    shape = dataset.shape
    count = max(1, math.ceil(frames / shape.frames))
    if count > MOST_VIEWS:
        raise UserError(f"{video} has {count} views of {shape.frames} frames; allowed: {MOST_VIEWS}; cut the video")
    views = [Remembered(EvalDraw(shape, v, count, "spread", 0, 1, *dataset.drawing[:2])) for v in range(count)]
    clips = {name: spec.empty(count) for name, spec in dataset.specs.items()}
    files = {column: str(names[0]) for column, names in dataset.table.files.items()}
    dataset.reader.read(files, views, {name: clip.numpy() for name, clip in clips.items()})
    return views, clips


def _spans(views: Sequence[Remembered], times: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """First second and end of each view."""

    def second(number: int) -> float:
        return min(number / rate, float(times[-1])) if rate else float(times[min(number, len(times) - 1)])

    starts = np.array([second(int(view.numbers.min())) for view in views])
    return starts, np.maximum([second(int(view.numbers.max()) + 1) for view in views], starts + 1e-3)


def explain_video(views: VideoViews, file: Path, method: str, muscle: int | None) -> None:
    """Write the overlay of a video with heat, or joints, on its frames.

    Args:
        method: of transm3e.report.explain.METHODS.
        muscle: explained throughout; None = the one with the highest mean score.

    Raises:
        UserError: the overlay cannot be written.
    """
    over_time = views.over_time
    highest = over_time.columns[int(over_time.scores.mean(axis=0).argmax())]
    chosen = views.names.index(highest) if muscle is None else muscle
    # As bytes, as a long video has much of it.
    heat = np.concatenate(
        [(255 * explain(views.task, part, method, chosen).heat).astype(np.uint8) for part in views.parts]
    )
    skeleton = read_skeleton(views.body.skeleton) if method == JOINT_METHOD else None

    def paint(number: int, image: np.ndarray, second: float) -> np.ndarray:
        view, frame = views.nearest(number, second)
        of, image = heat[view, frame] / np.float32(255), image.copy()
        if skeleton is None:
            part = views.views[view].view.crop.of(image)
            part[:] = blend(part, of)
        else:
            _paint_body(image, skeleton, number, of, views)
        return with_text(image, [f"{method}: {views.names[chosen]}"])

    write(views, file, paint)


def write(views: VideoViews, file: Path, paint: Paint) -> None:
    """The overlay of these views' video, with `paint` on its frames."""
    write_overlay(views.file, file, views.over_time, paint=paint)


def _paint_body(image: np.ndarray, skeleton: Skeleton, number: int, heat: np.ndarray, views: VideoViews) -> None:
    height, width = image.shape[:2]
    fitted = fit_video(skeleton, (height, width), views.body.skeleton)
    # Shares of the frame, whatever coordinates the model reads.
    whole = ViewParams(Box(0, 0, height, width))
    joints = skeleton_clip(fitted, [number], whole, 1, (height, width), *views.persons)[:, 0]
    places = joints[:2] * np.array([width, height])[:, None, None] - 0.5
    paint_joints(image, places, joints[2], heat, views.persons[1])


def with_text(image: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """The image, a small one enlarged, with lines in its upper left corner."""
    scale = max(image.shape[:2]) / LETTERS
    if scale < 1:  # letters are drawn at the size at which they are seen
        size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
        image, scale = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), 1.0
    for number, text in enumerate(lines):
        where = (round(10 * scale), round((26 + 28 * number) * scale))
        for colour, width in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            thick = max(1, round(width * scale))
            cv2.putText(
                image, text.replace("_", " "), where, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, colour, thick, cv2.LINE_AA
            )
    return image
