"""A video's scores on the video itself: frames with joints, a body map and bars that change, a timeline with a cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from transm3e.data.annotations import MUSCLES
from transm3e.data.backends import open_source
from transm3e.data.container import first_video_stream, open_container
from transm3e.data.decode import FrameSource
from transm3e.data.reading import clock
from transm3e.data.skeleton import fit_video, read_skeleton
from transm3e.errors import UserError
from transm3e.files import atomic_path
from transm3e.progress import track
from transm3e.report.body import Scale, draw_body, score_scale
from transm3e.report.figures import INK, KNOWN, PALE, dress, new_figure
from transm3e.report.video_figure import draw_skeleton

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".mp4", ".gif")
TICKS = Fraction(1, 90000)  # time base of the written video
DPI = 100
SIZE = (1280, 720)  # of the picture, width and height
BARS = 7
AXIS = 40  # pixels below the timeline for its seconds
# A GIF has few colours and no compression over time worth the name: small, slow and short.
GIF_WIDTH, GIF_FPS, GIF_FRAMES = 640, 8, 160


@dataclass(frozen=True)
class ScoresOverTime:
    """Scores of W windows of a video, by their start.

    Attributes:
        starts, ends: (W,) float64 seconds.
        scores: (W, C) float32.
        columns: C names, muscles or activities.
    """

    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray
    columns: tuple[str, ...]

    @property
    def edges(self) -> np.ndarray:
        """(W + 1,) seconds: of all windows, number w has its centre nearest to times in edges[w]..edges[w + 1]."""
        centres = (self.starts + self.ends) / 2
        return np.concatenate([self.starts[:1], (centres[1:] + centres[:-1]) / 2, self.ends[-1:]])

    @property
    def scale(self) -> Scale:
        """Colours of the scores, the same throughout the video."""
        return score_scale(self.scores)

    def at(self, second: float) -> int:
        """Number of the window that stands for this time."""
        return int(np.clip(np.searchsorted(self.edges, second, side="right") - 1, 0, len(self.starts) - 1))


@dataclass(frozen=True)
class Box:
    """A rectangle of the picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Layout:
    """Where the frame, the body map with its bars, and the timeline are in the picture."""

    frame: Box
    panel: Box
    timeline: Box

    @classmethod
    def of(cls, height: int, width: int) -> Layout:
        """For frames of this size: upright ones are left of everything else, wide ones above the timeline."""
        if width < 0.9 * height:
            return cls(Box(0, 0, 420, 720), Box(420, 0, 860, 420), Box(420, 420, 860, 300))
        return cls(Box(0, 0, 780, 440), Box(780, 0, 500, 440), Box(0, 440, 1280, 280))


# Number, image and second of a frame -> the image to show.
Paint = Callable[[int, np.ndarray, float], np.ndarray]


def write_overlay(
    video: str | Path, file: str | Path, over_time: ScoresOverTime, skeleton: str = "", paint: Paint | None = None
) -> None:
    """Write the overlay of a video, with its frame rate and sound.

    Args:
        video: the file.
        file: to write, .mp4, or .gif (at most GIF_FRAMES frames); it appears whole or not at all.
        over_time: its scores, at least one window; columns that are not known are left out by the caller.
        skeleton: file of the joints to draw; "" = none.
        paint: changes each frame before anything is drawn on it.

    Raises:
        DecodeError: a frame cannot be read.
        UserError: another suffix, or the file cannot be written.
    """
    suffix = Path(file).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"cannot write the overlay {file}: unknown suffix; allowed: {', '.join(SUFFIXES)}")
    with closing(open_source(Path(video))) as source:
        times = clock(source.num_frames, source.seconds)
        numbers = np.arange(len(times))
        if suffix == ".gif":
            played = np.arange(0, times[-1] + 1e-9, 1 / GIF_FPS)[:GIF_FRAMES]
            numbers = np.unique(np.searchsorted(times, played).clip(max=len(times) - 1))
        pictures = _pictures(source, numbers, times, over_time, skeleton, paint)
        shown = track(pictures, f"overlay {Path(file).name}", len(numbers), "frames")
        with atomic_path(file) as partial:
            if suffix == ".gif":
                _write_gif(partial, shown)
            else:
                _write_mp4(partial, shown, times, str(video))


class Painter:
    """Draws the pictures of one video.

    Args:
        over_time: its scores.
        height, width: of its frames.
        skeleton: file of its joints; "" = none.
    """

    def __init__(self, over_time: ScoresOverTime, height: int, width: int, skeleton: str) -> None:
        self.over_time, self.layout = over_time, Layout.of(height, width)
        self.skeleton = fit_video(read_skeleton(skeleton), (height, width), skeleton) if skeleton else None
        # The same bars throughout, so that only their lengths change.
        self.order = np.argsort(-over_time.scores.max(axis=0), kind="stable")[:BARS].tolist()
        self.timeline, self.left, self.right = _timeline(over_time, self.layout.timeline)
        self.window, self.panel = -1, np.empty(0)

    def picture(self, number: int, image: np.ndarray, second: float) -> np.ndarray:
        """A frame, its number and its time -> (720, 1280, 3) uint8 RGB."""
        layout, picture = self.layout, np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
        # Joints are drawn at the size at which the frame is shown, so that lines stay thin.
        shown = _fitted(image, layout.frame)
        if self.skeleton is not None:
            draw_skeleton(shown, self.skeleton, number)
        x, y = (
            start + (whole - part) // 2
            for start, whole, part in (
                (layout.frame.x, layout.frame.width, shown.shape[1]),
                (layout.frame.y, layout.frame.height, shown.shape[0]),
            )
        )
        picture[y : y + shown.shape[0], x : x + shown.shape[1]] = shown
        if (window := self.over_time.at(second)) != self.window:
            self.window, self.panel = window, _panel(self.over_time, window, self.order, layout.panel)
        for part, box in ((self.panel, layout.panel), (self.timeline, layout.timeline)):
            picture[box.y : box.y + box.height, box.x : box.x + box.width] = part
        edges, box = self.over_time.edges, layout.timeline
        share = float(np.clip((second - edges[0]) / (edges[-1] - edges[0]), 0, 1))
        cursor = box.x + round(self.left + share * (self.right - self.left))
        cv2.line(picture, (cursor, box.y + 4), (cursor, box.y + box.height - AXIS), (0, 0, 0), 2)
        return picture


def _pictures(
    source: FrameSource,
    numbers: np.ndarray,
    times: np.ndarray,
    over_time: ScoresOverTime,
    skeleton: str,
    paint: Paint | None,
) -> Iterator[np.ndarray]:
    painter: Painter | None = None
    for number, image in source.read(set(numbers.tolist())):
        painter = painter or Painter(over_time, image.shape[0], image.shape[1], skeleton)
        second = float(times[number])
        yield painter.picture(number, paint(number, image, second) if paint else image, second)


def _fitted(image: np.ndarray, box: Box) -> np.ndarray:
    scale = min(box.width / image.shape[1], box.height / image.shape[0])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _panel(over_time: ScoresOverTime, window: int, order: Sequence[int], box: Box) -> np.ndarray:
    """Body map and bars of one window; bars keep the order of the video's highest scores."""
    figure = new_figure(box.width / DPI, box.height / DPI)
    values = dict(zip(over_time.columns, over_time.scores[window].tolist(), strict=True))
    has_body = set(over_time.columns) <= set(MUSCLES)
    if has_body:
        beside = box.width > 1.5 * box.height
        first, second = figure.subplots(1, 2) if beside else figure.subplots(2, 1, height_ratios=[1.5, 1])
        draw_body(first, values, over_time.scale)
    else:
        second = figure.subplots()
    names = [over_time.columns[i] for i in order]
    bars = second.barh(range(len(names)), [values[name] for name in names], 0.7, color=KNOWN)
    second.bar_label(bars, fmt="%.2f", padding=3, fontsize=8, color=INK)
    second.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    high = over_time.scale.high
    second.set(xlim=(0, 1.12 * high), ylim=(len(names) - 0.4, -0.6))
    if high == 1:
        second.set_xticks([0, 0.5, 1])
    dress(second, "x")
    second.set_title(f"{over_time.starts[window]:.1f} to {over_time.ends[window]:.1f} s", fontsize=9, color=PALE)
    return _pixels(figure, box)


def _timeline(over_time: ScoresOverTime, box: Box) -> tuple[np.ndarray, float, float]:
    """All scores over time as colours, and where its first and its last second are, in pixels from its left edge."""
    from matplotlib import colormaps

    figure = new_figure(box.width / DPI, box.height / DPI)
    axes = figure.subplots()
    rows = np.arange(len(over_time.columns) + 1) - 0.5
    scale = over_time.scale
    mesh = axes.pcolormesh(
        over_time.edges, rows, over_time.scores.T, cmap=colormaps[scale.colours], vmin=scale.low, vmax=scale.high
    )
    few = len(over_time.columns) <= len(MUSCLES)
    labels = [name.replace("_", " ") for name in over_time.columns] if few else []
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("seconds", fontsize=8, color=INK)
    dress(axes, "x")
    axes.tick_params(axis="y", labelsize=6.5)
    bar = figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30)
    bar.ax.tick_params(labelsize=7, length=0, colors=INK)
    bar.outline.set_visible(False)
    image = _pixels(figure, box)
    ends = axes.transData.transform([(over_time.edges[0], 0), (over_time.edges[-1], 0)])
    return image, float(ends[0, 0]), float(ends[1, 0])


def _pixels(figure: Figure, box: Box) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[: box.height, : box.width, :3].copy()


def _write_gif(file: Path, pictures: Iterator[np.ndarray]) -> None:
    from PIL import Image

    height = round(GIF_WIDTH * SIZE[1] / SIZE[0])
    small = [cv2.resize(picture, (GIF_WIDTH, height), interpolation=cv2.INTER_AREA) for picture in pictures]
    # One palette for all frames, so that still parts do not flicker and compress well.
    sample = np.concatenate(small[:: max(1, len(small) // 8)])
    palette = Image.fromarray(sample).quantize(160, method=Image.Quantize.MEDIANCUT)
    images = [Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE) for image in small]
    images[0].save(
        file, format="GIF", save_all=True, append_images=images[1:], duration=1000 // GIF_FPS, loop=0, optimize=True
    )


def _write_mp4(file: Path, pictures: Iterator[np.ndarray], times: np.ndarray, video: str) -> None:
    """H.264 with the video's times of frames, and its first sound track as AAC."""
    span = float(times[-1] - times[0])
    rate = Fraction((len(times) - 1) / span if span > 0 else 25).limit_denominator(1001)
    with av.open(str(file), "w", format="mp4", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = TICKS
        with closing(Sound(video, target)) as sound:
            for picture, second in zip(pictures, times, strict=True):
                sound.write_until(float(second))
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(float(second) / TICKS), TICKS
                target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
            sound.write_until(float("inf"))


class Sound:
    """Copies the first sound track of a video, encoded anew, as far as it can be decoded.

    Args:
        video: path of the source.
        target: container to write to; gets a stream if the source has sound.
    """

    def __init__(self, video: str, target: av.container.OutputContainer) -> None:
        self._source = self._stream = None
        self._target = target
        self._frames: Iterator[av.AudioFrame] = iter(())
        if not Path(video).is_file():  # a folder of images
            return
        self._source = open_container(video)
        tracks = self._source.streams.audio
        if not tracks or not tracks[0].rate:
            return
        first = first_video_stream(self._source)
        self._offset = float((first.start_time or 0) * (first.time_base or 0)) if first else 0.0
        self._stream = target.add_stream("aac", rate=44100)
        self._stream.codec_context.layout = "stereo"
        self._frames = self._decoded(tracks[0])
        self._next = next(self._frames, None)

    def write_until(self, second: float) -> None:
        """Write what sounds up to a time."""
        if self._stream is None:
            return
        while self._next is not None and (self._next.time or 0.0) - self._offset <= second:
            frame, self._next = self._next, next(self._frames, None)
            if (frame.time or 0.0) >= self._offset:
                frame.pts = round(((frame.time or 0.0) - self._offset) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
                self._target.mux(self._stream.encode(frame))
        if second == float("inf"):
            self._target.mux(self._stream.encode(None))

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            self._source.close()

    def _decoded(self, track: av.AudioStream) -> Iterator[av.AudioFrame]:
        try:
            assert self._source is not None
            yield from self._source.decode(track)
        except av.FFmpegError:  # a damaged end: silence is better than no overlay
            return
